//! The calls of the contract, each on an instance that was taken for it.

use std::time::Duration;

use vk_provider::{
    Aspects, Changes, Cursor, Deletion, Description, LogChunk, LogQuery, Observation, Opened, Pod, PodId, PodUsage,
    Progress, Result, SessionEvent, SessionRequest,
};

use crate::{answers, convert, pool::Call};

pub(crate) async fn describe(mut call: Call) -> Result<Description> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.node.call_describe(store)).await;
    call.end(outcome, answers::description)
}

pub(crate) async fn create(mut call: Call, pod: &Pod) -> Result<Observation> {
    let lists = convert::PodLists::new(pod);
    let volumes = lists.volumes(pod);
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.pods.call_create(store, lists.pod(pod, &volumes))).await;
    call.end(outcome, |answer| answers::observation(answer, &pod.id))
}

pub(crate) async fn update(mut call: Call, pod: &Pod, changed: Aspects) -> Result<Observation> {
    let lists = convert::PodLists::new(pod);
    let volumes = lists.volumes(pod);
    let changed = convert::aspects(changed);
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.pods.call_update(store, lists.pod(pod, &volumes), changed)).await;
    call.end(outcome, |answer| answers::observation(answer, &pod.id))
}

pub(crate) async fn delete(mut call: Call, pod: &PodId, grace: Duration) -> Result<Deletion> {
    let (bounds, guest, store) = call.parts();
    let grace = convert::milliseconds(grace);
    let outcome = bounds.run(guest.pods.call_delete(store, convert::pod_id(pod), grace)).await;
    call.end(outcome, |answer| Ok(answers::deletion(answer)))
}

pub(crate) async fn get(mut call: Call, pod: &PodId) -> Result<Observation> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.pods.call_get(store, convert::pod_id(pod))).await;
    call.end(outcome, |answer| answers::observation(answer, pod))
}

pub(crate) async fn poll(mut call: Call, since: Option<&Cursor>) -> Result<Changes> {
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(guest.pods.call_poll(store, since.map(Vec::as_slice))).await;
    call.end(outcome, answers::changes)
}

pub(crate) async fn read_logs(mut call: Call, query: &LogQuery, after: Option<&Cursor>) -> Result<LogChunk> {
    let (bounds, guest, store) = call.parts();
    let (query, after) = (convert::log_query(query), after.map(Vec::as_slice));
    let outcome = bounds.run(async { guest.logs()?.call_read(store, query, after).await }).await;
    call.end(outcome, answers::log_chunk)
}

pub(crate) async fn open_session(mut call: Call, pod: &PodId, request: &SessionRequest) -> Result<Opened> {
    let command = convert::command(request);
    let (bounds, guest, store) = call.parts();
    let (pod, request) = (convert::pod_id(pod), convert::session_request(request, &command));
    let outcome = bounds.run(async { guest.sessions()?.call_open(store, pod, request).await }).await;
    call.end(outcome, answers::opened)
}

pub(crate) async fn step_session(
    mut call: Call,
    pod: &PodId,
    state: &[u8],
    events: &[SessionEvent],
) -> Result<Progress> {
    let headers = convert::headers(events);
    let events = convert::session_events(events, &headers);
    let (bounds, guest, store) = call.parts();
    let pod = convert::pod_id(pod);
    let outcome = bounds.run(async { guest.sessions()?.call_step(store, pod, state, &events).await }).await;
    call.end(outcome.map(Ok), answers::progress)
}

pub(crate) async fn read_stats(mut call: Call, pods: &[PodId]) -> Result<Vec<PodUsage>> {
    let ids: Vec<_> = pods.iter().map(convert::pod_id).collect();
    let (bounds, guest, store) = call.parts();
    let outcome = bounds.run(async { guest.stats()?.call_read(store, &ids).await }).await;
    call.end(outcome, |answer| answers::stats(answer, pods))
}
