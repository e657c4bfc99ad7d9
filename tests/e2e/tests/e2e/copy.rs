//! `kubectl cp`, which is `tar` at the other end of an exec.

use anyhow::{Context as _, Result, ensure};
use vk_e2e::{Env, Kubectl, Setup, noise};

pub(crate) async fn every_client_copies_a_file_there_and_back(env: &mut Env) -> Result<()> {
    there_and_back(env).await
}

pub(crate) async fn every_client_copies_through_an_api_server_that_translates(env: &mut Env) -> Result<()> {
    there_and_back(env).await
}

async fn there_and_back(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let noise = noise(2, 3 << 20);
    let file = env.bench.write("noise", &noise)?.display().to_string();
    for (number, kubectl) in Kubectl::all().await?.iter().enumerate() {
        let there = format!("web:/tmp/noise-{number}");
        let back = env.bench.path(&format!("back-{number}"));
        env.run(kubectl, &["cp", &file, &there]).await?.success().with_context(|| kubectl.name.clone())?;
        env.run(kubectl, &["cp", &there, &back.display().to_string()]).await?.success()?;
        let back = std::fs::read(back).with_context(|| format!("{} copied nothing", kubectl.name))?;
        ensure!(back == noise, "{}: {} bytes came back, not the same {}", kubectl.name, back.len(), noise.len());
    }
    Ok(())
}
