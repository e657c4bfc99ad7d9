//! `kubectl attach`.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_e2e::{Dialect, Env, Kubectl, PodBuilder, Setup, StreamKind, phase};

use crate::ways::{Way, taking};

/// Kubectl asks for a container that can be attached to.
fn interactive(env: &Env, name: &str) -> PodBuilder {
    env.pod(name).container(json!({"stdin": true}))
}

pub(crate) async fn every_client_sees_what_a_container_writes_and_is_heard(env: &mut Env) -> Result<()> {
    every_client(env, Way::Through).await
}

pub(crate) async fn every_client_is_heard_through_an_api_server_that_translates(env: &mut Env) -> Result<()> {
    every_client(env, Way::Translated).await
}

async fn every_client(env: &mut Env, way: Way) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(interactive(env, "web").asks("log-every", "100ms")).await?;
    env.pod_ready("web").await?;
    for kubectl in Kubectl::all().await? {
        let attached = async {
            let mut running = env.spawn(&kubectl, &["attach", "-i", "web"])?;
            running.line_with("main: line").await?;
            running.say("is anybody there?\n").await?;
            running.line_with("is anybody there?").await?;
            running.kill().await
        };
        taking(env, way, StreamKind::Attach, &kubectl, 1, attached).await.with_context(|| kubectl.name.clone())?;
    }
    env.streams("attach", 0).await
}

pub(crate) async fn it_ends_with_the_container(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    for dialect in [Dialect::WebSocket, Dialect::Spdy] {
        let kubectl = Kubectl::own(dialect);
        let name = format!("short-{dialect:?}").to_lowercase();
        // The lines go on until it is attached to, and the end is not missed.
        let pod = interactive(env, &name).asks("run-for", "8s").asks("log-every", "100ms");
        env.create(pod.spec(json!({"restartPolicy": "Never"}))).await?;
        env.pod_ready(&name).await?;
        let mut running = env.spawn(&kubectl, &["attach", "-i", &name])?;
        running.line_with("main: line").await?;
        let finished = running.ended().await?.success()?;
        ensure!(finished.text().ends_with("main: exited with code 0\n"), "{:?}", finished.text());
        env.pod_until(&name, "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    }
    Ok(())
}
