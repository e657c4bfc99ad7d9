//! /pods and /runningpods, one pod at a time: a node may have thousands.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::ObjectMeta;

use super::content;
use crate::{NodePod, body::Body};

/// The pods as the API server has them.
pub(super) fn all(pods: Vec<NodePod>) -> Response<Body> {
    list(pods.into_iter().map(|pod| pod.object))
}

/// Which containers run, and no more than that, as the kubelet has it from its runtime.
pub(super) fn running(pods: Vec<NodePod>) -> Response<Body> {
    list(pods.into_iter().filter_map(|pod| running_part(&pod.object)).map(Arc::new))
}

fn running_part(pod: &Pod) -> Option<Pod> {
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let running = statuses.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    let containers: Vec<Container> = running
        .map(|status| Container {
            name: status.name.clone(),
            image: Some(status.image.clone()),
            ..Container::default()
        })
        .collect();
    if containers.is_empty() {
        return None;
    }
    let metadata = ObjectMeta {
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectMeta::default()
    };
    Some(Pod { metadata, spec: Some(PodSpec { containers, ..PodSpec::default() }), status: None })
}

fn list(pods: impl Iterator<Item = Arc<Pod>> + Send + Sync + 'static) -> Response<Body> {
    let begin = Ok(Bytes::from_static(br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#));
    let items = pods.enumerate().map(|(index, pod)| {
        let mut text = if index == 0 { Vec::new() } else { b",".to_vec() };
        serde_json::to_writer(&mut text, &*pod)?;
        Ok(Bytes::from(text))
    });
    let end = Ok(Bytes::from_static(b"]}"));
    let parts = std::iter::once(begin).chain(items).chain(std::iter::once(end));
    let body = StreamBody::new(stream::iter(parts.map(|part: io::Result<Bytes>| part.map(Frame::data))));
    let mut response = content(super::JSON, Bytes::new());
    *response.body_mut() = body.boxed();
    response
}
