//! Single cases: what a kubelet would answer in the same place.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    let mut base = json!({ "metadata": { "name": "p", "uid": "u" }, "spec": { "containers": [{ "name": "c" }] } });
    crate::fake_api::merge(&mut base["spec"], &spec);
    serde_json::from_value(base).unwrap()
}

/// A pod with one container that requests this.
fn asking(requests: Value) -> Pod {
    pod(json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] }))
}

fn node(allocatable: Value) -> NodeFacts {
    let allocatable: BTreeMap<String, Quantity> = serde_json::from_value(allocatable).unwrap();
    NodeFacts {
        name: "vk".into(),
        labels: [("zone", "a"), ("size", "12"), ("kubernetes.io/os", "linux")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        operating_system: "linux".into(),
        allocatable,
        ..NodeFacts::default()
    }
}

fn large() -> NodeFacts {
    node(json!({ "cpu": "20", "memory": "100Gi", "pods": "20" }))
}

/// What a fresh node answers: nothing, or reason and message.
fn answer(pod: &Pod, node: &NodeFacts) -> Option<(String, String)> {
    let rejection = Admission::new().admit("u", pod, node).err()?;
    Some((rejection.reason().into_owned(), rejection.to_string()))
}

fn reason(pod: &Pod, node: &NodeFacts) -> Option<String> {
    answer(pod, node).map(|(reason, _)| reason)
}

fn requests(spec: Value) -> Value {
    json!(Requests::of_spec(&pod(spec)).iter().filter(|(_, amount)| *amount != 0).collect::<BTreeMap<_, _>>())
}

#[test]
fn the_sums_are_those_of_the_kubelet() {
    let asks = |name: &str, cpu: &str, memory: &str| json!({ "name": name, "resources": { "requests": { "cpu": cpu, "memory": memory } } });
    let sidecar = |name: &str, cpu: &str, memory: &str| {
        let mut container = asks(name, cpu, memory);
        container["restartPolicy"] = json!("Always");
        container
    };
    for (spec, expected) in [
        (json!({}), json!({})),
        (
            json!({ "containers": [asks("a", "1", "1Gi"), asks("b", "500m", "1")] }),
            json!({ "cpu": 1500, "memory": 1073741825 }),
        ),
        (
            json!({ "containers": [asks("a", "1", "10")], "initContainers": [asks("i", "3", "5"), asks("j", "2", "7")] }),
            json!({ "cpu": 3000, "memory": 10 }),
        ),
        (
            // A sidecar runs beside what comes after it, and beside the containers.
            json!({
                "containers": [asks("a", "1", "10")],
                "initContainers": [asks("i", "3", "5"), sidecar("s", "1", "1"), asks("j", "2500m", "1"), sidecar("t", "1", "1")],
            }),
            json!({ "cpu": 3500, "memory": 12 }),
        ),
        (
            json!({ "containers": [asks("a", "1", "10")], "overhead": { "cpu": "250m", "memory": "6" } }),
            json!({ "cpu": 1250, "memory": 16 }),
        ),
        (
            // What is stated for the pod replaces the sums, and overhead comes on top.
            json!({
                "containers": [asks("a", "1", "10")], "overhead": { "cpu": "1" },
                "resources": { "requests": { "cpu": "4", "ephemeral-storage": "1Gi" } },
            }),
            json!({ "cpu": 5000, "memory": 10 }),
        ),
        (json!({ "containers": [asks("a", "100u", "1500m")] }), json!({ "cpu": 1, "memory": 2 })),
    ] {
        assert_eq!(requests(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn what_runs_counts_with_what_it_has() {
    let running = |asked: &str, has: Value, conditions: Value| {
        let mut pod = asking(json!({ "cpu": asked }));
        pod.status = serde_json::from_value(json!({
            "conditions": conditions,
            "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": has,
            }],
        }))
        .unwrap();
        Requests::in_use(&pod).get("cpu")
    };
    let refused = json!([{ "type": "PodResizePending", "status": "True", "reason": "Infeasible" }]);
    let one = json!({ "requests": { "cpu": "1" } });
    assert_eq!(running("2", Value::Null, json!([])), 2000);
    assert_eq!(running("2", one.clone(), json!([])), 2000, "on its way up");
    assert_eq!(running("500m", one.clone(), json!([])), 1000, "on its way down");
    assert_eq!(running("2", one, refused), 1000, "it does not get more");
}

#[test]
fn a_pod_is_refused_for_the_first_resource_that_is_short_in_the_kubelets_words() {
    let node = node(json!({ "cpu": "20", "memory": "100Gi", "pods": "20", "example.com/gpu": "2" }));
    let full = |requests: Value| {
        let admission = Admission::new();
        admission.count("other", Requests::of_spec(&asking(json!({ "cpu": "19", "example.com/gpu": "1" }))));
        let rejection = admission.admit("u", &asking(requests), &node).err();
        rejection.map(|rejection| (rejection.reason().into_owned(), rejection.to_string()))
    };
    let short = |resource: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        Some((format!("OutOf{resource}"), message))
    };
    assert_eq!(full(json!({ "cpu": "1" })), None);
    assert_eq!(full(json!({ "cpu": "2" })), short("cpu", 2000, 19000, 20000));
    assert_eq!(full(json!({ "cpu": "2", "memory": "200Gi" })), short("cpu", 2000, 19000, 20000));
    assert_eq!(full(json!({ "memory": "200Gi" })), short("memory", 200 << 30, 0, 100 << 30));
    assert_eq!(full(json!({ "ephemeral-storage": "1" })), short("ephemeral-storage", 1, 0, 0));
    assert_eq!(full(json!({ "example.com/gpu": "2" })), short("example.com/gpu", 2, 1, 2));
    assert_eq!(full(json!({ "hugepages-2Mi": "2Mi" })), short("hugepages-2Mi", 2 << 20, 0, 0));
    assert_eq!(full(json!({ "example.com/licence": "1" })), None, "the cluster's, not the node's");
    assert_eq!(full(json!({ "cpu": "0" })), None, "nothing is always there");
}

#[test]
fn the_number_of_pods_is_a_resource() {
    let (admission, node) = (Admission::new(), node(json!({ "pods": "2" })));
    for uid in ["a", "b", "a"] {
        admission.admit(uid, &pod(json!({})), &node).unwrap();
    }
    let rejection = admission.admit("c", &pod(json!({})), &node).unwrap_err();
    assert_eq!(rejection.reason(), "OutOfpods");
    assert_eq!(rejection.to_string(), "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2");
    admission.release("a");
    admission.admit("c", &pod(json!({})), &node).unwrap();
}

#[test]
fn what_was_admitted_stays_so_when_the_node_shrinks_and_counts_until_it_is_over() {
    let admission = Admission::new();
    let two = asking(json!({ "cpu": "2" }));
    admission.admit("a", &two, &large()).unwrap();
    let small = node(json!({ "cpu": "1", "pods": "20" }));
    assert_eq!(admission.admit("a", &two, &small), Ok(()));
    assert!(admission.admit("b", &asking(json!({ "cpu": "1" })), &small).is_err());
    admission.release("a");
    assert_eq!(admission.admit("b", &asking(json!({ "cpu": "1" })), &small), Ok(()));
    // In place of what was counted, not beside it.
    admission.count("b", Requests::of_spec(&asking(json!({ "cpu": "500m" }))));
    assert_eq!(admission.admit("c", &asking(json!({ "cpu": "500m" })), &small), Ok(()));
}

#[test]
fn only_one_of_many_gets_the_last_place() {
    let (admission, node) = (Admission::new(), node(json!({ "cpu": "1", "pods": "100" })));
    let one = asking(json!({ "cpu": "1" }));
    let ask = &|number: u32| admission.admit(&number.to_string(), &one, &node).is_ok();
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|taken| *taken).count()
    });
    assert_eq!(taken, 1);
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({ "key": key, "operator": operator, "values": values })
}

