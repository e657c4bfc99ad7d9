//! The node's life against a small API server, in paused time.

mod object;
mod provider;

use std::sync::Mutex;

use async_trait::async_trait;
use http::Method;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};
use vk_provider::{Aspects, Changes, Cursor, Deletion, Error, ErrorKind, Info, Observation, Pod, PodId};

use super::*;
use crate::fake_api::{FakeApi, Instead};

/// A provider that describes the node as it is told.
struct Scripted {
    answer: Mutex<Answer>,
    asked: watch::Sender<usize>,
}

#[async_trait]
impl Provider for Scripted {
    fn info(&self) -> Info {
        Info { name: "mock".into(), version: "1.2.3".into() }
    }
    async fn describe(&self) -> vk_provider::Result<Description> {
        self.asked.send_modify(|asked| *asked += 1);
        self.answer.lock().unwrap().clone()
    }
    async fn create(&self, _: Pod) -> vk_provider::Result<Observation> {
        Err(no_pods())
    }
    async fn update(&self, _: Pod, _: Aspects) -> vk_provider::Result<Observation> {
        Err(no_pods())
    }
    async fn delete(&self, _: &PodId, _: Duration) -> vk_provider::Result<Deletion> {
        Err(no_pods())
    }
    async fn get(&self, _: &PodId) -> vk_provider::Result<Observation> {
        Err(no_pods())
    }
    async fn poll(&self, _: Option<Cursor>) -> vk_provider::Result<Changes> {
        Err(no_pods())
    }
}

fn no_pods() -> Error {
    Error::new(ErrorKind::Internal, "the node never calls this")
}

fn description() -> Description {
    Description {
        capacity: vec![("cpu".into(), "20".into()), ("memory".into(), "100Gi".into()), ("pods".into(), "20".into())],
        allocatable: vec![("cpu".into(), "19".into())],
        ..describe::as_known(None)
    }
}

fn settings() -> Settings {
    Settings {
        node_name: "vk".into(),
        operating_system: None,
        addresses: vec!["192.0.2.7".parse().unwrap()],
        port: None,
        declared_features: Vec::new(),
        taints: Taints::Default,
        describe_every: Duration::from_secs(10),
        not_ready_after: Duration::from_secs(300),
        version: "0.1.0".into(),
    }
}

struct Running {
    api: FakeApi,
    provider: Arc<Scripted>,
    handle: NodeHandle,
    facts: watch::Receiver<Option<Arc<NodeFacts>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RegistrationError>>,
}

impl Running {
    fn start(api: &FakeApi, settings: Settings, answer: Answer) -> Self {
        let provider = Arc::new(Scripted { answer: Mutex::new(answer), asked: watch::Sender::new(0) });
        let (events, writer) = Events::new(api.client(), &settings.node_name, Counter::default());
        let (registration, handle, facts) =
            Registration::new(settings, api.client(), Arc::clone(&provider) as Arc<dyn Provider>, events);
        let stop = CancellationToken::new();
        tokio::spawn(writer.run(stop.clone()));
        let task = tokio::spawn(registration.run(stop.clone()));
        Self { api: api.clone(), provider, handle, facts, stop, task }
    }

    async fn registered(api: &FakeApi, settings: Settings) -> Self {
        let mut running = Self::start(api, settings, Ok(description()));
        running.published(Option::is_some).await;
        until(|| api.get("nodes/vk").is_some()).await;
        running
    }

    /// Waits until the published facts are as said.
    async fn published(&mut self, holds: impl FnMut(&Option<Arc<NodeFacts>>) -> bool) {
        let waited = timeout(Duration::from_secs(3600), self.facts.wait_for(holds)).await;
        waited.expect("it never came to pass").unwrap();
    }

    fn answer(&self, answer: Answer) {
        *self.provider.answer.lock().unwrap() = answer;
    }

    fn node(&self) -> Value {
        self.api.get("nodes/vk").unwrap()
    }

    /// An event of the node with this reason.
    fn event(&self, reason: &str) -> Option<Value> {
        self.api.list("namespaces/default/events").into_iter().find(|event| event["reason"] == reason)
    }

