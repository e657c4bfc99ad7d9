//! What the node reads off a pod's object.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use vk_provider::PodId;

/// A pod that a kubelet runs from a file of its own; never to be acted upon.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// The contract's durations end at 49 days.
const LONGEST_GRACE: Duration = Duration::from_secs(49 * 24 * 3600);

/// Names the pod; `None` for an object without a uid, which the API server never sends.
pub(super) fn pod_id(pod: &Pod) -> Option<PodId> {
    Some(PodId {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: pod.metadata.uid.clone()?,
        handle: None,
    })
}

pub(super) fn is_mirror(pod: &Pod) -> bool {
    pod.annotations().contains_key(MIRROR_ANNOTATION)
}

pub(super) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

pub(super) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether two are the same version of a pod.
pub(super) fn is_same(pod: &Pod, other: &Pod) -> bool {
    pod.metadata.resource_version.is_some() && pod.metadata.resource_version == other.metadata.resource_version
}

/// When the grace of a pod that is marked for deletion ends; `None` if it is not.
///
/// The API cuts the time of deletion to whole seconds, and the workload is not to lose the rest.
pub(super) fn end_of_grace(pod: &Pod) -> Option<Timestamp> {
    let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
    Some(match pod.metadata.deletion_grace_period_seconds {
        Some(0) => deletion,
        _ => deletion.checked_add(SignedDuration::from_secs(1)).unwrap_or(deletion),
    })
}

/// What is left of a grace period that ends at `deadline`, in whole milliseconds and never less than nothing.
pub(super) fn left_until(deadline: Timestamp) -> Duration {
    let left = deadline.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST_GRACE)
}

/// What a user can change of a pod: by this the task knows whether it has looked at a pod already, or would have to ask
/// again after a refusal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UserFields {
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl UserFields {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            generation: pod.metadata.generation,
            labels: pod.metadata.labels.clone(),
            annotations: pod.metadata.annotations.clone(),
        }
    }

    pub(super) fn are_of(&self, pod: &Pod) -> bool {
        self.generation == pod.metadata.generation
            && self.labels == pod.metadata.labels
            && self.annotations == pod.metadata.annotations
    }
}
