//! The calls of the contract, each on an instance that was taken for it.

use std::time::Duration;

use vk_provider::{Aspects, Changes, Cursor, Deletion, Description, Observation, Pod, PodId, Result};

use crate::{answers, convert, pool::Call};

pub(crate) async fn describe(mut call: Call) -> Result<Description> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.vk_provider_node().call_describe(store)).await;
    call.end(outcome, answers::description)
}

pub(crate) async fn create(mut call: Call, pod: &Pod) -> Result<Observation> {
    let lists = convert::PodLists::new(pod);
    let volumes = lists.volumes(pod);
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.vk_provider_pods().call_create(store, lists.pod(pod, &volumes))).await;
    call.end(outcome, |answer| answers::observation(answer, &pod.id))
}

pub(crate) async fn update(mut call: Call, pod: &Pod, changed: Aspects) -> Result<Observation> {
    let lists = convert::PodLists::new(pod);
    let volumes = lists.volumes(pod);
    let changed = convert::aspects(changed);
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.vk_provider_pods().call_update(store, lists.pod(pod, &volumes), changed)).await;
    call.end(outcome, |answer| answers::observation(answer, &pod.id))
}

pub(crate) async fn delete(mut call: Call, pod: &PodId, grace: Duration) -> Result<Deletion> {
    let (bounds, guest, store) = call.parts();
    let grace = convert::milliseconds(grace);
    let outcome = bounds.run(guest.vk_provider_pods().call_delete(store, convert::pod_id(pod), grace)).await;
    call.end(outcome, |answer| Ok(answers::deletion(answer)))
}

pub(crate) async fn get(mut call: Call, pod: &PodId) -> Result<Observation> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.vk_provider_pods().call_get(store, convert::pod_id(pod))).await;
    call.end(outcome, |answer| answers::observation(answer, pod))
}

pub(crate) async fn poll(mut call: Call, since: Option<&Cursor>) -> Result<Changes> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.vk_provider_pods().call_poll(store, since.map(Vec::as_slice))).await;
    call.end(outcome, answers::changes)
}
