//! The component or its configuration is replaced while vk-host runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::{Api, runtime::watcher};
use vk_e2e::{Env, PATIENCE, Setup, eventually, until};

const PODS: usize = 150;
/// What tells that a replacement serves.
const REPLACED: &str = "loaded again";
/// What tells that it does not.
const NOT_REPLACED: &str = "was not replaced";

fn has_room_for(pods: &'static str) -> impl FnMut(&Node) -> bool {
    move |node| {
        let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
        capacity.and_then(|capacity| capacity.get("pods")).is_some_and(|quantity| quantity.0 == pods)
    }
}

/// Another build of the component: the same, with a custom section at its end.
pub(crate) fn another_build(component: &[u8], name: &str) -> Vec<u8> {
    let name = name.as_bytes();
    let length = u8::try_from(name.len()).unwrap_or(0).min(100);
    let mut build = component.to_vec();
    build.extend([0, length + 1, length]);
    build.extend(name);
    build
}

pub(crate) async fn replaced(env: &Env, times: usize) -> Result<()> {
    eventually(&format!("replacement {times}"), PATIENCE, async || {
        let log = env.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("replace") || line.contains(REPLACED)).collect();
        match lines.iter().filter(|line| line.contains(REPLACED)).count() {
            count if count >= times => Ok(()),
            _ => Err(lines.join("\n")),
        }
    })
    .await
}

/// Waits for an event of the node.
async fn node_event(env: &Env, reason: &str, told: &str) -> Result<()> {
    let events: Api<Event> = Api::namespaced(env.client.clone(), "default");
    let selection = watcher::Config::default().fields(&format!("involvedObject.name={},reason={reason}", env.node));
    let tells = |event: &Event| event.message.as_ref().is_some_and(|message| message.contains(told));
    let what = format!("an event {reason} of the node with {told}");
    until(events, selection, &what, PATIENCE, |seen| seen.values().any(tells)).await.map(drop)
}

pub(crate) async fn a_provider_replaced_under_load_loses_and_doubles_no_pod(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let component = std::fs::read(env.component())?;
    let env = &*env;
    let creating = async {
        // A steady stream that outlasts the replacements: a few pods at a time, each awaited.
        let pods = stream::iter((0..PODS).map(|number| format!("load-{number}")));
        pods.map(|name| async move {
            env.create(env.pod(&name).label("group", "load")).await?;
            env.pod_ready(&name).await
        })
        .buffer_unordered(4)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
    };
    let replacing = async {
        env.replace("mock.wasm", another_build(&component, "second"))?;
        replaced(env, 1).await?;
        env.replace("mock.wasm", another_build(&component, "third"))?;
        replaced(env, 2).await?;
        // In place, as a careless operator does.
        let setup = Setup::default().pods(3_456);
        env.configure(&setup)?;
        replaced(env, 3).await
    };
    futures::try_join!(creating, replacing)?;

    node_event(env, "ProviderReplaced", "provider mock").await?;
    env.node_until("to be as the new configuration says", has_room_for("3456")).await?;
    let ready = env.ready("load", PODS).await?;
    env.made_once_and_left_alone(ready.keys().cloned())?;
    ensure!(env.backend.pods().len() == PODS, "{} pods in the backend", env.backend.pods().len());
    // The new one takes care of the pods that the old one made.
    env.kubectl(&["delete", "pods", "-l", "group=load", "--wait=false"]).await?;
    env.pods_gone("group=load").await?;
    env.backend_without(&ready.into_keys().collect::<Vec<_>>()).await
}

pub(crate) async fn a_broken_replacement_leaves_the_old_provider_serving(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("first")).await?;
    env.pod_ready("first").await?;
    let component = std::fs::read(env.component())?;
    let configuration = std::fs::read_to_string(env.bench.path("mock.toml"))?;
    let truncated = component.get(..component.len() / 2).context("the component is empty")?.to_vec();
    let ungranted = configuration.lines().filter(|line| !line.starts_with("net")).collect::<Vec<_>>().join("\n");
    let grant = format!("sandbox.net does not grant {}", env.backend.url());

    for (number, (file, content, told)) in [
        ("mock.wasm", truncated, "truncated"),
        ("mock.wasm", b"#!/bin/sh\n".to_vec(), "not WebAssembly"),
        ("mock.wasm", b"\0asm\x0d\0\x01\0".to_vec(), "does not export vk:provider/node@0.1.0"),
        ("mock.toml", b"pods = \n".to_vec(), "mock.toml:1:"),
        ("mock.toml", format!("colour = 1\n{configuration}").into_bytes(), "unknown setting `colour`"),
        ("mock.toml", format!("{configuration}\nmemry = 1\n").into_bytes(), "memry"),
        ("mock.toml", ungranted.into_bytes(), grant.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let before = env.log().lines().count();
        env.replace(file, content)?;
        env.line(before, &[NOT_REPLACED, told]).await?;
        node_event(env, "ProviderReplacementFailed", told).await?;
        let name = format!("after-{number}");
        env.create(env.pod(&name)).await?;
        env.pod_ready(&name).await?;
        let before = env.log().lines().count();
        match file {
            "mock.wasm" => env.replace(file, &component)?,
            _ => env.replace(file, &configuration)?,
        }
        env.line(before, &[REPLACED]).await?;
    }
    let metrics = env.metrics().await?;
    ensure!(metrics.contains("replace"), "no metric tells of replacements");
    tokio::time::timeout(Duration::from_secs(5), env.get_node()).await??;
    Ok(())
}
