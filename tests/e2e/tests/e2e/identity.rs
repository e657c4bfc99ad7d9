//! As whom the host acts: with a node's identity, or with few rights.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use serde_json::json;
use vk_e2e::{Env, Setup, condition, uid};

use crate::{
    node::{has_taint, lease},
    references,
};

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: 'disk-{node}'}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  hostPath: {path: /nowhere}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: 'disk-{node}'
  resources: {requests: {storage: 1Gi}}
"#;

/// Refusals of one kind of request at most, in one life of the host: of pods' first requests for what they refer to.
const EARLY_REFUSALS: f64 = 30.0;

/// What such a node needs beyond its namespace: its Node and its Lease.
const NARROW_RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: '{node}'}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [create, get, list, patch, watch]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: '{node}'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '{node}'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{node}'}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: vk-host}
rules:
- {apiGroups: [""], resources: [pods], verbs: [delete, list, watch]}
- {apiGroups: [""], resources: [pods/status], verbs: [patch]}
- {apiGroups: [""], resources: [configmaps, secrets, services], verbs: [list, watch]}
- {apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [get]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vk-host}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: vk-host}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{node}'}]
"#;

pub(crate) async fn a_node_identity_is_enough_for_the_whole_life_of_a_pod(env: &mut Env) -> Result<()> {
    let user = format!("system:node:{}", env.node);
    let kubeconfig = env.cluster.kubeconfig_for(&user, Some("system:nodes"))?;
    // It may not read the namespace that names the cluster.
    env.start(Setup::default().kubeconfig(kubeconfig).flag("--owner").flag("e2e")).await?;
    ensure!(has_taint(&env.get_node().await?, "virtual-kubelet.io/provider"), "the taint is missing");
    for objects in [references::OBJECTS, CLAIM, references::POD] {
        env.apply(objects).await?;
    }
    env.create(env.pod("storer").mounts("disk", json!({"persistentVolumeClaim": {"claimName": "disk"}}))).await?;
    let storer = uid(&env.pod_ready("storer").await?);
    let everything = uid(&env.pod_ready("everything").await?);
    sees_what_it_refers_to(env, &everything, &storer)?;
    let token = json!({"path": "token", "audience": "vault", "expirationSeconds": 3600});
    let reader = env
        .pod("reader")
        .spec(json!({"serviceAccountName": "robot"}))
        .mounts("config", json!({"configMap": {"name": "settings"}}))
        .mounts("all", json!({"projected": {"sources": [{"serviceAccountToken": token}]}}));
    env.create(reader).await?;
    let reader = uid(&env.pod_ready("reader").await?);
    env.event("everything", "ProviderCreateSuccess").await?;

    // From here on every pod has what it refers to.
    let early = early_refusals(env).await?;
    env.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data": {"COLOR": "green"}}"#]).await?;
    let file = async |env: &Env, volume: &str, path: &str, wanted: &dyn Fn(&[u8]) -> bool| {
        env.backend_until(&format!("{volume}/{path} to change"), |backend| {
            let pod = backend.pod(&reader).ok_or("no such pod")?;
            let data = pod.file(volume, path).unwrap_or_default();
            if wanted(data) { Ok(()) } else { Err(String::from_utf8_lossy(data).into_owned()) }
        })
        .await
    };
    file(env, "config", "COLOR", &|color| color == b"green").await?;
    is_made_again(env).await?;
    nothing_else_was_refused(env).await?;
    let now = early_refusals(env).await?;
    ensure!(now == early, "pods are refused what they have: {early:?} have become {now:?}");

    // What happens while the host is away: a pod is forced out, the taint is taken, and a token comes of age.
    env.create(env.pod("orphan")).await?;
    let orphan = uid(&env.pod_ready("orphan").await?);
    env.kill9().await?;
    env.kubectl(&["delete", "pod", "orphan", "--force", "--grace-period=0"]).await?;
    env.kubectl(&["taint", "node", &env.node, "virtual-kubelet.io/provider-"]).await?;
    let pod = env.backend.pod(&reader).context("the backend has no such pod")?;
    let token = pod.file("all", "token").context("no token")?.to_vec();
    references::let_token_come_of_age(env, "reader").await?;
    env.start_again().await?;
    env.backend_without(&[orphan]).await?;
    file(env, "all", "token", &|renewed| !renewed.is_empty() && renewed != token).await?;
    let pod = env.backend.pod(&reader).context("the backend has no such pod")?;
    references::token_for_vault(env, &pod).await?;
    // The edit and the token.
    ensure!(env.backend.count(&reader).updates == 2, "{:?}", env.backend.count(&reader));
    env.made_once_and_left_alone([everything.clone(), storer.clone()])?;
    ensure!(!has_taint(&env.get_node().await?, "virtual-kubelet.io/provider"), "NodeRestriction lets taints be added");

    for name in ["everything", "reader", "storer"] {
        env.delete(name).await?;
        env.pod_gone(name).await?;
    }
    let pods = [everything, reader, storer];
    env.made_once(pods.clone())?;
    env.backend_without(&pods).await?;
    nothing_else_was_refused(env).await
}

