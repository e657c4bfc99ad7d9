//! What goes in and comes out of [`Egress`](crate::Egress).

use std::{fmt, time::Duration};

use bytes::Bytes;

/// A buffered request.
#[derive(Clone)]
pub struct Request {
    /// The method. `CONNECT` is refused.
    pub method: String,
    /// An absolute URL: `http`, `https`, or `http+unix://%2Fpath%2Fto.sock/path`. Path and query go out byte for byte.
    pub url: String,
    /// Sent in order; values of one name go together, and HTTP/1.1 gets the names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// From the call of [`Egress::send`](crate::Egress::send) to the response's last byte; cut to
    /// [`Limits::request_timeout`](crate::Limits::request_timeout).
    pub timeout: Option<Duration>,
}

/// Header values, queries and bodies hold secrets, so they are left out.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url.split(['?', '#']).next().unwrap_or_default())
            .field("body", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A buffered response, as the peer sent it: redirects are not followed, bodies are not decompressed.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In order of first appearance, names in lower case. What is not UTF-8 in a value is replaced.
    pub headers: Vec<(String, String)>,
    /// The body, at most [`Limits::response_bytes`](crate::Limits::response_bytes).
    pub body: Bytes,
}

/// Header values and bodies hold secrets, so they are left out.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("body", &self.body.len()).finish_non_exhaustive()
    }
}

/// Times of a streamed request. Whatever they say, the policy's times for a connection and for a whole request hold too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands: resolution, TCP and TLS, or one from the pool. `None`: the policy's.
    pub connect: Option<Duration>,
    /// From there until the response's head. `None`: as long as the whole request may take.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response's body. `None`: as long as the whole request may take.
    pub between_bytes: Option<Duration>,
    /// The whole request, from the call until the response's last byte. `None`: the policy's.
    pub total: Option<Duration>,
}
