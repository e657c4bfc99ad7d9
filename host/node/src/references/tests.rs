//! References as a whole, against a small API server and with paused time.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt, future::join_all};
use serde_json::{Value, json};
use tokio::time::{advance, sleep, timeout};
use vk_provider::Aspects;

use super::*;
use crate::fake_api::{FakeApi, Instead};

const MAP: &str = "namespaces/ns/configmaps/map";
const SECRET: &str = "namespaces/ns/secrets/secret";

fn references(api: &FakeApi, scope: Option<&str>) -> References {
    let (sender, node) = watch::channel(Some(Arc::new(NodeFacts::default())));
    // The node's facts outlive the test.
    std::mem::forget(sender);
    References::new(api.client(), scope.map(str::to_owned), node, Metrics::default(), CancellationToken::new())
}

fn map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": value}})
}

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "data": {"key": STANDARD.encode(value)}})
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "uid of p", "labels": {"app": "a"}},
        "spec": spec,
    }))
    .unwrap()
}

/// A pod that mounts these volumes whole.
fn mounting(volumes: Value) -> Pod {
    let mounts: Vec<_> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| json!({"name": volume["name"], "mountPath": format!("/{}", volume["name"])}))
        .collect();
    pod(json!({"containers": [{"name": "c", "volumeMounts": mounts}], "volumes": volumes}))
}

fn mounting_map() -> Pod {
    mounting(json!([{"name": "v", "configMap": {"name": "map"}}]))
}

fn mounting_token() -> Pod {
    let source = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}});
    mounting(json!([{"name": "v", "projected": {"sources": [source]}}]))
}

fn file(resolved: &Resolved, path: &str) -> String {
    let mut files = resolved.pod.volumes.iter().flat_map(|volume| &volume.files);
    String::from_utf8(files.find(|file| file.path == path).unwrap().data.clone()).unwrap()
}

/// Refuses requests whose path contains `part`.
fn refuse(api: &FakeApi, part: &'static str, code: u16) {
    api.rule(move |call| call.path.contains(part).then_some(Instead::Refuse(code, "", "refused")));
}

/// Pods are resolved in tasks of their own.
fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

async fn woken(links: &Links) -> bool {
    timeout(Duration::from_secs(4), links.changed()).await.is_ok()
}

const VOLUMES: Aspects = Aspects { metadata: false, spec: false, volumes: true, logins: false };

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_that_share_an_object_make_one_list_and_one_watch() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    let references = references(&api, None);
    let pod = mounting_map();
    let mut links: Vec<Links> = (0..1000).map(|_| Links::default()).collect();
    let resolved = join_all(links.iter_mut().map(|links| spawnable(references.resolve(&pod, links, None)))).await;
    assert!(resolved.iter().all(|resolved| file(resolved.as_ref().unwrap(), "key") == "1"));
    assert_eq!(api.requests(&["configmaps"]).len(), 2);
    assert_eq!(api.requests(&["configmaps", "watch=true", "metadata.name=map"]).len(), 1);
    // What was read for the first time is no change.
    assert!(join_all(links.iter().map(woken)).await.iter().all(|woken| !woken));

    api.put(MAP, map("2"));
    assert!(join_all(links.iter().map(woken)).await.iter().all(|woken| *woken));
}

#[tokio::test(start_paused = true)]
async fn changed_contents_are_changed_volumes_and_changed_labels_are_not() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    let (references, pod, mut links) = (references(&api, None), mounting_map(), Links::default());
    let first = references.resolve(&pod, &mut links, None).await.unwrap();

    let mut labelled = map("1");
    labelled["metadata"] = json!({"labels": {"a": "b"}});
    api.put(MAP, labelled);
    assert!(!woken(&links).await);
    let second = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert!(!second.fingerprint.changed_since(&first.fingerprint).any());

    api.put(MAP, map("2"));
    assert!(woken(&links).await);
    let third = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(third.fingerprint.changed_since(&second.fingerprint), VOLUMES);
    assert_eq!(third.stamp.changed_since(&second.stamp), VOLUMES);
    assert_eq!(file(&third, "key"), "2");
}