fn sees_what_it_refers_to(env: &Env, everything: &str, storer: &str) -> Result<()> {
    let seen = env.backend.pod(everything).context("the backend has no such pod")?;
    for (volume, path, wanted) in [
        ("config", "nested/color", "blue"),
        ("secret", "user", "alice"),
        ("share", "azurestorageaccountname", "account"),
    ] {
        ensure!(seen.file(volume, path) == Some(wanted.as_bytes()), "{volume}/{path} is {:?}", seen.file(volume, path));
    }
    ensure!(seen.logins.len() == 3, "{} logins", seen.logins.len());
    for (variable, wanted) in [("PASSWORD", "p$(COLOR)ss"), ("KUBERNETES_SERVICE_PORT", "443"), ("NODE", &env.node)] {
        ensure!(seen.env("main", variable) == Some(wanted), "{variable} is {:?}", seen.env("main", variable));
    }
    let seen = env.backend.pod(storer).context("the backend has no such pod")?;
    let kinds: Vec<_> = seen.objects.iter().map(|object| &object["kind"]).collect();
    ensure!(kinds == ["PersistentVolumeClaim", "PersistentVolume"], "{kinds:?}");
    Ok(())
}

/// A node that somebody deleted is made with its taint, and without the label that such an identity may not set.
async fn is_made_again(env: &Env) -> Result<()> {
    let before = env.get_node().await?.uid();
    env.kubectl(&["delete", "node", &env.node]).await?;
    let ready = |node: &_| condition(node, "Ready").is_some_and(|ready| ready.status == "True");
    let node = env.node_until("to be made again", |node| node.uid() != before && ready(node)).await?;
    ensure!(has_taint(&node, "virtual-kubelet.io/provider"), "it came back without its taint");
    ensure!(!node.labels().contains_key("kubernetes.io/role"), "{:?}", node.labels());
    let owned = |lease: &Lease| lease.owner_references().iter().any(|owner| Some(&owner.uid) == node.uid().as_ref());
    lease(env, "the lease to belong to the new node", owned).await?;
    env.pod_ready("everything").await.map(drop)
}

/// Looks for refusals among the requests of the host's present life. A node identity is refused what it should not ask
/// for, and, for a moment after a pod is bound, the objects that the pod refers to.
async fn nothing_else_was_refused(env: &Env) -> Result<()> {
    for (request, times) in refusals(env).await? {
        // The role label, at each registration, and the taint at an adoption.
        let most = match request.contains("resource=\"nodes\"") {
            true => 3.0,
            false if is_early(&request) => EARLY_REFUSALS,
            false => 0.0,
        };
        ensure!(times <= most, "{request} was refused {times} times");
    }
    Ok(())
}

/// Whether a request may come before the API server knows that a pod which refers to its object is bound to the node.
fn is_early(request: &str) -> bool {
    ["configmaps", "secrets", "serviceaccounts/token", "persistentvolumeclaims", "persistentvolumes"]
        .iter()
        .any(|resource| request.contains(&format!("resource=\"{resource}\"")))
}

async fn early_refusals(env: &Env) -> Result<BTreeMap<String, f64>> {
    Ok(refusals(env).await?.into_iter().filter(|(request, _)| is_early(request)).collect())
}

/// The requests of the host's present life that were refused, and how often.
async fn refusals(env: &Env) -> Result<BTreeMap<String, f64>> {
    let metrics = env.metrics().await?;
    let samples = metrics.lines().filter(|line| line.contains("code=\"403\""));
    let samples = samples.map(|line| {
        let (request, times) = line.rsplit_once(' ').context("a sample has a value")?;
        Ok((request.to_owned(), times.parse()?))
    });
    samples.collect()
}

pub(crate) async fn rights_in_one_namespace_are_enough_to_serve_it(env: &mut Env) -> Result<()> {
    env.apply(NARROW_RIGHTS).await?;
    let kubeconfig = env.cluster.kubeconfig_for(&env.node, None)?;
    let setup = Setup::default().kubeconfig(kubeconfig).flag("--owner").flag("e2e");
    env.start(setup.flag("--namespace").flag(&env.namespace)).await?;
    env.apply(references::OBJECTS).await?;
    env.apply(references::POD).await?;
    let everything = uid(&env.pod_ready("everything").await?);
    let seen = env.backend.pod(&everything).context("the backend has no such pod")?;
    ensure!(seen.env("main", "WEB_FRONT_SERVICE_PORT") == Some("8080"), "{}", seen.manifest);
    // It is in another namespace.
    ensure!(seen.env("main", "KUBERNETES_SERVICE_HOST").is_none(), "{}", seen.manifest);
    env.line(0, &["KUBERNETES_SERVICE_HOST", "namespace default"]).await?;
    env.event("everything", "ProviderCreateSuccess").await?;
    env.delete("everything").await?;
    env.pod_gone("everything").await?;

    // Once that is allowed too, pods get it.
    let role = [
        "-n",
        "default",
        "create",
        "role",
        &env.node,
        "--verb=list,watch",
        "--resource=services",
        "--resource-name=kubernetes",
    ];
    env.kubectl(&role).await?;
    let (of, to) = (format!("--role={}", env.node), format!("--user={}", env.node));
    env.kubectl(&["-n", "default", "create", "rolebinding", &env.node, &of, &to]).await?;
    let mut number = 0;
    vk_e2e::eventually("a pod with the API server's address", vk_e2e::PATIENCE, async || {
        number += 1;
        let name = format!("client-{number}");
        let made = async {
            env.create(env.pod(&name)).await?;
            env.backend.pod(&uid(&env.pod_ready(&name).await?)).context("the backend has no such pod")
        };
        let seen = made.await.map_err(|error| error.to_string())?;
        seen.env("main", "KUBERNETES_SERVICE_HOST").map(drop).ok_or_else(|| seen.manifest.to_string())
    })
    .await
}
