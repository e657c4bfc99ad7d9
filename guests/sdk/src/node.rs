//! Constructors for what a provider says of its node.

use crate::{Description, OperatingSystem};

impl Description {
    /// A node with these resources, all of them allocatable, and nothing else to say. Quantities are written as in
    /// Kubernetes: `[("cpu", "20"), ("memory", "100Gi"), ("pods", "50")]`. The architecture is that of the label
    /// `kubernetes.io/arch`, such as `amd64`.
    pub fn new<K: Into<String>, V: Into<String>>(
        operating_system: OperatingSystem,
        architecture: impl Into<String>,
        resources: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let capacity: Vec<_> = resources.into_iter().map(|(name, amount)| (name.into(), amount.into())).collect();
        Self {
            operating_system,
            architecture: architecture.into(),
            allocatable: capacity.clone(),
            capacity,
            conditions: Vec::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            taints: Vec::new(),
        }
    }
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