#[tokio::test(start_paused = true)]
async fn changed_labels_and_specs_of_the_pod_show() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let mut pod = pod(json!({"containers": [{"name": "c", "image": "a"}]}));
    let first = references.resolve(&pod, &mut links, None).await.unwrap();
    pod.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
    let second = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    let metadata = Aspects { metadata: true, ..Aspects::default() };
    assert_eq!(second.fingerprint.changed_since(&first.fingerprint), metadata);
    assert_eq!(second.stamp.changed_since(&first.stamp), metadata);
    pod.spec.as_mut().unwrap().containers[0].image = Some("b".to_owned());
    let third = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    let spec = Aspects { spec: true, ..Aspects::default() };
    assert_eq!(third.fingerprint.changed_since(&second.fingerprint), spec);
    assert_eq!(third.stamp.changed_since(&second.stamp), spec);
}

#[tokio::test(start_paused = true)]
async fn variables_stay_as_at_creation_and_their_objects_are_no_longer_watched() {
    let api = FakeApi::default();
    api.put(SECRET, secret("hunter2"));
    let (references, mut links) = (references(&api, None), Links::default());
    let source = json!({"secretKeyRef": {"name": "secret", "key": "key"}});
    let pod =
        pod(json!({"containers": [{"name": "c", "args": ["$(E)"], "env": [{"name": "E", "valueFrom": source}]}]}));
    let first = references.resolve(&pod, &mut links, None).await.unwrap();
    api.put(SECRET, secret("correct horse"));
    assert!(!woken(&links).await);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(api.requests(&["secrets"]).len(), 2);
    assert_eq!(references.cache.len(), 0);

    api.remove(SECRET);
    let second = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(second.pod.manifest, first.pod.manifest);
    assert!(second.pod.manifest.contains(r#""args":["hunter2"]"#));
    assert!(!second.fingerprint.changed_since(&first.fingerprint).any());
    assert!(!second.stamp.changed_since(&first.stamp).any());
    let shown = format!("{first:?} {links:?} {:?}", first.environment);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_mandatory_object_holds_the_pod_until_it_is_created() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let source = json!({"secretKeyRef": {"name": "secret", "key": "key"}});
    let env = json!([{"name": "E", "valueFrom": source}]);
    let pod = pod(json!({"containers": [{"name": "c", "env": env}], "serviceAccountName": "robot"}));
    let error = references.resolve(&pod, &mut links, None).await.unwrap_err();
    assert_eq!((error.reason, error.transient), ("MandatorySecretNotFound", false));
    assert!(!woken(&links).await);
    api.put(SECRET, secret("x"));
    assert!(woken(&links).await);
    references.resolve(&pod, &mut links, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_optional_object_is_told_once_and_appears_when_created() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let pod = mounting(json!([{"name": "v", "configMap": {"name": "map", "optional": true}}]));
    let first = references.resolve(&pod, &mut links, None).await.unwrap();
    assert_eq!(first.notices.iter().map(|notice| notice.reason).collect::<Vec<_>>(), ["OptionalConfigMapNotFound"]);
    let second = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(second.notices, []);
    api.put(MAP, map("1"));
    assert!(woken(&links).await);
    let third = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(third.fingerprint.changed_since(&second.fingerprint), VOLUMES);
    api.remove(MAP);
    assert!(woken(&links).await);
    let fourth = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(fourth.notices.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_a_while_after_its_last_user_and_is_shared_until_then() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    let references = references(&api, None);
    let pod = mounting_map();
    for _ in 0..3 {
        let mut links = Links::default();
        references.resolve(&pod, &mut links, None).await.unwrap();
        drop(links);
        sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(api.requests(&["configmaps"]).len(), 2);
    // The services stay watched.
    assert_eq!((references.cache.len(), api.open_watches()), (1, 2));
    sleep(Duration::from_secs(11)).await;
    assert_eq!((references.cache.len(), api.open_watches()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_immutable_object_is_read_once_and_not_watched() {
    let api = FakeApi::default();
    let mut immutable = secret("1");
    immutable["immutable"] = json!(true);
    api.put(SECRET, immutable);
    let (references, mut links) = (references(&api, None), Links::default());
    let pod = mounting(json!([{"name": "v", "secret": {"secretName": "secret"}}]));
    references.resolve(&pod, &mut links, None).await.unwrap();
    sleep(Duration::from_secs(1000)).await;
    references.resolve(&pod, &mut links, None).await.unwrap();
    assert_eq!(api.requests(&["secrets"]).len(), 1);
    drop(links);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(references.cache.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_watch_goes_on_from_where_it_was() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    let (references, mut links) = (references(&api, None), Links::default());
    let first = references.resolve(&mounting_map(), &mut links, None).await.unwrap();
    api.rule(|_| Some(Instead::Disconnect));
    api.close_watches();
    api.put(MAP, map("2"));
    assert!(!woken(&links).await);
    api.rule(|_| None);
    sleep(Duration::from_secs(60)).await;
    assert!(links.changed().now_or_never().is_some());
    let second = references.resolve(&mounting_map(), &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(file(&second, "key"), "2");
    assert_eq!(api.requests(&["configmaps"]).iter().filter(|request| !request.contains("watch")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_begins_again_with_a_list() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    let (references, mut links) = (references(&api, None), Links::default());
    let first = references.resolve(&mounting_map(), &mut links, None).await.unwrap();
    api.close_watches();
    api.put(MAP, map("2"));
    api.compact();
    assert!(woken(&links).await);
    let second = references.resolve(&mounting_map(), &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(file(&second, "key"), "2");
    api.put(MAP, map("3"));
    assert!(woken(&links).await);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_doubted_for_a_moment_and_then_told() {
    let api = FakeApi::default();
    api.put(SECRET, secret("1"));
    refuse(&api, "secrets", 403);
    let references = references(&api, None);
    let pod = mounting(json!([{"name": "v", "secret": {"secretName": "secret"}}]));

    let mut links = Links::default();
    let grant = async {
        sleep(Duration::from_secs(1)).await;
        api.rule(|_| None);
    };
    assert!(tokio::join!(references.resolve(&pod, &mut links, None), grant).0.is_ok());
    drop(links);
    sleep(Duration::from_secs(31)).await;

    refuse(&api, "secrets", 403);
    let mut links = Links::default();
    let error = references.resolve(&pod, &mut links, None).await.unwrap_err();
    assert_eq!((error.reason, error.transient), ("FailedToReadMandatorySecret", false));
    assert!(error.message.contains("the node may not read secret \"secret\""), "{error}");
    api.rule(|_| None);
    assert!(timeout(Duration::from_secs(31), links.changed()).await.is_ok());
    references.resolve(&pod, &mut links, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_a_transient_failure() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    api.rule(|_| Some(Instead::Disconnect));
    let (references, mut links) = (references(&api, None), Links::default());
    let error = references.resolve(&mounting_map(), &mut links, None).await.unwrap_err();
    assert_eq!((error.reason, error.transient), ("FailedToReadServices", true));
    assert!(error.message.contains("connection refused"), "{error}");
    // Objects are asked for at the same time, so they need no more waiting.
    let again = references.stamp(&mounting_map(), &mut links).await.unwrap_err();
    assert_eq!((again.reason, again.transient), ("FailedToReadMandatoryConfigMap", true));
    api.rule(|_| None);
    assert!(timeout(Duration::from_secs(31), links.changed()).await.is_ok());
    sleep(Duration::from_secs(31)).await;
    references.resolve(&mounting_map(), &mut links, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn services_become_variables_of_the_pods_that_may_see_them() {
    let api = FakeApi::default();
    let service = |address: &str| json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": address, "ports": [{"port": 443}]}});
    api.put("namespaces/default/services/kubernetes", service("10.0.0.1"));
    api.put("namespaces/default/services/other", service("10.0.0.2"));
    api.put("namespaces/ns/services/mine", service("10.0.0.3"));
    let hosts = async |references: &References, links: Option<bool>| -> Vec<String> {
        let pod = pod(json!({"containers": [{"name": "c"}], "enableServiceLinks": links}));
        let resolved = references.resolve(&pod, &mut Links::default(), None).await.unwrap();
        let variables = resolved.environment.of("c").iter();
        let hosts = variables.filter(|variable| variable.name.ends_with("_SERVICE_HOST"));
        hosts.map(|variable| variable.value.as_deref().unwrap().to_owned()).collect()
    };
    let everywhere = references(&api, None);
    assert_eq!(hosts(&everywhere, None).await, ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(hosts(&everywhere, Some(false)).await, ["10.0.0.1"]);
    assert_eq!(api.requests(&["GET services "]).len(), 2);
    api.put("namespaces/ns/services/kubernetes", service("10.0.0.4"));
    api.remove("namespaces/ns/services/mine");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(hosts(&everywhere, None).await, ["10.0.0.4"]);

    let scoped = references(&api, Some("ns"));
    assert_eq!(hosts(&scoped, None).await, ["10.0.0.4"]);
    assert_eq!(hosts(&scoped, Some(false)).await, ["10.0.0.1"]);
    assert_eq!(api.requests(&["GET services "]).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_may_read_no_more_than_its_namespace_gives_what_it_may_read() {
    let api = FakeApi::default();
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": "10.0.0.3", "ports": [{"port": 443}]}});
    api.put("namespaces/default/services/kubernetes", service.clone());
    api.put("namespaces/ns/services/mine", service);
    refuse(&api, "namespaces/default", 403);
    let references = references(&api, Some("ns"));
    let pod = pod(json!({"containers": [{"name": "c"}]}));
    let has = async |name: &str| {
        let resolved = references.resolve(&pod, &mut Links::default(), None).await.unwrap();
        resolved.environment.of("c").iter().any(|variable| variable.name.as_ref() == name)
    };
    assert!(has("MINE_SERVICE_HOST").await && !has("KUBERNETES_SERVICE_HOST").await);
    api.rule(|_| None);
    sleep(Duration::from_secs(60)).await;
    assert!(has("KUBERNETES_SERVICE_HOST").await);

    // Its own namespace's are not to be done without.
    refuse(&api, "services", 403);
    let denied = self::references(&api, Some("ns")).resolve(&pod, &mut Links::default(), None).await.unwrap_err();
    assert_eq!((denied.reason, denied.transient), ("FailedToReadServices", false));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_kept_renewed_in_time_and_used_until_they_expire() {
    let api = FakeApi::default();
    let (references, pod, mut links) = (references(&api, None), mounting_token(), Links::default());
    let first = references.resolve(&pod, &mut links, None).await.unwrap();
    assert_eq!(file(&first, "token"), "token 1");
    let left = first.renew_at.unwrap() - Instant::now();
    assert!(left > Duration::from_secs(2869) && left <= Duration::from_secs(2880), "{left:?}");
    let renew_at = first.stamp.renew_at().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(renew_at.abs_diff(left) < Duration::from_secs(2));
    let asked = api.requests(&["POST"]);
    assert_eq!(asked, ["POST namespaces/ns/serviceaccounts/default/token "]);

    advance(Duration::from_secs(2800)).await;
    let second = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert!(!second.fingerprint.changed_since(&first.fingerprint).any());

    advance(Duration::from_secs(100)).await;
    let third = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(file(&third, "token"), "token 2");
    assert_eq!(third.fingerprint.changed_since(&second.fingerprint), VOLUMES);
    assert!(!third.stamp.changed_since(&second.stamp).any());

    refuse(&api, "token", 500);
    advance(Duration::from_secs(2900)).await;
    let fourth = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap();
    assert_eq!(file(&fourth, "token"), "token 2");
    let retry = fourth.renew_at.unwrap() - Instant::now();
    assert!(retry > Duration::from_secs(20) && retry < Duration::from_secs(40), "{retry:?}");
    advance(Duration::from_secs(700)).await;
    let error = references.resolve(&pod, &mut links, Some(&first.environment)).await.unwrap_err();
    assert!(error.transient && !error.message.contains("token 2"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_held_asks_for_no_token() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let sources = json!([{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "map"}}]);
    let pod = mounting(json!([{"name": "v", "projected": {"sources": sources}}]));
    let error = references.resolve(&pod, &mut links, None).await.unwrap_err();
    assert_eq!(error.reason, "MandatoryConfigMapNotFound");
    assert_eq!(api.requests(&["POST"]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_later_process_sees_by_the_stamp_whether_anything_changed() {
    let api = FakeApi::default();
    api.put(MAP, map("1"));
    api.put(SECRET, secret("hunter2"));
    let token = json!({"serviceAccountToken": {"path": "token"}});
    let sources = json!([token, {"configMap": {"name": "map"}}, {"secret": {"name": "secret"}}]);
    let mut pod = mounting(json!([{"name": "v", "projected": {"sources": sources}}]));
    pod.spec.as_mut().unwrap().image_pull_secrets =
        Some(vec![serde_json::from_value(json!({"name": "pull"})).unwrap()]);
    let first = references(&api, None).resolve(&pod, &mut Links::default(), None).await.unwrap();
    let kept: Stamp = first.stamp.to_string().parse().unwrap();

    let (later, mut links) = (references(&api, None), Links::default());
    assert!(!later.stamp(&pod, &mut links).await.unwrap().changed_since(&kept).any());
    assert_eq!(api.requests(&["POST"]).len(), 1);
    api.put(MAP, map("2"));
    assert!(woken(&links).await);
    assert_eq!(later.stamp(&pod, &mut links).await.unwrap().changed_since(&kept), VOLUMES);
    api.put("namespaces/ns/secrets/pull", secret("x"));
    assert!(woken(&links).await);
    let changed = later.stamp(&pod, &mut links).await.unwrap().changed_since(&kept);
    assert_eq!(changed, Aspects { logins: true, ..VOLUMES });
}

#[tokio::test(start_paused = true)]
async fn claims_and_their_volumes_go_along_and_are_awaited() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let pod = mounting(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]));
    let error = references.resolve(&pod, &mut links, None).await.unwrap_err();
    assert_eq!((error.reason, error.transient), ("FailedMount", false));

    let claim = |phase: &str| json!({"kind": "PersistentVolumeClaim", "spec": {"volumeName": "pv"}, "status": {"phase": phase}});
    api.put("namespaces/ns/persistentvolumeclaims/data", claim("Pending"));
    assert!(timeout(Duration::from_secs(6), links.changed()).await.is_ok());
    let error = references.resolve(&pod, &mut links, None).await.unwrap_err();
    assert!(error.message.contains("not bound"), "{error}");

    let mut bound = claim("Bound");
    bound["metadata"] = json!({"managedFields": []});
    api.put("namespaces/ns/persistentvolumeclaims/data", bound);
    api.put("persistentvolumes/pv", json!({"kind": "PersistentVolume"}));
    let resolved = references.resolve(&pod, &mut links, None).await.unwrap();
    let objects: Vec<Value> = resolved.pod.objects.iter().map(|object| serde_json::from_str(object).unwrap()).collect();
    assert_eq!(
        objects.iter().map(|object| &object["kind"]).collect::<Vec<_>>(),
        ["PersistentVolumeClaim", "PersistentVolume"]
    );
    assert!(objects[0]["metadata"].get("managedFields").is_none());
    assert!(timeout(Duration::from_secs(60), links.changed()).await.is_err());

    refuse(&api, "persistentvolumes/", 403);
    let resolved = references.resolve(&pod, &mut links, None).await.unwrap();
    assert_eq!(resolved.pod.objects.len(), 1);
    assert_eq!(
        resolved.notices.iter().map(|notice| notice.reason).collect::<Vec<_>>(),
        ["FailedToReadPersistentVolume"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_claim_of_an_ephemeral_volume_must_be_the_pods_own() {
    let api = FakeApi::default();
    let (references, mut links) = (references(&api, None), Links::default());
    let pod = mounting(json!([{"name": "v", "ephemeral": {}}]));
    let claim = |uid: &str| {
        let owner = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid, "controller": true});
        json!({"metadata": {"ownerReferences": [owner]}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}})
    };
    api.put("persistentvolumes/pv", json!({}));
    api.put("namespaces/ns/persistentvolumeclaims/p-v", claim("another"));
    assert!(references.resolve(&pod, &mut links, None).await.unwrap_err().message.contains("not made for this pod"));
    api.put("namespaces/ns/persistentvolumeclaims/p-v", claim("uid of p"));
    references.resolve(&pod, &mut links, None).await.unwrap();
}
