//! Answers that are not what was asked for.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};
use vk_provider::{Error, ErrorKind};

use crate::body::{Body, text};

/// A status, and a line of plain text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), allow: None }
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
        Self { status: StatusCode::METHOD_NOT_ALLOWED, message: message.into(), allow: Some(allow) }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn response(self) -> Response<Body> {
        let mut response = text(self.status, format!("{}\n", self.message));
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
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
