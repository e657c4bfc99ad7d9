//! Other ways to run the mock: by its name, and without a backend.

use anyhow::{Result, ensure};
use vk_e2e::{Env, Setup, phase};

pub(crate) async fn a_bundled_provider_is_found_by_its_name(env: &mut Env) -> Result<()> {
    let folder = env.bench.path("providers");
    std::fs::create_dir(&folder)?;
    std::fs::copy(env.bench.mock(), folder.join("mock.wasm"))?;
    // The file that it comes with grants what it needs.
    let url = env.backend.url();
    let bundled = format!("pods = 77\npoll-after = \"250ms\"\nbackend = \"{url}\"\n[sandbox]\nnet = [\"{url}\"]\n");
    std::fs::write(folder.join("mock.toml"), bundled)?;
    let setup = Setup::default().provider(&["--provider", "mock"]);
    env.start(setup.variable("VK_HOST_PROVIDERS", folder.display().to_string())).await?;
    let uids: Vec<String> = env.running("some", 3).await?.into_keys().collect();
    env.made_once_and_left_alone(uids)?;
    let capacity = env.kubectl(&["get", "node", &env.node, "-o", "jsonpath={.status.capacity.pods}"]).await?;
    ensure!(capacity == "77", "the bundled file was not read: {capacity}");
    Ok(())
}

pub(crate) async fn alone_the_mock_keeps_its_pods_by_itself(env: &mut Env) -> Result<()> {
    env.start(Setup::default().without_backend()).await?;
    env.running("some", 5).await?;
    env.create(env.pod("short").asks("run-for", "1s").spec(serde_json::json!({"restartPolicy": "Never"}))).await?;
    env.pod_until("short", "to have succeeded", |pod| phase(pod) == "Succeeded").await?;
    env.kubectl(&["delete", "pods", "--all", "--timeout=30s"]).await?;
    ensure!(env.backend.counts().requests.is_empty(), "it has used the backend");
    Ok(())
}
