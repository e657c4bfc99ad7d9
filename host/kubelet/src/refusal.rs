//! Answers that are not what was asked for.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use vk_provider::{Error, ErrorKind};

use crate::body::{Body, text};

/// A status, and a line of plain text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The path has these methods only.
    pub(crate) fn method(allow: &'static str) -> Self {
        let message = format!("the method is not one of {allow}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// Has this header too.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn response(self) -> Response<Body> {
        let mut response = text(self.status, format!("{}\n", self.message));
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// What a provider refuses, in the terms of HTTP. Only its message comes from the provider.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unauthenticated => StatusCode::BAD_GATEWAY,
            ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
            ErrorKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.message)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_providers_error_becomes_a_status_and_a_body_and_nothing_else() {
        for (kind, status) in [
            (ErrorKind::Invalid, 400),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Unauthenticated, 502),
            (ErrorKind::PermissionDenied, 403),
            (ErrorKind::Exhausted, 429),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Internal, 500),
        ] {
            let response = Refusal::from(Error::new(kind, "no\r\nLocation: http://elsewhere")).response();
            assert_eq!(response.status(), status);
            let headers: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
            assert_eq!(headers, ["content-type"]);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "no\r\nLocation: http://elsewhere\n");
        }
    }
}
