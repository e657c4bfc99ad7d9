//! The Node object and its lease.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{Api, ResourceExt as _, api::PostParams, runtime::watcher};
use serde_json::json;
use tokio::time::Instant;
use vk_e2e::{Env, PATIENCE, Seen, Setup, condition, is_ready, phase, uid, until};

pub(crate) fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == key)
}

pub(crate) async fn lease(env: &Env, what: &str, mut wanted: impl FnMut(&Lease) -> bool) -> Result<Lease> {
    let leases: Api<Lease> = Api::namespaced(env.client.clone(), "kube-node-lease");
    let own = watcher::Config::default().fields(&format!("metadata.name={}", env.node));
    let seen = until(leases, own, what, PATIENCE, |seen| seen.values().any(&mut wanted)).await?;
    seen.into_values().next().context("a lease was seen")
}

pub(crate) async fn a_deleted_node_is_made_again_and_its_pods_run_on(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let uids: Vec<String> = env.running("some", 5).await?.into_keys().collect();
    let before = env.get_node().await?.uid();
    env.kubectl(&["delete", "node", &env.node]).await?;
    let node = env.node_until("to be made again", |node| {
        node.uid() != before && condition(node, "Ready").is_some_and(|ready| ready.status == "True")
    });
    let node = node.await?;
    ensure!(has_taint(&node, "virtual-kubelet.io/provider"), "it came back without its taint");
    ensure!(node.labels().get("type").map(String::as_str) == Some("virtual-kubelet"), "{:?}", node.labels());
    let owned = |lease: &Lease| lease.owner_references().iter().any(|owner| Some(&owner.uid) == node.uid().as_ref());
    lease(env, "the lease to belong to the new node", owned).await?;

    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    let now = env.ready("some", 5).await?;
    ensure!(now.keys().eq(uids.iter()), "other pods than before");
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn foreign_labels_taints_and_a_cordon_survive(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["label", "node", &env.node, "example.com/rack=7"]).await?;
    env.kubectl(&["annotate", "node", &env.node, "example.com/note=mine"]).await?;
    env.kubectl(&["taint", "node", &env.node, "example.com/quiet=yes:NoSchedule"]).await?;
    env.kubectl(&["cordon", &env.node]).await?;

    let is_kept = |node: &Node| -> Result<()> {
        ensure!(node.labels().get("example.com/rack").map(String::as_str) == Some("7"), "{:?}", node.labels());
        ensure!(node.annotations().contains_key("example.com/note"), "{:?}", node.annotations());
        ensure!(has_taint(node, "example.com/quiet"), "the foreign taint is gone");
        ensure!(has_taint(node, "virtual-kubelet.io/provider"), "the node's own taint is gone");
        ensure!(node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true), "the cordon is gone");
        Ok(())
    };
    let has_room_for = |pods: &'static str| {
        move |node: &Node| {
            let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
            capacity.and_then(|capacity| capacity.get("pods")).is_some_and(|quantity| quantity.0 == pods)
        }
    };
    // The node's status is written, and so is the node after a restart.
    let changed = Setup::default().pods(1_234);
    env.configure(&changed)?;
    is_kept(&env.node_until("to have room for 1234", has_room_for("1234")).await?)?;
    env.kill9().await?;
    env.start(Setup::default().pods(4_321)).await?;
    is_kept(&env.node_until("to have room for 4321", has_room_for("4321")).await?)
}

pub(crate) async fn the_lease_is_renewed_and_owned_by_the_node(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    // It is held before there is a node.
    let owned = |lease: &Lease| !lease.owner_references().is_empty();
    let first = lease(env, "a lease with an owner", owned).await?;
    let spec = first.spec.clone().context("the lease has no spec")?;
    ensure!(spec.holder_identity.as_ref() == Some(&env.node), "held by {:?}", spec.holder_identity);
    ensure!(spec.lease_duration_seconds == Some(40), "{:?}", spec.lease_duration_seconds);
    let node = env.get_node().await?.uid();
    ensure!(first.owner_references().iter().any(|owner| Some(&owner.uid) == node.as_ref()), "not the node's");
    let instance = first.annotations().get("vk-host.dev/instance").context("the lease names no process")?;
    ensure!(instance.len() == 32 && instance.bytes().all(|byte| byte.is_ascii_hexdigit()), "{instance}");
    let renewed = |lease: &Lease| lease.spec.as_ref().is_some_and(|now| now.renew_time > spec.renew_time);
    lease(env, "the lease to be renewed", renewed).await?;
    Ok(())
}

