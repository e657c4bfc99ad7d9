//! Why a request failed, in the words that its provider and its operator read.

use std::error::Error;

/// Why a request failed (`failure` in the WIT). Messages are one line and hold no header value, query or body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not granted; says which grant is missing. Nothing was sent.
    #[error("{0}")]
    Denied(String),
    /// Cannot be sent as asked: the URL, a header, the method or the request's body. Retrying does not help.
    #[error("{0}")]
    Invalid(String),
    /// No connection: the name was not resolved, no address answered, or the policy's limits left no place for another
    /// request or connection. Nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// A connection, but no TLS: an untrusted certificate, another name, a refused client. Nothing was sent.
    #[error("{0}")]
    Tls(String),
    /// Out of time; the request may or may not have been acted upon.
    #[error("timed out (a request has until its own timeout, or sandbox.timeouts.request)")]
    Timeout,
    /// The response's body is larger than this many bytes, the policy's limit.
    #[error("the response is larger than {0} bytes, which is sandbox.response-bytes")]
    TooLarge(u32),
    /// The peer broke HTTP, or closed before the response was complete.
    #[error("{0}")]
    Protocol(String),
}

impl Failure {
    /// The cause itself if it is a [`Failure`], else what `otherwise` makes of its sentence.
    pub(crate) fn from_chain(error: &(dyn Error + 'static), otherwise: impl FnOnce(String) -> Self) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref::<Self>() {
                return failure.clone();
            }
            cause = error.source();
        }
        otherwise(sentence(error))
    }
}

/// An error with its causes, each said once: libraries differ in whether a message repeats its cause.
pub(crate) fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