fn required(terms: Value) -> Pod {
    let selector = json!({ "nodeSelectorTerms": terms });
    pod(json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": selector } } }))
}

#[test]
fn each_operator_of_the_node_affinity_means_what_it_does_to_the_scheduler() {
    for (key, operator, values, matches) in [
        ("zone", "In", &["b", "a"][..], true),
        ("zone", "In", &["b"], false),
        ("other", "In", &["a"], false),
        ("zone", "NotIn", &["b"], true),
        ("zone", "NotIn", &["a"], false),
        ("other", "NotIn", &["a"], true),
        ("zone", "Exists", &[], true),
        ("other", "Exists", &[], false),
        ("zone", "DoesNotExist", &[], false),
        ("other", "DoesNotExist", &[], true),
        ("size", "Gt", &["11"], true),
        ("size", "Gt", &["12"], false),
        ("size", "Lt", &["13"], true),
        ("size", "Lt", &["12"], false),
        ("zone", "Gt", &["1"], false),
        ("other", "Lt", &["1"], false),
        ("size", "Gt", &["1", "2"], false),
        ("zone", "Like", &["a"], false),
    ] {
        let pod = required(json!([{ "matchExpressions": [requirement(key, operator, values)] }]));
        assert_eq!(reason(&pod, &large()).is_none(), matches, "{key} {operator} {values:?}");
    }
    for (key, operator, values, matches) in [
        ("metadata.name", "In", &["vk"][..], true),
        ("metadata.name", "In", &["other"], false),
        ("metadata.name", "NotIn", &["vk"], false),
        ("metadata.name", "NotIn", &["other"], true),
        ("metadata.name", "In", &["vk", "other"], false),
        ("metadata.uid", "In", &["vk"], false),
        ("metadata.name", "Exists", &[], false),
    ] {
        let pod = required(json!([{ "matchFields": [requirement(key, operator, values)] }]));
        assert_eq!(reason(&pod, &large()).is_none(), matches, "{key} {operator} {values:?}");
    }
}

#[test]
fn one_term_must_hold_whole_and_so_must_the_selector() {
    let (holds, fails) = (requirement("zone", "Exists", &[]), requirement("zone", "DoesNotExist", &[]));
    for (terms, matches) in [
        (json!([{ "matchExpressions": [fails] }, { "matchExpressions": [holds] }]), true),
        (json!([{ "matchExpressions": [holds, fails] }]), false),
        (json!([{ "matchExpressions": [holds], "matchFields": [requirement("metadata.name", "In", &["x"])] }]), false),
        (json!([{}]), false),
        (json!([]), false),
    ] {
        assert_eq!(reason(&required(terms.clone()), &large()).is_none(), matches, "{terms}");
    }
    assert_eq!(answer(&pod(json!({ "nodeSelector": { "zone": "a" } })), &large()), None);
    assert_eq!(
        answer(&pod(json!({ "nodeSelector": { "zone": "a", "size": "13" } })), &large()),
        Some((
            "NodeAffinity".into(),
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into()
        ))
    );
}

#[test]
fn a_pod_of_another_operating_system_is_refused() {
    assert_eq!(reason(&pod(json!({ "os": { "name": "linux" } })), &large()), None);
    assert_eq!(
        answer(&pod(json!({ "os": { "name": "windows" } })), &large()),
        Some(("PodOSNotSupported".into(), "Failed to admit pod as the OS field doesn't match node OS".into()))
    );
    let mut labelled = pod(json!({}));
    labelled.metadata.labels = Some([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
    assert_eq!(
        answer(&labelled, &large()),
        Some((
            "PodOSSelectorNodeLabelDoesNotMatch".into(),
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label".into()
        ))
    );
    assert_eq!(
        reason(&pod(json!({ "nodeSelector": { "kubernetes.io/os": "windows" } })), &large()).unwrap(),
        "NodeAffinity"
    );
}

#[test]
fn only_taints_that_end_pods_must_be_tolerated() {
    let tainted = |value: &str, effect: &str| NodeFacts {
        taints: serde_json::from_value(json!([{ "key": "k", "value": value, "effect": effect }])).unwrap(),
        ..large()
    };
    assert_eq!(reason(&pod(json!({})), &tainted("v", "NoSchedule")), None);
    assert_eq!(
        answer(&pod(json!({})), &tainted("v", "NoExecute")),
        Some((
            "TaintToleration".into(),
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate".into()
        ))
    );
    for (toleration, value, tolerated) in [
        (json!({ "operator": "Exists" }), "v", true),
        (json!({ "key": "k", "operator": "Exists" }), "v", true),
        (json!({ "key": "other", "operator": "Exists" }), "v", false),
        (json!({ "key": "k", "value": "v" }), "v", true),
        (json!({ "key": "k", "operator": "Equal", "value": "w" }), "v", false),
        (json!({ "key": "k", "operator": "Exists", "effect": "NoExecute" }), "v", true),
        (json!({ "key": "k", "operator": "Exists", "effect": "NoSchedule" }), "v", false),
        (json!({ "key": "k", "operator": "Gt", "value": "5" }), "6", true),
        (json!({ "key": "k", "operator": "Gt", "value": "5" }), "5", false),
        (json!({ "key": "k", "operator": "Lt", "value": "5" }), "4", true),
        (json!({ "key": "k", "operator": "Lt", "value": "5" }), "v", false),
    ] {
        let pod = pod(json!({ "tolerations": [toleration] }));
        assert_eq!(reason(&pod, &tainted(value, "NoExecute")).is_none(), tolerated, "{toleration}");
    }
}

#[test]
fn resources_go_before_affinity_and_that_before_taints() {
    let mut pod = required(json!([{ "matchExpressions": [requirement("zone", "In", &["b"])] }]));
    pod.spec.as_mut().unwrap().containers[0].resources =
        serde_json::from_value(json!({ "requests": { "cpu": "21" } })).unwrap();
    let taints = serde_json::from_value(json!([{ "key": "k", "effect": "NoExecute" }])).unwrap();
    let mut node = NodeFacts { taints, ..large() };
    assert_eq!(reason(&pod, &node).unwrap(), "OutOfcpu");
    node.allocatable.insert("cpu".into(), Quantity("21".into()));
    assert_eq!(reason(&pod, &node).unwrap(), "NodeAffinity");
    node.labels.insert("zone".into(), "b".into());
    assert_eq!(reason(&pod, &node).unwrap(), "TaintToleration");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_looks_again_a_second_after_the_first_of_many_changes() {
    let admission = Admission::new();
    for uid in ["a", "b", "c"] {
        admission.count(uid, Requests::default());
    }
    let node = watch::Sender::new(None);
    let mut vacancy = admission.vacancy(node.subscribe());
    let waited = async |vacancy: &mut Vacancy| {
        let began = Instant::now();
        let changed = time::timeout(Duration::from_secs(3600), vacancy.changed()).await.is_ok();
        (changed, began.elapsed())
    };
    assert!(!waited(&mut vacancy).await.0, "nothing has changed");
    admission.release("a");
    admission.release("b");
    // A wait that is broken off loses nothing.
    assert!(time::timeout(LOOK_AGAIN / 2, vacancy.changed()).await.is_err());
    assert_eq!(waited(&mut vacancy).await, (true, LOOK_AGAIN / 2));
    assert!(!waited(&mut vacancy).await.0, "that was one burst");
    admission.release("unknown");
    assert!(!waited(&mut vacancy).await.0, "nothing was freed");
    node.send_replace(Some(Arc::new(large())));
    assert_eq!(waited(&mut vacancy).await, (true, LOOK_AGAIN));
}