    /// A condition as `status reason`.
    fn condition(&self, kind: &str) -> String {
        let node = self.node();
        let conditions = node["status"]["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        format!("{} {}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }
}

/// Waits in paused time, at most an hour of it.
async fn until(mut holds: impl FnMut() -> bool) {
    timeout(Duration::from_secs(3600), async {
        while !holds() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it never came to pass");
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "no route to backend")
}

#[tokio::test(start_paused = true)]
async fn a_node_is_made_as_its_operator_and_its_provider_say() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    let node = running.node();
    assert_eq!(
        node["metadata"]["labels"],
        json!({
            "type": "virtual-kubelet", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": "vk", "kubernetes.io/role": "agent",
            "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        })
    );
    assert_eq!(
        node["spec"]["taints"],
        json!([{ "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" }])
    );
    assert_eq!(node["status"]["capacity"], json!({ "cpu": "20", "memory": "100Gi", "pods": "20" }));
    assert_eq!(node["status"]["allocatable"], json!({ "cpu": "19", "memory": "100Gi", "pods": "20" }));
    assert_eq!(
        node["status"]["addresses"],
        json!([{ "type": "InternalIP", "address": "192.0.2.7" }, { "type": "Hostname", "address": "vk" }])
    );
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.35.0-vk-0.1.0", "not above the API server's");
    assert_eq!(node["status"]["nodeInfo"]["containerRuntimeVersion"], "mock://1.2.3");
    assert_eq!(node["status"]["nodeInfo"].as_object().unwrap().len(), 10);
    assert!(node["status"]["daemonEndpoints"].is_null());
    assert_eq!(running.condition("Ready"), "True KubeletReady");
    assert_eq!(running.condition("MemoryPressure"), "False KubeletHasSufficientMemory");
    assert_eq!(running.condition("NetworkUnavailable"), "False RouteCreated");
    assert_eq!(running.condition("ProviderReachable"), "True ProviderAnswers");
    assert_eq!(running.condition("ProviderAuthorized"), "True ProviderAnswers");
    let facts = running.facts.borrow().clone().unwrap();
    assert_eq!((facts.uid.as_str(), facts.ready), ("uid-1", true));
    assert_eq!(facts.allocatable["cpu"].0, "19");
}

fn with_kubelet_api() -> Settings {
    Settings { port: Some(10250), declared_features: vec!["ExtendWebSocketsToKubelet".into()], ..settings() }
}

#[tokio::test(start_paused = true)]
async fn a_node_says_where_the_kubelet_api_is_and_what_it_can_do() {
    let api = FakeApi::default();
    api.put("nodes/vk", json!({ "status": { "nodeInfo": { "kubeletVersion": "v1.30.0-vk-0.0.9" } } }));
    let running = Running::registered(&api, with_kubelet_api()).await;
    until(|| !running.node()["status"]["declaredFeatures"].is_null()).await;
    let node = running.node();
    assert_eq!(node["status"]["daemonEndpoints"], json!({ "kubeletEndpoint": { "Port": 10250 } }));
    assert_eq!(node["status"]["declaredFeatures"], json!(["ExtendWebSocketsToKubelet"]));
}

#[tokio::test(start_paused = true)]
async fn what_an_api_server_drops_of_the_features_is_not_sent_again_and_again() {
    let api = FakeApi::default();
    // An older server: it knows no such field.
    api.forget_status_field("declaredFeatures");
    let running = Running::registered(&api, with_kubelet_api()).await;
    sleep(Duration::from_secs(200)).await;
    let patches = api.calls(&Method::PATCH);
    let sent = patches.iter().filter(|call| call.body["status"].get("declaredFeatures").is_some());
    assert_eq!(sent.count(), 1, "{:?}", running.node());

    sleep(REPORT_EVERY).await;
    let patches = api.calls(&Method::PATCH);
    let sent = patches.iter().filter(|call| call.body["status"].get("declaredFeatures").is_some());
    assert_eq!(sent.count(), 2, "with the heartbeat, in case the server is a newer one by now");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_a_real_kubelet_is_refused() {
    let api = FakeApi::default();
    api.put("nodes/vk", json!({ "status": { "nodeInfo": { "kubeletVersion": "v1.36.4" } } }));
    let before = api.get("nodes/vk");
    let running = Running::start(&api, settings(), Ok(description()));
    let error = running.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("belongs to a real kubelet (its kubeletVersion is v1.36.4)"), "{error}");
    assert_eq!(api.get("nodes/vk"), before);
}

#[tokio::test(start_paused = true)]
async fn an_adopted_node_keeps_what_others_gave_it() {
    let api = FakeApi::default();
    api.put("nodes/vk", json!({
        "metadata": { "labels": { "team": "blue", "type": "old" }, "annotations": { "a.example/b": "c" } },
        "spec": { "unschedulable": true, "taints": [{ "key": "mine", "effect": "NoExecute" }] },
        "status": {
            "nodeInfo": { "kubeletVersion": "v1.30.0-vk-0.0.9" },
            "capacity": { "cpu": "1", "example.com/fpga": "2", "hugepages-2Mi": "0" },
            "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }, { "type": "Hostname", "address": "vk" }],
            "conditions": [{ "type": "example.com/Checked", "status": "True" }],
        },
    }));
    let running = Running::registered(&api, settings()).await;
    until(|| running.node()["status"]["capacity"]["cpu"] == "20").await;
    let node = running.node();
    assert_eq!(node["metadata"]["labels"]["team"], "blue");
    assert_eq!(node["metadata"]["labels"]["type"], "virtual-kubelet");
    assert_eq!(node["metadata"]["annotations"]["a.example/b"], "c");
    assert_eq!(node["spec"]["unschedulable"], true);
    let keys: Vec<_> = node["spec"]["taints"].as_array().unwrap().iter().map(|taint| taint["key"].clone()).collect();
    assert_eq!(keys, ["mine", "virtual-kubelet.io/provider"]);
    assert_eq!(
        node["status"]["capacity"],
        json!({ "cpu": "20", "memory": "100Gi", "pods": "20", "example.com/fpga": "2" })
    );
    assert_eq!(node["status"]["addresses"][0]["address"], "192.0.2.7");
    assert_eq!(node["status"]["addresses"].as_array().unwrap().len(), 2);
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.35.0-vk-0.1.0");
    assert_eq!(node["status"]["conditions"][0]["type"], "example.com/Checked");
    let taints = api.calls(&Method::PATCH).into_iter().find(|call| !call.body["spec"].is_null()).unwrap();
    assert_eq!(taints.body["metadata"]["resourceVersion"], "1");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_may_not_set_the_role_label_registers_without_it() {
    let api = FakeApi::default();
    api.rule(|call| {
        let labels = &call.body["metadata"]["labels"];
        (!labels["kubernetes.io/role"].is_null()).then_some(Instead::Refuse(
            403,
            "Forbidden",
            "is not allowed to set the following labels: kubernetes.io/role",
        ))
    });
    let running = Running::registered(&api, settings()).await;
    assert!(running.node()["metadata"]["labels"]["kubernetes.io/role"].is_null());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.calls(&Method::POST).iter().filter(|call| call.path == "nodes").count(), 2);
    assert_eq!(api.calls(&Method::PATCH).len(), 0, "it does not try again and again");
}

#[tokio::test(start_paused = true)]
async fn a_node_adopted_by_an_identity_that_may_not_touch_taints_and_roles_still_works() {
    let api = FakeApi::default();
    api.put("nodes/vk", json!({ "metadata": { "labels": {} } }));
    api.rule(|call| {
        let forbidden =
            !call.body["metadata"]["labels"]["kubernetes.io/role"].is_null() || !call.body["spec"].is_null();
        (call.method == Method::PATCH && forbidden).then_some(Instead::Refuse(403, "Forbidden", "no"))
    });
    let running = Running::registered(&api, settings()).await;
    until(|| running.node()["metadata"]["labels"]["type"] == "virtual-kubelet").await;
    until(|| running.node()["status"]["capacity"]["cpu"] == "20").await;
    assert_eq!(running.condition("Ready"), "True KubeletReady");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_deletes_is_made_again() {
    let api = FakeApi::default();
    let mut running = Running::registered(&api, settings()).await;
    let started = Instant::now();
    api.remove("nodes/vk");
    running.published(|facts| facts.as_ref().is_some_and(|facts| facts.uid == "uid-2")).await;
    assert!(started.elapsed() < Duration::from_secs(1), "at once, not with the next report");
    assert_eq!(running.condition("Ready"), "True KubeletReady");
    assert_eq!(running.node()["spec"]["taints"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes_but_a_report_every_five_minutes() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    sleep(Duration::from_secs(290)).await;
    assert_eq!(api.calls(&Method::PATCH).len(), 0);
    assert!(*running.provider.asked.borrow() >= 29, "it is asked every ten seconds");
    sleep(Duration::from_secs(20)).await;
    let patches = api.calls(&Method::PATCH);
    assert_eq!(patches.len(), 1);
    let conditions = patches[0].body["status"]["conditions"].as_array().unwrap().clone();
    assert_eq!(conditions.len(), 8, "all of them, with their heartbeats");
    assert!(conditions.iter().all(|condition| !condition["lastHeartbeatTime"].is_null()));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(api.calls(&Method::PATCH).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pods_that_vanish_together_show_as_a_condition_and_an_event() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    assert_eq!(running.condition("ProviderPodsVanished"), "False NoneVanished");
    running.handle.pods_vanished(Some("12 of 20 pods have vanished".into()));
    until(|| running.condition("ProviderPodsVanished") == "True PodsVanishedTogether").await;
    let told = || api.list("namespaces/default/events");
    until(|| told().iter().any(|event| event["reason"] == "ProviderPodsVanished")).await;
    assert_eq!(told()[0]["message"], "12 of 20 pods have vanished");
    assert_eq!(running.condition("Ready"), "True KubeletReady");
    running.handle.pods_vanished(None);
    until(|| running.condition("ProviderPodsVanished") == "False NoneVanished").await;
}

#[tokio::test(start_paused = true)]
async fn what_others_break_is_repaired() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    let mut node = running.node();
    node["metadata"]["labels"]["kubernetes.io/os"] = json!("plan9");
    node["status"]["capacity"]["cpu"] = json!("20000m");
    node["status"]["allocatable"]["cpu"] = json!("1");
    api.put("nodes/vk", node);
    until(|| running.node()["metadata"]["labels"]["kubernetes.io/os"] == "linux").await;
    until(|| running.node()["status"]["allocatable"]["cpu"] == "19").await;
    assert_eq!(running.node()["status"]["capacity"]["cpu"], "20000m", "the same amount is left as it is written");
}

#[tokio::test(start_paused = true)]
async fn a_stop_posts_not_ready_and_leaves_the_node() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    running.stop.cancel();
    let Running { task, api, .. } = running;
    task.await.unwrap().unwrap();
    let node = api.get("nodes/vk").unwrap();
    let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap().clone();
    assert_eq!(
        (&ready["status"], &ready["reason"], &ready["message"]),
        (&json!("False"), &json!("KubeletNotReady"), &json!("vk-host is stopping"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_an_api_server_that_hangs() {
    let api = FakeApi::default();
    let running = Running::registered(&api, settings()).await;
    api.rule(|_| Some(Instead::Hang));
    let started = Instant::now();
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
    assert!(started.elapsed() <= GOODBYE_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_is_asked_again_until_it_is_back() {
    let api = FakeApi::default();
    api.rule(|_| Some(Instead::Refuse(503, "ServiceUnavailable", "starting")));
    let mut running = Running::start(&api, settings(), Ok(description()));
    sleep(Duration::from_secs(120)).await;
    assert!(!running.task.is_finished());
    api.rule(|_| None);
    running.published(Option::is_some).await;
    assert_eq!(running.condition("Ready"), "True KubeletReady");
}
