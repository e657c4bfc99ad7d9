//! What changes in the cluster reaches the provider, and what does not concern it does not.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_e2e::{Env, Setup, is_ready, uid};

pub(crate) async fn edits_of_mounted_objects_reach_the_provider(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "page", "--from-literal=title=one"]).await?;
    env.kubectl(&["create", "secret", "generic", "key", "--from-literal=word=one"]).await?;
    let pod = env
        .pod("reader")
        .mounts("page", json!({"configMap": {"name": "page"}}))
        .mounts("key", json!({"secret": {"secretName": "key"}}))
        .mounts(
            "both",
            json!({"projected": {"sources": [{"configMap": {"name": "page"}}, {"secret": {"name": "key"}}]}}),
        );
    env.create(pod).await?;
    let uid = uid(&env.pod_ready("reader").await?);
    let shows = |volume: &'static str, file: &'static str, wanted: &'static str| {
        let uid = uid.clone();
        move |backend: &vk_backend::Backend| {
            let pod = backend.pod(&uid).ok_or("no such pod")?;
            match pod.file(volume, file) {
                Some(data) if data == wanted.as_bytes() => Ok(()),
                other => Err(format!("{volume}/{file} is {:?}", other.map(String::from_utf8_lossy))),
            }
        }
    };
    env.backend_until("the first title", shows("page", "title", "one")).await?;

    env.kubectl(&["patch", "configmap", "page", "-p", r#"{"data": {"title": "two"}}"#]).await?;
    env.backend_until("the ConfigMap's edit", shows("page", "title", "two")).await?;
    env.backend_until("the ConfigMap's edit, projected", shows("both", "title", "two")).await?;
    env.kubectl(&["patch", "secret", "key", "-p", r#"{"stringData": {"word": "two"}}"#]).await?;
    env.backend_until("the Secret's edit", shows("key", "word", "two")).await?;
    env.backend_until("the Secret's edit, projected", shows("both", "word", "two")).await?;

    let pod = env.backend.pod(&uid).context("the backend has no such pod")?;
    ensure!(pod.changed == [["volumes"], ["volumes"]], "each edit is one update of volumes: {:?}", pod.changed);
    let count = env.backend.count(&uid);
    ensure!((count.made, count.creates, count.updates) == (1, 1, 2), "{count:?}");
    Ok(())
}

pub(crate) async fn an_edit_that_only_variables_would_show_causes_no_update(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "page", "--from-literal=title=one"]).await?;
    let variable =
        json!({"env": [{"name": "TITLE", "valueFrom": {"configMapKeyRef": {"name": "page", "key": "title"}}}]});
    env.create(env.pod("fixed").container(variable)).await?;
    env.create(env.pod("reader").mounts("page", json!({"configMap": {"name": "page"}}))).await?;
    let (fixed, reader) = (uid(&env.pod_ready("fixed").await?), uid(&env.pod_ready("reader").await?));

    env.kubectl(&["patch", "configmap", "page", "-p", r#"{"data": {"title": "two"}}"#]).await?;
    env.backend_until("the edit to reach the pod that mounts it", |backend| {
        let pod = backend.pod(&reader).ok_or("no such pod")?;
        if pod.file("page", "title") == Some(b"two") { Ok(()) } else { Err(format!("{:?}", pod.volumes)) }
    })
    .await?;
    // The next call about the pod is the first: were there one for the edit, it would come before.
    env.kubectl(&["annotate", "pod", "fixed", "example.com/seen=yes"]).await?;
    env.backend_until("the annotation", |backend| match backend.count(&fixed).updates {
        0 => Err("no update".to_owned()),
        _ => Ok(()),
    })
    .await?;
    let pod = env.backend.pod(&fixed).context("the backend has no such pod")?;
    ensure!(pod.changed == [["metadata"]], "{:?}", pod.changed);
    ensure!(pod.env("main", "TITLE") == Some("one"), "variables are as at creation: {:?}", pod.env("main", "TITLE"));
    Ok(())
}

pub(crate) async fn changes_of_metadata_reach_the_provider_and_a_refused_one_leaves_the_pod_running(
    env: &mut Env,
) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("plain")).await?;
    env.create(env.pod("stubborn").asks("reject-update", "invalid").asks("reject-message", "not this one")).await?;
    let (plain, stubborn) = (uid(&env.pod_ready("plain").await?), uid(&env.pod_ready("stubborn").await?));

    env.kubectl(&["label", "pods", "plain", "stubborn", "tier=front"]).await?;
    env.backend_until("the label", |backend| {
        let pod = backend.pod(&plain).ok_or("no such pod")?;
        let label = pod.manifest.pointer("/metadata/labels/tier").cloned();
        if label == Some(json!("front")) { Ok(()) } else { Err(pod.manifest.to_string()) }
    })
    .await?;
    env.kubectl(&["set", "image", "pod/plain", "main=registry.example.com/main:2"]).await?;
    env.backend_until("the image", |backend| {
        let pod = backend.pod(&plain).ok_or("no such pod")?;
        let image = pod.manifest.pointer("/spec/containers/0/image").cloned();
        if image == Some(json!("registry.example.com/main:2")) { Ok(()) } else { Err(format!("{image:?}")) }
    })
    .await?;
    let pod = env.backend.pod(&plain).context("the backend has no such pod")?;
    ensure!(pod.changed == [["metadata"], ["spec"]], "{:?}", pod.changed);

    let event = env.event("stubborn", "ProviderUpdateFailed").await?;
    ensure!(event.message.as_deref().is_some_and(|message| message.contains("not this one")), "{:?}", event.message);
    ensure!(is_ready(&env.pods().get("stubborn").await?), "a refused update must leave the pod as it is");
    ensure!(env.backend.count(&stubborn).updates == 0, "the refused update was carried out");
    // The next change is tried, and brings the refused one along.
    env.kubectl(&["annotate", "pod", "stubborn", "mock.vk-host.dev/reject-update-"]).await?;
    env.backend_until("the update that is accepted", |backend| {
        let pod = backend.pod(&stubborn).ok_or("no such pod")?;
        let label = pod.manifest.pointer("/metadata/labels/tier").cloned();
        if label == Some(json!("front")) { Ok(()) } else { Err(pod.manifest.to_string()) }
    })
    .await
}