pub(crate) async fn another_address_reaches_the_node_and_its_pods(env: &mut Env) -> Result<()> {
    let addresses_are = |wanted: &'static [&'static str]| {
        move |node: &Node| {
            let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref()).into_iter().flatten();
            let internal = addresses.filter(|address| address.type_ == "InternalIP").map(|address| &address.address);
            internal.eq(wanted)
        }
    };
    let host_is = |wanted: &'static [&'static str]| {
        move |seen: &Seen<Pod>| {
            seen.values().filter_map(|pod| pod.status.as_ref()).all(|status| {
                let ips = status.host_ips.iter().flatten().map(|host| &host.ip);
                ips.eq(wanted) && status.host_ip.as_deref() == wanted.first().copied()
            })
        }
    };
    env.start(Setup::default().flag("--address").flag("192.0.2.7")).await?;
    let uids: Vec<String> = env.running("some", 3).await?.into_keys().collect();
    env.node_until("to have its address", addresses_are(&["192.0.2.7"])).await?;
    env.pods_until("group=some", "the pods to have its address", host_is(&["192.0.2.7"])).await?;
    for (flag, wanted) in
        [("2001:db8::8,192.0.2.8", &["2001:db8::8", "192.0.2.8"] as &[_]), ("192.0.2.9", &["192.0.2.9"])]
    {
        env.sigterm().await?;
        env.start(Setup::default().flag("--address").flag(flag)).await?;
        env.node_until("to have another address", addresses_are(wanted)).await?;
        let pods = env.pods_until("group=some", "the pods to have another host address", host_is(wanted)).await?;
        ensure!(pods.keys().eq(uids.iter()), "other pods than before");
        for pod in pods.values() {
            let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let restarted = containers.into_iter().flatten().any(|container| container.restart_count > 0);
            ensure!(!restarted && phase(pod) == "Running", "{:?}", pod.status);
        }
    }
    env.ready("some", 3).await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_provider_out_of_reach_for_long_makes_the_node_not_ready_until_it_is_back(
    env: &mut Env,
) -> Result<()> {
    env.start(Setup::default().flag("--not-ready-after").flag("3s")).await?;
    let uids: Vec<String> = env.running("some", 3).await?.into_keys().collect();
    env.backend.stop().await;
    let is =
        |status: &'static str| move |node: &Node| condition(node, "Ready").is_some_and(|ready| ready.status == status);
    let began = Instant::now();
    let node = env.node_until("to be NotReady", is("False")).await?;
    ensure!(began.elapsed() >= Duration::from_secs(3), "NotReady after {:?}", began.elapsed());
    let reason = condition(&node, "Ready").and_then(|ready| ready.reason.clone());
    ensure!(reason.as_deref() == Some("ProviderUnreachable"), "{reason:?}");
    env.backend.restart().await?;
    env.node_until("to be Ready again", is("True")).await?;
    env.ready("some", 3).await?;
    env.made_once_and_left_alone(uids)
}

pub(crate) async fn a_node_is_not_made_before_the_provider_can_describe_it(env: &mut Env) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(env.client.clone(), "kube-node-lease");
    env.backend.stop().await;
    env.launch(Setup::default())?;
    env.line(0, &["WARN", &env.node, "as soon as the provider has described it"]).await?;
    ensure!(env.nodes().get_opt(&env.node).await?.is_none(), "a node without a size was made");
    lease(env, "the lease to be held", |lease| lease.owner_references().is_empty()).await?;
    // Of a node that never was, nothing is left.
    ensure!(env.sigterm().await?.code() == Some(0), "the host did not end well");
    ensure!(leases.get_opt(&env.node).await?.is_none(), "a lease without a node was left");

    env.launch(Setup::default())?;
    env.backend.restart().await?;
    env.registered().await?;
    let node = env.get_node().await?.uid();
    let owned = |lease: &Lease| lease.owner_references().iter().any(|owner| Some(&owner.uid) == node.as_ref());
    lease(env, "the lease to belong to the node", owned).await?;
    Ok(())
}

