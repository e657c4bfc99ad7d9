//! Which groups are whose: after restarts, beside orphans, among those of others.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use vk_azure::{Effect, Fault, Route};
use vk_e2e::{Azure, AzureSetup, Env, Seen, uid};

/// Checks that every pod has one group, made by one `PUT` that was answered well.
fn made_once(azure: &Azure, pods: &Seen<Pod>) -> Result<()> {
    for pod in pods.values() {
        let name = azure.name_of(pod)?;
        let made = azure
            .simulator
            .requests()
            .into_iter()
            .filter(|request| request.route == Route::Put && request.group.as_deref() == Some(name.as_str()));
        let made = made.count();
        ensure!(made == 1, "{name} was put {made} times");
    }
    Ok(())
}

pub(crate) async fn a_restarted_host_adopts_all_and_makes_nothing_twice(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.running("some", 12).await?;
    env.sigterm().await?;
    let (puts, deletes) = (azure.count(Route::Put), azure.count(Route::Delete));
    env.start_again().await?;
    env.kill9().await?;
    env.start_again().await?;
    let pods = env.ready("some", 12).await?;
    made_once(&azure, &pods)?;
    env.create(env.pod("new")).await?;
    env.pod_ready("new").await?;
    ensure!(azure.count(Route::Put) == puts + 1, "{} puts, not {}", azure.count(Route::Put), puts + 1);
    ensure!(azure.count(Route::Delete) == deletes, "something was deleted");
    Ok(())
}

pub(crate) async fn a_kill_amid_creations_makes_no_group_twice_and_loses_none(env: &mut Env) -> Result<()> {
    let slow = |options: &mut vk_azure::Options| options.delays.put = std::time::Duration::from_millis(500);
    let azure = env.start_azure(AzureSetup::default().azure(slow)).await?;
    let pods = (0..20).map(|number| env.pod(&format!("some-{number}")).label("group", "some"));
    env.create_all(pods, 20).await?;
    azure
        .until("some groups", |azure| match azure.groups().len() {
            2.. => Ok(()),
            few => Err(few.to_string()),
        })
        .await?;
    env.kill9().await?;
    env.start_again().await?;
    let pods = env.ready("some", 20).await?;
    for pod in pods.values() {
        azure.group_of(pod)?;
    }
    ensure!(azure.groups().len() == 20, "{} groups", azure.groups().len());
    Ok(())
}

pub(crate) async fn groups_without_a_pod_are_removed_and_those_of_others_never_touched(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let pods = env.running("some", 3).await?;
    let tags = azure.group_of(pods.values().next().unwrap_or(&Pod::default()))?["tags"].clone();
    // Of another node, of another cluster's node of the same name, of a person, with odd tags, with none.
    let with = |key: &str, value: &str| {
        let mut tags = tags.clone();
        tags[key] = json!(value);
        tags
    };
    let classic = json!({"PodName": "some-0", "Namespace": env.namespace, "NodeName": env.node, "UID": "0001"});
    let theirs = [
        ("other-node", with("vk-host.dev-owner", "someoneelse")),
        ("classic", classic),
        ("by-hand", json!({"purpose": "by hand"})),
        ("odd-time", json!({"NodeName": env.node, "CreationTimestamp": "yesterday", "PodName": "odd"})),
        ("untagged", json!({})),
    ];
    for (name, tags) in &theirs {
        azure.put_by_hand(name, tags.clone()).await?;
    }
    azure.simulator.edit_group("untagged", json!({"tags": null, "properties": {"ipAddress": null}}));
    env.sigterm().await?;
    // It goes while nobody looks.
    env.kubectl(&["delete", "pod", "some-0", "--force", "--grace-period=0"]).await?;
    env.start_again().await?;
    azure.groups_until(theirs.len() + 2).await?;
    env.kubectl(&["delete", "pod", "some-1", "--timeout=60s"]).await?;
    azure.groups_until(theirs.len() + 1).await?;
    Ok(())
}

pub(crate) async fn a_pod_that_comes_back_under_its_name_gets_a_group_of_its_own(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("again")).await?;
    let first = env.pod_ready("again").await?;
    // The service is slow to let go of it.
    azure.simulator.fault(Fault::new(Effect::Slow(3_000)).on(Route::Delete).times(1));
    env.kubectl(&["delete", "pod", "again", "--force", "--grace-period=0"]).await?;
    env.create(env.pod("again")).await?;
    let second =
        env.pod_until("again", "to be another one, Ready", |pod| vk_e2e::is_ready(pod) && uid(pod) != uid(&first));
    let second = second.await?;
    azure.groups_until(1).await?;
    azure.group_of(&second).map(drop)
}

pub(crate) async fn a_replaced_provider_goes_on_with_the_same_groups(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.running("some", 5).await?;
    let puts = azure.count(Route::Put);
    // Another capacity is a new configuration: the shared cache starts empty.
    let file = env.bench.path("aci.toml");
    let text = std::fs::read_to_string(file)?.replace("Pods = \"2000\"", "Pods = \"1999\"");
    env.replace("aci.toml", text)?;
    env.node_until("to have the new capacity", |node| {
        let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
        capacity.and_then(|capacity| capacity.get("pods")).is_some_and(|pods| pods.0 == "1999")
    })
    .await?;
    let pods = env.ready("some", 5).await?;
    env.create(env.pod("new")).await?;
    env.pod_ready("new").await?;
    made_once(&azure, &pods)?;
    ensure!(azure.count(Route::Put) == puts + 1 && azure.count(Route::Delete) == 0, "{} puts", azure.count(Route::Put));
    Ok(())
}
