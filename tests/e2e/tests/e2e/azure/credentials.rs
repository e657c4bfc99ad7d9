//! Ways for the provider to be found, and to find out who it is.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_azure::{Effect, Fault, Refusal, Route};
use vk_e2e::{AzureSetup, Env};

async fn runs_a_pod(env: &Env) -> Result<()> {
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await.map(drop)
}

pub(crate) async fn the_bundled_provider_is_found_by_the_name_azure(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().bundled()).await?;
    runs_a_pod(env).await?;
    let taint = env.get_node().await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
    ensure!(taint.iter().any(|taint| taint.key == "virtual-kubelet.io/provider"), "{taint:?}");
    ensure!(azure.groups().len() == 1, "{} groups", azure.groups().len());
    Ok(())
}

pub(crate) async fn credentials_may_be_in_variables(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default().with_variables()).await?;
    runs_a_pod(env).await
}

pub(crate) async fn a_managed_identity_needs_no_secret(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().with_managed_identity()).await?;
    runs_a_pod(env).await?;
    ensure!(azure.count(Route::Token) == 0 && azure.count(Route::Metadata) > 0, "{:?}", azure.simulator.counts());
    let asked = azure.simulator.requests().into_iter().find(|request| request.route == Route::Metadata);
    let asked = asked.context("nothing was asked")?;
    let identity = azure.simulator.options().identities.first().cloned().unwrap_or_default();
    ensure!(asked.query.contains(&identity), "{}", asked.query);
    Ok(())
}

pub(crate) async fn the_older_token_endpoint_serves_as_well(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default().setting("TokenVersion = \"v1\"")).await?;
    runs_a_pod(env).await?;
    let paths: Vec<_> =
        azure.simulator.requests().into_iter().filter(|request| request.route == Route::Token).collect();
    ensure!(!paths.is_empty() && paths.iter().all(|request| request.path.ends_with("/oauth2/token")), "{paths:?}");
    Ok(())
}

pub(crate) async fn variables_win_over_the_file(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default()
        .azure(|options| options.resource_groups.push("other-rg".to_owned()))
        .variable("ACI_RESOURCE_GROUP", "other-rg")
        .variable("ACI_REGION", "northeurope")
        .variable("ACI_QUOTA_POD", "77");
    let azure = env.start_azure(setup).await?;
    runs_a_pod(env).await?;
    let groups = azure.simulator.groups();
    let group = groups.first().context("there is no group")?;
    ensure!(group.resource_group == "other-rg" && group.body["location"] == "northeurope", "{group:?}");
    let capacity = env.kubectl(&["get", "node", &env.node, "-o", "jsonpath={.status.capacity.pods}"]).await?;
    ensure!(capacity == "77", "{capacity}");
    Ok(())
}

pub(crate) async fn tokens_are_renewed_before_they_end(env: &mut Env) -> Result<()> {
    let lifetime = |options: &mut vk_azure::Options| options.token_lifetime = std::time::Duration::from_secs(4);
    let azure = env.start_azure(AzureSetup::default().azure(lifetime)).await?;
    runs_a_pod(env).await?;
    let tokens = azure.count(Route::Token);
    azure
        .until("three more tokens", |azure| match azure.count(Route::Token) {
            enough if enough >= tokens + 3 => Ok(()),
            few => Err(few.to_string()),
        })
        .await?;
    let refused = azure.simulator.requests().into_iter().filter(|request| request.status == Some(401)).count();
    ensure!(refused == 0, "{refused} requests had a token that had ended");
    Ok(())
}

pub(crate) async fn a_wrong_secret_is_told_on_the_node_and_in_the_log_but_not_itself(env: &mut Env) -> Result<()> {
    let azure = env.prepare_azure(AzureSetup::default()).await?;
    let refusal = json!({
        "error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.",
    });
    let refusal = Refusal { code: 401, body: Some(refusal.to_string()), ..Refusal::default() };
    azure.simulator.fault(Fault::new(Effect::Status(refusal)).on(Route::Token));
    env.launch_again()?;
    env.line(0, &["AADSTS7000215"]).await?;
    azure.simulator.clear_faults();
    env.registered().await?;
    runs_a_pod(env).await
}