pub(crate) async fn a_node_of_a_real_kubelet_is_refused(env: &mut Env) -> Result<()> {
    let real = serde_json::from_value(json!({
        "metadata": {"name": env.node},
        "status": {"nodeInfo": {
            "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.1",
            "kubeProxyVersion": "", "kubeletVersion": "v1.36.4", "machineID": "", "operatingSystem": "linux",
            "osImage": "", "systemUUID": "",
        }},
    }))?;
    env.nodes().create(&PostParams::default(), &real).await?;
    env.prepare(Setup::default())?;
    let ended = env.bench.run_command(env.command()).await?;
    ensure!(ended.code == Some(1), "exit code {:?}: {}", ended.code, ended.errors);
    let error = ended.error()?;
    for part in [&env.node, "real kubelet", "v1.36.4", "--nodename"] {
        ensure!(error.contains(part), "{part} is not in: {error}");
    }
    let node = env.get_node().await?;
    ensure!(!has_taint(&node, "virtual-kubelet.io/provider"), "the node of the real kubelet was changed");
    let leases: Api<Lease> = Api::namespaced(env.client.clone(), "kube-node-lease");
    ensure!(leases.get_opt(&env.node).await?.is_none(), "the lease of the real kubelet was written");
    Ok(())
}

pub(crate) async fn the_taint_is_as_the_flags_say(env: &mut Env) -> Result<()> {
    env.start(Setup::default().flag("--taint").flag("dedicated=burst:PreferNoSchedule")).await?;
    let node = env.get_node().await?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let own = taints.iter().find(|taint| taint.key == "dedicated").context("the taint is missing")?;
    ensure!((own.value.as_deref(), own.effect.as_str()) == (Some("burst"), "PreferNoSchedule"), "{own:?}");
    ensure!(taints.iter().all(|taint| taint.key != "virtual-kubelet.io/provider"), "{taints:?}");

    env.sigterm().await?;
    env.kubectl(&["delete", "node", &env.node]).await?;
    env.start(Setup::default().flag("--disable-taint")).await?;
    let node = env.get_node().await?;
    ensure!(!has_taint(&node, "virtual-kubelet.io/provider") && !has_taint(&node, "dedicated"), "{:?}", node.spec);
    Ok(())
}

pub(crate) async fn one_namespace_is_served_and_others_are_left_alone(env: &mut Env) -> Result<()> {
    let elsewhere = format!("{}-elsewhere", env.namespace);
    env.make_namespace(&elsewhere).await?;
    let others: Api<Pod> = Api::namespaced(env.client.clone(), &elsewhere);
    // While all namespaces are served, each gets a pod.
    env.start(Setup::default()).await?;
    let early = others.create(&PostParams::default(), &env.pod("early").build()?).await?;
    env.create(env.pod("orphan")).await?;
    let orphan = uid(&env.pod_ready("orphan").await?);
    env.backend_until("the other pod", |backend| backend.pod(&uid(&early)).map(drop).ok_or("not there".to_owned()))
        .await?;
    env.sigterm().await?;
    env.kubectl(&["delete", "pod", "orphan", "--force", "--grace-period=0"]).await?;

    env.start(Setup::default().flag("--namespace").flag(&env.namespace)).await?;
    let other = others.create(&PostParams::default(), &env.pod("foreign").build()?).await?;
    let uids: Vec<String> = env.running("own", 3).await?.into_keys().collect();
    env.made_once_and_left_alone(uids)?;
    // Of what the backend has, only the namespace's own pods can be orphans.
    env.backend_without(&[orphan]).await?;
    env.made_once_and_left_alone([uid(&early)])?;
    ensure!(env.backend.pod(&uid(&other)).is_none(), "a pod of another namespace was made");
    let other = others.get("foreign").await?;
    let untouched = other.status.as_ref().is_none_or(|status| status.container_statuses.is_none());
    ensure!(untouched && !is_ready(&other), "the status of a pod of another namespace was written");
    Ok(())
}
