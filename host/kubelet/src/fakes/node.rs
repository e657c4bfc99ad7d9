//! A node: its pods, its provider, and what the API server says of who asks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use vk_provider::{
    Cursor, Dialled, Error, ErrorKind, LogChunk, LogQuery, Logs, Opened, PodId, PodUsage, Progress, Result,
    SessionEvent, SessionRequest, Sessions, Stats, Transport,
};

use crate::{Access, Metrics, NodePod, Pods, ReviewError, Reviews, User};

pub(crate) fn metrics() -> Metrics {
    Metrics::new(&mut Registry::default())
}

pub(crate) fn user(name: &str) -> User {
    User { name: name.into(), ..User::default() }
}

/// Says yes to what a rule allows, and knows tokens.
#[derive(Default)]
pub(crate) struct FakeReviews {
    pub(crate) tokens: Mutex<BTreeMap<String, User>>,
    /// `user verb subresource`, each part of which may be `*`.
    pub(crate) rules: Mutex<Vec<&'static str>>,
    pub(crate) is_down: AtomicBool,
    pub(crate) asked: Mutex<Vec<Access>>,
    pub(crate) tokens_asked: Mutex<usize>,
}

impl FakeReviews {
    pub(crate) fn allowing(rules: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { rules: Mutex::new(rules.to_vec()), ..Self::default() })
    }

    /// What was asked since the last time, as `user verb subresource`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().map(|access| describe(&access)).collect()
    }

    fn check(&self) -> std::result::Result<(), ReviewError> {
        if self.is_down.load(Ordering::SeqCst) { Err(ReviewError("connection refused".into())) } else { Ok(()) }
    }
}

fn describe(access: &Access) -> String {
    format!("{} {} {}", access.user.name, access.verb, access.subresource)
}

#[async_trait]
impl Reviews for FakeReviews {
    async fn token(&self, token: &str) -> std::result::Result<Option<User>, ReviewError> {
        *self.tokens_asked.lock().unwrap() += 1;
        self.check()?;
        Ok(self.tokens.lock().unwrap().get(token).cloned())
    }

    async fn access(&self, access: &Access) -> std::result::Result<bool, ReviewError> {
        self.asked.lock().unwrap().push(access.clone());
        self.check()?;
        let wanted = describe(access);
        let fits = |rule: &&str| {
            rule.split(' ').zip(wanted.split(' ')).all(|(allowed, wanted)| allowed == "*" || allowed == wanted)
        };
        Ok(self.rules.lock().unwrap().iter().any(fits))
    }
}

/// The pods of a node.
#[derive(Default)]
pub(crate) struct FakePods(pub(crate) Mutex<Vec<NodePod>>);

impl Pods for FakePods {
    fn find(&self, namespace: &str, name: &str) -> Option<NodePod> {
        let pods = self.0.lock().unwrap();
        pods.iter().find(|pod| pod.id.namespace == namespace && pod.id.name == name).cloned()
    }

    fn all(&self) -> Vec<NodePod> {
        self.0.lock().unwrap().clone()
    }
}

/// A pod `ns/NAME` with uid `uid-NAME`, a container `c` and this status of it.
pub(crate) fn pod(name: &str, container_status: Value) -> NodePod {
    let uid = format!("uid-{name}");
    let mut status = json!({ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0 });
    status.as_object_mut().unwrap().extend(container_status.as_object().unwrap().clone());
    let object = json!({
        "metadata": { "namespace": "ns", "name": name, "uid": uid },
        "spec": {
            "containers": [{ "name": "c", "image": "i", "env": [{ "name": "A", "value": "a" }] }],
            "initContainers": [{ "name": "init" }],
            "ephemeralContainers": [{ "name": "debugger" }],
        },
        "status": { "phase": "Running", "containerStatuses": [status] },
    });
    NodePod {
        id: PodId { namespace: "ns".into(), name: name.into(), uid, handle: None },
        object: Arc::new(serde_json::from_value(object).unwrap()),
    }
}

/// Notes what it is asked, and answers what it was told to.
#[derive(Default)]
pub(crate) struct FakeProvider {
    pub(crate) queries: Mutex<Vec<LogQuery>>,
    pub(crate) chunks: Mutex<VecDeque<Result<LogChunk>>>,
    pub(crate) opened: Mutex<Vec<(PodId, SessionRequest)>>,
    pub(crate) progress: Mutex<VecDeque<Progress>>,
}

#[async_trait]
impl Logs for FakeProvider {
    async fn read(&self, query: &LogQuery, _: Option<Cursor>) -> Result<LogChunk> {
        self.queries.lock().unwrap().push(query.clone());
        let chunk = self.chunks.lock().unwrap().pop_front();
        chunk.unwrap_or_else(|| Err(Error::new(ErrorKind::Unsupported, "no logs here")))
    }
}

#[async_trait]
impl Sessions for FakeProvider {
    async fn open(&self, pod: &PodId, request: &SessionRequest) -> Result<Opened> {
        self.opened.lock().unwrap().push((pod.clone(), request.clone()));
        Ok(Opened { state: Vec::new(), transport: Transport::None })
    }

    async fn dial(&self, _: &Transport) -> Result<Dialled> {
        Ok(Dialled::Opened(vk_provider::Answer::default(), vk_provider::Connection::None))
    }

    async fn step(&self, _: &PodId, _: &[u8], _: Vec<SessionEvent>) -> Result<Progress> {
        Ok(self.progress.lock().unwrap().pop_front().unwrap_or_default())
    }
}

#[async_trait]
impl Stats for FakeProvider {
    async fn read(&self, _: &[PodId]) -> Result<Vec<PodUsage>> {
        Ok(Vec::new())
    }
}
