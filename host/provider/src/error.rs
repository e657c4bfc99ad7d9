//! Why a call failed, in the terms that decide what happens next.

use std::time::Duration;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller does next depends on this alone.
    pub kind: ErrorKind,
    /// For people: shown in events, conditions and logs. Holds no secret.
    pub message: String,
    /// With [`ErrorKind::Exhausted`]: when it makes sense to ask again. Unchecked; the caller clamps it.
    pub retry_after: Option<Duration>,
    /// Set if the provider did not answer by itself but failed as a program.
    pub fault: Option<Fault>,
}

impl Error {
    /// An error as a provider answers it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, fault: None }
    }

    /// Whether it is about the backend as a whole, which is away or does not let the provider in, and does not say for
    /// how long. What was asked for may well succeed once that is over.
    pub fn is_outage(&self) -> bool {
        let is_general =
            matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
        is_general && self.retry_after.is_none()
    }

    /// A program failure: [`ErrorKind::Unavailable`] when the call ran out of time, else [`ErrorKind::Internal`].
    pub fn fault(fault: Fault, message: impl Into<String>) -> Self {
        let kind = match fault {
            Fault::Timeout => ErrorKind::Unavailable,
            Fault::Trap | Fault::Memory | Fault::Cpu | Fault::Answer => ErrorKind::Internal,
        };
        Self { kind, message: message.into(), retry_after: None, fault: Some(fault) }
    }
}

/// The kinds of the contract (`error-kind` in the WIT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Can never work as asked; retried only when the pod changes.
    Invalid,
    /// Not something that this provider does; retried only when the pod changes.
    Unsupported,
    /// The backend does not have it.
    NotFound,
    /// The backend has it in a state that does not allow the call.
    Conflict,
    /// The backend does not know who asks.
    Unauthenticated,
    /// The backend does not allow it.
    PermissionDenied,
    /// Quota or throttling: retried after `retry_after`.
    Exhausted,
    /// The backend cannot be reached or did not answer in time.
    Unavailable,
    /// Everything else.
    Internal,
}

impl ErrorKind {
    /// Each of them once.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::Unsupported,
        Self::NotFound,
        Self::Conflict,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Exhausted,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Whether asking the same again cannot succeed: [`Invalid`](Self::Invalid) and [`Unsupported`](Self::Unsupported).
    pub fn is_final(self) -> bool {
        matches!(self, Self::Invalid | Self::Unsupported)
    }

    /// The kind's name in the WIT, as it stands in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission-denied",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// How a provider failed as a program. Each retires the instance that it happened on, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It trapped: a panic, an access out of bounds, a stack overflow.
    Trap,
    /// It asked for more memory than it may have.
    Memory,
    /// It computed for longer than a call may.
    Cpu,
    /// The call took longer than its wall-clock limit.
    Timeout,
    /// What it answered is malformed or too large.
    Answer,
}

impl Fault {
    /// A short name for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Timeout => "timeout",
            Self::Answer => "answer",
        }
    }
}
