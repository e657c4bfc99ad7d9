//! Constructors for the contract's error, one for each kind.

use std::time::Duration;

use crate::{Error, ErrorKind, component::milliseconds};

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Can never work as asked: not tried again until the pod changes.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Asks for what this provider does not do: name the field. Not tried again until the pod changes.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The backend does not have it.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The backend has it in a state that does not allow the call: the host gets the pod and tries again.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// The backend does not know who asks.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthenticated, message)
    }

    /// The backend knows who asks and does not allow it.
    pub fn permission_denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PermissionDenied, message)
    }

    /// Quota or throttling. Add [`after`](Self::after) where the backend says when to ask again.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Exhausted, message)
    }

    /// The backend cannot be reached or cannot answer: tried again with back-off.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Everything else, such as an answer that makes no sense: tried again with back-off, and reported.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Asks the host to wait this long before it tries again; it clamps the time to between 1 s and 5 min.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(milliseconds(wait));
        self
    }

    /// Puts what was being done before the message: `starting the group: GET … answered 404: …`.
    #[must_use]
    pub fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_longer_than_the_contract_can_say_is_cut() {
        let error = Error::exhausted("quota").after(Duration::from_secs(u64::MAX));
        assert_eq!(error.retry_after, Some(u32::MAX));
    }

    #[test]
    fn context_reads_from_the_outside_in() {
        let error = Error::not_found("no such image").context("pulling").context("starting web");
        assert_eq!(error.message, "starting web: pulling: no such image");
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
