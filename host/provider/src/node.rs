//! What a provider says of the node.

/// Which provider it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// Its name, as in the taint `virtual-kubelet.io/provider=NAME`.
    pub name: String,
    /// Its own version.
    pub version: String,
}

/// The operating system of the pods that a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperatingSystem {
    /// Linux containers.
    Linux,
    /// Windows containers.
    Windows,
}

impl OperatingSystem {
    /// The value of the label `kubernetes.io/os`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

/// Quantities as Kubernetes writes them: `("cpu", "20")`, `("memory", "100Gi")`, `("pods", "50")`. Unchecked.
pub type Resources = Vec<(String, String)>;

/// The answer of [`Provider::describe`](crate::Provider::describe). All of it is unchecked: the node decides what it
/// takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What pods must be made for.
    pub operating_system: OperatingSystem,
    /// As in `kubernetes.io/arch`: `amd64`, `arm64`.
    pub architecture: String,
    /// What there is.
    pub capacity: Resources,
    /// What pods may request.
    pub allocatable: Resources,
    /// Conditions beside those that the node sets by itself.
    pub conditions: Vec<Condition>,
    /// Labels to set on the node.
    pub labels: Vec<(String, String)>,
    /// Annotations to set on the node.
    pub annotations: Vec<(String, String)>,
    /// Taints to set when the node is created.
    pub taints: Vec<Taint>,
}

/// A node condition, without the times: those are the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The condition's type.
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// `True`.
    Affirmed,
    /// `False`.
    Denied,
    /// `Unknown`.
    Unknown,
}

impl ConditionStatus {
    /// The value that Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Affirmed => "True",
            Self::Denied => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A node taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key, a qualified name.
    pub key: String,
    /// Its value, possibly empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}
