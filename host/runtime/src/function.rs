//! The functions that a provider exports, and how long each may take.

use std::time::Duration;

use crate::Timeouts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Configure,
    Describe,
    Create,
    Update,
    Delete,
    Get,
    Poll,
    ReadLogs,
    OpenSession,
    StepSession,
    ReadStats,
}

impl Function {
    pub(crate) const ALL: [Self; 11] = [
        Self::Configure,
        Self::Describe,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Get,
        Self::Poll,
        Self::ReadLogs,
        Self::OpenSession,
        Self::StepSession,
        Self::ReadStats,
    ];

    /// Its name in messages, in metrics, and as the key of its time limit.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Describe => "describe",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Poll => "poll",
            Self::ReadLogs => "read-logs",
            Self::OpenSession => "open-session",
            Self::StepSession => "step-session",
            Self::ReadStats => "read-stats",
        }
    }

    pub(crate) fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Configure => timeouts.configure,
            Self::Describe => timeouts.describe,
            Self::Create => timeouts.create,
            Self::Update => timeouts.update,
            Self::Delete => timeouts.delete,
            Self::Get => timeouts.get,
            Self::Poll => timeouts.poll,
            Self::ReadLogs => timeouts.read_logs,
            Self::OpenSession => timeouts.open_session,
            Self::StepSession => timeouts.step_session,
            Self::ReadStats => timeouts.read_stats,
        }
    }

    /// The optional interface that it belongs to; none for what every provider exports.
    pub(crate) fn interface(self) -> Option<&'static str> {
        match self {
            Self::ReadLogs => Some("logs"),
            Self::OpenSession | Self::StepSession => Some("sessions"),
            Self::ReadStats => Some("stats"),
            _ => None,
        }
    }
}
