//! What can be done to the pods and to all that they depend on.

use std::fmt;

use vk_backend::Fault;

/// How a pod lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs for ever.
    Server,
    /// Runs for ever and uses the ConfigMap and the Secret of a number.
    Reader(u32),
    /// Runs for ever, and may not run twice.
    Once,
    /// Takes its time to start and to stop.
    Slow,
    /// Ends by itself with an exit code.
    Task(i32),
    /// Crashes twice and succeeds then.
    Flaky,
    /// The provider refuses it once, with an error of that kind.
    Refused(&'static str),
}

impl Kind {
    /// Whether a pod that was lost may be made again.
    pub(super) fn restarts(self) -> bool {
        !matches!(self, Self::Once | Self::Task(_))
    }

    /// Whether it is to run when all is well again.
    pub(super) fn runs_for_ever(self) -> bool {
        !matches!(self, Self::Task(_) | Self::Flaky)
    }
}

/// How a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deletion {
    /// With the pod's own grace.
    Graceful,
    /// The API object goes at once.
    Forced,
    /// Graceful, and somebody loses patience.
    Shortened,
    /// By the eviction API.
    Evicted,
}

/// What happens in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disturbance {
    Kill,
    Stop,
    Freeze,
    ApiServerStop,
    BackendStop,
    BackendFault,
    Replacement,
    Deletion(Deletion),
}

impl Disturbance {
    pub(super) const ALL: [Self; 11] = [
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::ApiServerStop,
        Self::BackendStop,
        Self::BackendFault,
        Self::Replacement,
        Self::Deletion(Deletion::Graceful),
        Self::Deletion(Deletion::Forced),
        Self::Deletion(Deletion::Shortened),
        Self::Deletion(Deletion::Evicted),
    ];
}

/// One thing that is done.
#[derive(Clone)]
pub(super) enum Step {
    Create(String, Kind),
    /// A Job of two pods.
    CreateJob(String),
    Label(String),
    EditConfigMap(u32),
    EditSecret(u32),
    Delete(String, Deletion),
    /// Somebody else writes a wrong status.
    Meddle(String),
    /// The backend loses a pod.
    Lose(String),
    /// All containers of a pod end.
    Finish(String),
    KillHost,
    StopHost,
    StartHost,
    FreezeHost,
    ThawHost,
    Break(Fault),
    Mend,
    StopBackend,
    StartBackend,
    StopApiServer,
    StartApiServer,
    ReplaceComponent(u32),
    ReplaceSettings(u32),
}

impl Step {
    pub(super) fn disturbance(&self) -> Option<Disturbance> {
        Some(match self {
            Self::KillHost => Disturbance::Kill,
            Self::StopHost => Disturbance::Stop,
            Self::FreezeHost => Disturbance::Freeze,
            Self::StopApiServer => Disturbance::ApiServerStop,
            Self::StopBackend => Disturbance::BackendStop,
            Self::Break(_) => Disturbance::BackendFault,
            Self::ReplaceComponent(_) => Disturbance::Replacement,
            Self::Delete(_, how) => Disturbance::Deletion(*how),
            _ => return None,
        })
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(pod, kind) => write!(f, "create {pod}, {kind:?}"),
            Self::CreateJob(job) => write!(f, "create Job {job}"),
            Self::Label(pod) => write!(f, "label {pod}"),
            Self::EditConfigMap(number) => write!(f, "edit ConfigMap map-{number}"),
            Self::EditSecret(number) => write!(f, "edit Secret secret-{number}"),
            Self::Delete(pod, how) => write!(f, "delete {pod}, {how:?}"),
            Self::Meddle(pod) => write!(f, "meddle with the status of {pod}"),
            Self::Lose(pod) => write!(f, "the backend loses {pod}"),
            Self::Finish(pod) => write!(f, "{pod} ends"),
            Self::KillHost => f.write_str("SIGKILL"),
            Self::StopHost => f.write_str("SIGTERM"),
            Self::StartHost => f.write_str("start vk-host"),
            Self::FreezeHost => f.write_str("SIGSTOP"),
            Self::ThawHost => f.write_str("SIGCONT"),
            Self::Break(Fault { operation, times, effect, .. }) => {
                let operation = operation.map_or("everything".to_owned(), |operation| format!("{operation:?}"));
                write!(f, "break {operation} of the backend: {effect:?}")?;
                times.map_or(Ok(()), |times| write!(f, ", {times} times"))
            }
            Self::Mend => f.write_str("mend the backend"),
            Self::StopBackend => f.write_str("stop the backend"),
            Self::StartBackend => f.write_str("start the backend"),
            Self::StopApiServer => f.write_str("stop the API server"),
            Self::StartApiServer => f.write_str("start the API server"),
            Self::ReplaceComponent(number) => write!(f, "replace the component by build {number}"),
            Self::ReplaceSettings(number) => write!(f, "replace the settings by variant {number}"),
        }
    }
}
