//! What the node reads off a pod's object.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use vk_provider::PodId;

use crate::status;

/// A pod that a kubelet runs from a file of its own; never to be acted upon.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// The API server's default, in seconds.
const DEFAULT_GRACE: i64 = 30;
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
    pod.status.as_ref().is_some_and(status::is_terminal)
}

/// Whether the pod is on its way out, or over: that it goes is no news then.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || is_terminal(pod)
}

/// Whether a controller would make the next pod as soon as this one is Failed, and the next after that.
pub(super) fn is_replaced_at_once(pod: &Pod) -> bool {
    restart_policy(pod) == "Always" && pod.owner_references().iter().any(|owner| owner.controller == Some(true))
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

/// The grace that the pod states.
pub(super) fn grace(pod: &Pod) -> SignedDuration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    SignedDuration::from_secs(seconds.unwrap_or(DEFAULT_GRACE))
}

/// When the pod's time is over, by its `activeDeadlineSeconds`; `None` if it has no end or has not begun.
pub(super) fn end_of_activity(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
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
