//! What the service tells of a group that it runs: states and events.

use serde::{Deserialize, Serialize};

use super::or_default;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GroupInstanceView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) events: Vec<ServiceEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerInstanceView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_state: Option<State>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) events: Vec<ServiceEvent>,
}

/// The state of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail_status: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceEvent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_timestamp: Option<String>,
    /// What Kubernetes calls a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// `Normal` or `Warning`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
}
