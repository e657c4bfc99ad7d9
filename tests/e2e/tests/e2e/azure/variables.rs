//! What a container is given: variables, cores, memory and GPUs, images from registries that ask for a login; and who
//! gets to know what it writes.

use anyhow::{Result, ensure};
use serde_json::json;
use vk_azure::Registry;
use vk_e2e::{AzureSetup, Env, hidden};

use super::{main_container, once, printed, properties};

pub(crate) async fn variables_are_set_and_those_of_secrets_are_secure(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let value = hidden("variable");
    env.kubectl(&["create", "configmap", "settings", "--from-literal=COLOUR=blue"]).await?;
    env.apply(&format!("{{apiVersion: v1, kind: Secret, metadata: {{name: door}}, stringData: {{key: {value}}}}}"))
        .await?;
    let variables = json!([
        {"name": "PLAIN", "value": "as it is"},
        {"name": "EMPTY", "value": ""},
        {"name": "OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "door", "key": "key"}}},
        {"name": "GREETING", "value": "hello $(OF_POD)"},
    ]);
    let script = r#"echo "$PLAIN|${EMPTY-unset}|$OF_POD|$GREETING|$COLOUR"; printf %s "$KEY" | wc -c"#;
    let pod = once(env, "varied", script).container(json!({
        "env": variables, "envFrom": [{"configMapRef": {"name": "settings"}}],
    }));
    let printed = printed(env, pod).await?;
    ensure!(printed == format!("as it is||varied|hello varied|blue\n{}\n", value.len()), "{printed}");
    let group = azure.group_of(&env.pods().get("varied").await?)?;
    let variables = main_container(&group)["environmentVariables"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| variables.iter().find(|variable| variable["name"] == name).cloned().unwrap_or_default();
    ensure!(of("PLAIN")["value"] == "as it is", "{variables:?}");
    // The service shows that there is one, and not what it is.
    ensure!(of("KEY") == json!({"name": "KEY"}), "{variables:?}");
    Ok(())
}

pub(crate) async fn requests_and_limits_are_cores_and_gigabytes(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default().setting("GPUSKUs = []");
    let azure = env.start_azure(setup).await?;
    for (name, resources, wanted) in [
        ("nothing", json!({}), json!({"requests": {"cpu": 1.0, "memoryInGB": 1.5}})),
        (
            "requests",
            json!({"requests": {"cpu": "1981m", "memory": "3.49G"}}),
            json!({"requests": {"cpu": 1.98, "memoryInGB": 3.4}}),
        ),
        (
            "both",
            json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}),
            json!({"requests": {"cpu": 0.5, "memoryInGB": 1.0}, "limits": {"cpu": 0.5, "memoryInGB": 1.0}}),
        ),
    ] {
        env.create(env.pod(name).container(json!({"resources": resources}))).await?;
        let group = azure.group_of(&env.pod_ready(name).await?)?;
        ensure!(main_container(&group)["resources"] == wanted, "{name}: {}", main_container(&group)["resources"]);
    }
    // Azure has no more than what all containers request together, and says so.
    let limits = json!({"requests": {"cpu": "500m", "memory": "1G"}, "limits": {"cpu": "2", "memory": "4G"}});
    env.create(env.pod("cut").container(json!({"resources": limits}))).await?;
    env.pod_ready("cut").await?;
    let event = env.event("cut", "LimitsClamped").await?;
    ensure!(event.message.as_deref().is_some_and(|message| message.contains("cpu 2 is 0.5")), "{event:?}");
    Ok(())
}

pub(crate) async fn gpus_are_of_the_sku_that_the_pod_names(env: &mut Env) -> Result<()> {
    let gpus = |options: &mut vk_azure::Options| {
        options.limits = vk_azure::Limits { cpu: 24.0, memory: 448.0, ..options.limits }
    };
    let setup = AzureSetup::default().azure(gpus).setting("GPUSKUs = [\"V100\"]").variable("ACI_QUOTA_GPU", "8");
    let azure = env.start_azure(setup).await?;
    let capacity = r"jsonpath={.status.capacity.nvidia\.com/gpu}";
    let capacity = env.kubectl(&["get", "node", &env.node, "-o", capacity]).await?;
    ensure!(capacity == "8", "the node has {capacity:?} GPUs");
    let with_gpu = |name: &str, sku: &str| {
        let pod = env.pod(name).container(json!({"resources": {"limits": {"nvidia.com/gpu": "2"}}}));
        pod.annotation("virtual-kubelet.io/gpu-type", sku)
    };
    env.create(with_gpu("fast", "v100")).await?;
    let group = azure.group_of(&env.pod_ready("fast").await?)?;
    let gpu = json!({"count": 2, "sku": "V100"});
    let resources = &main_container(&group)["resources"];
    ensure!(resources["requests"]["gpu"] == gpu && resources["limits"]["gpu"] == gpu, "{resources}");
    env.create(with_gpu("other", "H9000")).await?;
    super::described(env, "other", "ACI only supports SKUs").await?;
    Ok(())
}

pub(crate) async fn image_pull_secrets_open_private_registries(env: &mut Env) -> Result<()> {
    let registry = Registry {
        server: "private.example.com".to_owned(),
        username: "puller".to_owned(),
        password: hidden("registry password"),
    };
    let password = registry.password.clone();
    let azure = env.start_azure(AzureSetup::default().azure(|options| options.registries.push(registry))).await?;
    let server = "--docker-server=private.example.com";
    let password = format!("--docker-password={password}");
    let secret = ["create", "secret", "docker-registry", "pull", server, "--docker-username=puller", &password];
    env.kubectl(&secret).await?;
    let private = json!({"image": "private.example.com/team/app:1"});
    env.create(env.pod("known").container(private.clone()).spec(json!({"imagePullSecrets": [{"name": "pull"}]})))
        .await?;
    let group = azure.group_of(&env.pod_ready("known").await?)?;
    let credentials = &properties(&group)["imageRegistryCredentials"];
    ensure!(*credentials == json!([{"server": "private.example.com", "username": "puller"}]), "{credentials}");

    env.create(env.pod("unknown").container(private)).await?;
    let described = super::described(env, "unknown", "Failed").await?;
    ensure!(described.contains("private.example.com/team/app:1"), "{described}");
    ensure!(!vk_e2e::is_ready(&env.pods().get("unknown").await?), "it runs without a login");
    Ok(())
}

pub(crate) async fn log_analytics_are_told_where_to_and_which_pod(env: &mut Env) -> Result<()> {
    let key = hidden("workspace key");
    let cluster = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c";
    let file = json!({"workspaceID": "9d1c8a5c-0001", "workspaceKey": key}).to_string();
    let setup =
        AzureSetup::default().file("LOG_ANALYTICS_AUTH_LOCATION", file).variable("CLUSTER_RESOURCE_ID", cluster);
    let azure = env.start_azure(setup).await?;
    env.create(env.pod("watched")).await?;
    let pod = env.pod_ready("watched").await?;
    let group = azure.group_of(&pod)?;
    let analytics = &properties(&group)["diagnostics"]["logAnalytics"];
    ensure!(analytics["workspaceId"] == "9d1c8a5c-0001" && analytics["logType"] == "ContainerInsights", "{analytics}");
    let metadata = json!({"cluster-resource-id": cluster, "node-name": env.node, "pod-uuid": vk_e2e::uid(&pod)});
    ensure!(analytics["metadata"] == metadata, "{analytics}");
    Ok(())
}
