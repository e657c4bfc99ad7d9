//! What changes in the cluster reaches the provider, and what does not concern it does not.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::json;
use vk_e2e::{Env, PATIENCE, Setup, eventually, is_ready, uid};

use crate::references;

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

pub(crate) async fn a_provider_that_refuses_all_changes_leaves_the_pod_running(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.kubectl(&["create", "configmap", "page", "--from-literal=title=one"]).await?;
    let sized = json!({"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}});
    let pod = env.pod("fixed").container(sized).mounts("page", json!({"configMap": {"name": "page"}}));
    env.create(pod.asks("reject-update", "unsupported").asks("reject-message", "this cannot be changed")).await?;
    let pod = env.pod_ready("fixed").await?;
    let fixed = uid(&pod);
    ensure!(cpu(&pod).as_deref() == Some("100m"), "the status says that it has {:?}", cpu(&pod));

    let refusals = async |count: i32| {
        let what = format!("{count} refusals to be told");
        eventually(&what, PATIENCE, async || {
            let told = env.event("fixed", "ProviderUpdateFailed").await.map_err(|error| error.to_string())?;
            if told.count >= Some(count) { Ok(()) } else { Err(format!("{:?}", told.count)) }
        })
        .await
    };
    env.kubectl(&["patch", "configmap", "page", "-p", r#"{"data": {"title": "two"}}"#]).await?;
    refusals(1).await?;
    env.kubectl(&["label", "pod", "fixed", "tier=front"]).await?;
    refusals(2).await?;
    env.kubectl(&["debug", "fixed", "--image=registry.example.com/tools:1", "--container=tools", "--profile=general"])
        .await?;
    refusals(3).await?;
    let resize =
        |cpu: &str| json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}});
    env.kubectl(&["patch", "pod", "fixed", "--subresource=resize", "-p", &resize("200m").to_string()]).await?;
    let pod = env.pod_until("fixed", "to say that it cannot be resized", is_resize_refused).await?;
    let message = pending(&pod).and_then(|condition| condition.message.clone()).unwrap_or_default();
    ensure!(message.contains("this cannot be changed"), "{message}");
    ensure!(cpu(&pod).as_deref() == Some("100m"), "the status says that it has {:?}", cpu(&pod));

    let token = json!({"path": "token", "audience": "vault", "expirationSeconds": 3600});
    let bearer = env
        .pod("bearer")
        .asks("reject-update", "unsupported")
        .mounts("all", json!({"projected": {"sources": [{"serviceAccountToken": token}]}}));
    env.create(bearer).await?;
    let bearer = uid(&env.pod_ready("bearer").await?);
    let token = |env: &Env| Some(env.backend.pod(&bearer)?.file("all", "token")?.to_vec());
    let given = token(env).context("the backend has no token")?;

    env.kill9().await?;
    references::let_token_come_of_age(env, "bearer").await?;
    env.start_again().await?;
    // Its renewal is a change too.
    env.event("bearer", "ProviderUpdateFailed").await?;
    env.create(env.pod("newcomer")).await?;
    env.pod_ready("newcomer").await?;
    let pod = env.pods().get("fixed").await?;
    ensure!(is_ready(&pod) && is_resize_refused(&pod), "it is not as it was: {:?}", pod.status);
    ensure!(cpu(&pod).as_deref() == Some("100m"), "the status says that it has {:?}", cpu(&pod));
    ensure!(never_restarted(&pod), "a container was restarted: {:?}", pod.status);
    let pod = env.pods().get("bearer").await?;
    ensure!(is_ready(&pod) && never_restarted(&pod), "it is not as it was: {:?}", pod.status);
    ensure!(token(env) == Some(given), "the refused token was taken");
    env.made_once_and_left_alone([fixed.clone(), bearer.clone()])?;

    // Taken back, it is no news any more; although the rest is still refused.
    env.kubectl(&["patch", "pod", "fixed", "--subresource=resize", "-p", &resize("100m").to_string()]).await?;
    env.pod_until("fixed", "to have what it asks for", |pod| pending(pod).is_none()).await?;
    env.kubectl(&["patch", "pod", "fixed", "--subresource=resize", "-p", &resize("300m").to_string()]).await?;
    env.pod_until("fixed", "to say again that it cannot be resized", is_resize_refused).await?;
    env.made_once_and_left_alone([fixed.clone()])?;

    // With the refusal goes the obstacle, and all that was asked for comes at once.
    env.kubectl(&["annotate", "pod", "fixed", "mock.vk-host.dev/reject-update-"]).await?;
    let resized = |pod: &Pod| pending(pod).is_none() && cpu(pod).as_deref() == Some("300m");
    env.pod_until("fixed", "to be resized", resized).await?;
    let pod = env.backend.pod(&fixed).context("the backend has no such pod")?;
    let spec = pod.manifest.pointer("/spec").cloned().unwrap_or_default();
    ensure!(spec["containers"][0]["resources"]["requests"]["cpu"] == "300m", "{spec}");
    ensure!(spec["ephemeralContainers"][0]["name"] == "tools", "{spec}");
    ensure!(pod.file("page", "title") == Some(b"two"), "{:?}", pod.volumes);
    let count = env.backend.count(&fixed);
    ensure!((count.made, count.creates, count.updates, count.deletes) == (1, 1, 1, 0), "{count:?}");
    Ok(())
}

fn never_restarted(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    !containers.is_empty() && containers.iter().all(|container| container.restart_count == 0)
}

fn pending(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodResizePending")
}

fn is_resize_refused(pod: &Pod) -> bool {
    pending(pod)
        .is_some_and(|condition| condition.status == "True" && condition.reason.as_deref() == Some("Infeasible"))
}

/// What the container has by the pod's status.
fn cpu(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(container.resources.as_ref()?.requests.as_ref()?.get("cpu")?.0.clone())
}
