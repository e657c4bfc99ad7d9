//! What goes wrong with Azure, by families. Whatever it was: once it is over, the API server and Azure agree, no group is
//! doubled, left behind or wrongly deleted, and no secret was told ([`vk_e2e::Azure`] checks that at each test's end).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vk_azure::{Effect, Fault, Options, Refusal, Route};
use vk_e2e::{Azure, AzureSetup, Dialect, Env, Kubectl, is_ready, phase, uid};

/// Pods that are there before, of which half go meanwhile, and pods that come meanwhile.
const PODS: usize = 6;

/// A fault that strikes the request of a route that comes after so many others.
fn nth(route: Route, number: usize, effect: Effect) -> Fault {
    Fault::new(effect).on(route).after(u32::try_from(number).unwrap_or_default()).times(1)
}

/// The same effects for the first requests of these routes, one for each.
fn on_each(routes: &[Route], effects: &[Effect]) -> Vec<Fault> {
    let each =
        |route: Route| effects.iter().enumerate().map(move |(number, effect)| nth(route, number, effect.clone()));
    routes.iter().copied().flat_map(each).collect()
}

/// Lets faults strike while pods come and go, and checks that all is well afterwards.
async fn survives(env: &mut Env, setup: AzureSetup, faults: Vec<Fault>) -> Result<()> {
    let azure = env.start_azure(setup).await?;
    let old = env.running("old", PODS).await?;
    let lists_fail = faults.iter().any(|fault| fault.route == Some(Route::List));
    for fault in faults {
        azure.simulator.fault(fault);
    }
    let new = (0..PODS).map(|number| env.pod(&format!("new-{number}")).label("group", "new"));
    env.create_all(new, PODS).await?;
    let leaving: Vec<String> = (0..PODS / 2).map(|number| format!("old-{number}")).collect();
    let names: Vec<&str> = leaving.iter().map(String::as_str).collect();
    env.kubectl(&[&["delete", "pods", "--wait=false"][..], &names].concat()).await?;
    if lists_fail {
        // Lists are rare, but for the one that a host begins with.
        env.kill9().await?;
        env.start_again().await?;
    }
    azure.struck().await?;
    is_well(env, &azure).await?;
    let stayed = env.ready("old", PODS - PODS / 2).await?;
    ensure!(stayed.keys().all(|uid| old.contains_key(uid)), "a pod that was to stay was made anew");
    let groups: Vec<_> = stayed.values().map(|pod| azure.group_of(pod)).collect::<Result<_>>()?;
    ensure!(groups.iter().all(|group| group["properties"]["instanceView"]["state"] == "Running"), "{groups:?}");
    Ok(())
}

async fn is_well(env: &Env, azure: &Azure) -> Result<()> {
    env.ready("new", PODS).await?;
    env.ready("old", PODS - PODS / 2).await?;
    azure.groups_until(PODS + PODS - PODS / 2).await
}

const ARM: [Route; 4] = [Route::Put, Route::Get, Route::List, Route::Delete];

pub(crate) async fn tokens_that_are_refused_or_not_given(env: &mut Env) -> Result<()> {
    let denied = |code, error: &str| {
        let body = json!({"error": error, "error_description": "AADSTS90002: try again"}).to_string();
        Effect::Status(Refusal { code, body: Some(body), ..Refusal::default() })
    };
    let mut faults = on_each(&ARM, &[Effect::ExpireToken]);
    faults.extend(on_each(
        &[Route::Token],
        &[
            denied(400, "invalid_request"),
            denied(401, "invalid_client"),
            Effect::Status(Refusal::throttled().retry_after(1)),
            Effect::Status(Refusal::empty(500)),
            Effect::Refused,
        ],
    ));
    survives(env, AzureSetup::default(), faults).await
}

pub(crate) async fn tokens_that_are_valid_for_a_second_only(env: &mut Env) -> Result<()> {
    let short = |options: &mut Options| options.token_lifetime = Duration::from_secs(1);
    survives(env, AzureSetup::default().azure(short), Vec::new()).await
}

pub(crate) async fn too_many_requests(env: &mut Env) -> Result<()> {
    let throttled = [
        Effect::Status(Refusal::throttled().retry_after(1)),
        Effect::Status(Refusal::throttled().retry_after("Fri, 31 Dec 2021 23:59:59 GMT")),
    ];
    survives(env, AzureSetup::default(), on_each(&ARM, &throttled)).await
}

pub(crate) async fn servers_that_fail(env: &mut Env) -> Result<()> {
    let failures = [
        Effect::Status(Refusal::empty(500)),
        Effect::Status(Refusal::html(502)),
        Effect::Status(Refusal::html(503)),
        Effect::Status(Refusal::empty(504)),
    ];
    survives(env, AzureSetup::default(), on_each(&[Route::Put, Route::Get, Route::Delete], &failures)).await
}

pub(crate) async fn answers_that_are_lost_after_the_deed(env: &mut Env) -> Result<()> {
    let lost =
        [Effect::LostAnswer, Effect::StatusAfter(Refusal::server_timeout()), Effect::StatusAfter(Refusal::empty(500))];
    survives(env, AzureSetup::default(), on_each(&[Route::Put, Route::Delete], &lost)).await
}

pub(crate) async fn connections_and_bodies_that_break(env: &mut Env) -> Result<()> {
    let broken = [Effect::Refused, Effect::Truncated(40), Effect::Gzip, Effect::Late(1_500)];
    survives(env, AzureSetup::default(), on_each(&ARM, &broken)).await
}

pub(crate) async fn conflicts_that_pass(env: &mut Env) -> Result<()> {
    let transitioning = || Effect::Status(Refusal::transitioning("some-group").retry_after(1));
    let mut faults = on_each(&[Route::Delete], &[transitioning(), transitioning()]);
    let short = |refusal: Refusal| Effect::Status(refusal.retry_after(1));
    faults.extend(on_each(&[Route::Put], &[transitioning(), short(Refusal::registry()), short(Refusal::capacity())]));
    survives(env, AzureSetup::default(), faults).await
}

pub(crate) async fn a_subscription_that_is_not_registered(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default().azure(|options| options.registered = false);
    let azure = env.start_azure(setup).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    ensure!(azure.count(Route::Register) > 0, "nobody has registered it");
    Ok(())
}

pub(crate) async fn rights_that_are_missing_for_a_while(env: &mut Env) -> Result<()> {
    survives(env, AzureSetup::default(), on_each(&ARM, &[Effect::Status(Refusal::forbidden())])).await
}

pub(crate) async fn a_resource_group_that_is_missing_for_a_while_ends_no_pod(env: &mut Env) -> Result<()> {
    let missing = Refusal::error(404, "ResourceGroupNotFound", "Resource group 'vk-rg' could not be found.");
    let missing = [Effect::Status(missing.clone()), Effect::Status(missing)];
    survives(env, AzureSetup::default(), on_each(&[Route::Get, Route::List, Route::Delete], &missing)).await
}

pub(crate) async fn what_azure_refuses_for_good_fails_with_its_words(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let refusal = Refusal::error(400, "OsVersionNotSupported", "The OS version of image 'app' is not supported.");
    azure.simulator.fault(Fault::new(Effect::Status(refusal)).on(Route::Put).times(1));
    env.create(env.pod("wrong").spec(json!({"restartPolicy": "Never"}))).await?;
    let described = super::described(env, "wrong", "OsVersionNotSupported").await?;
    ensure!(described.contains("The OS version of image 'app' is not supported."), "{described}");
    ensure!(azure.count(Route::Put) == 1, "{} PUTs", azure.count(Route::Put));
    let pod = env.pods().get("wrong").await?;
    ensure!(!is_ready(&pod) && phase(&pod) != "Running", "{:?}", pod.status);
    Ok(())
}

pub(crate) async fn lists_whose_pages_fail_or_lag_behind(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default().azure(|options| {
        options.page_size = 3;
        options.quirks.list_after_put = 2_000;
        options.quirks.list_after_delete = 2_000;
        options.quirks.get_after_delete = 2;
    });
    let failing = [Effect::Status(Refusal::empty(500)), Effect::Truncated(30), Effect::Refused];
    survives(env, setup, on_each(&[Route::List], &failing)).await
}

pub(crate) async fn groups_that_linger_or_are_gone_already(env: &mut Env) -> Result<()> {
    let setup = AzureSetup::default().azure(|options| options.delays.delete = Duration::from_secs(2));
    let azure = env.start_azure(setup).await?;
    let pods = env.running("some", 4).await?;
    // One is gone when it is to be deleted, another one is deleted by somebody else meanwhile.
    let names: Vec<String> = pods.values().map(|pod| azure.name_of(pod)).collect::<Result<_>>()?;
    azure.simulator.remove_group(names.first().context("there are none")?);
    azure.simulator.fault(nth(Route::Delete, 0, Effect::LostAnswer));
    env.kubectl(&["delete", "pods", "--all", "--timeout=60s"]).await?;
    azure.groups_until(0).await?;
    let put = azure.count(Route::Put);
    let gone: Vec<String> = pods.values().map(uid).collect();
    ensure!(put == gone.len() || put == gone.len() + 1, "{put} PUTs for {} pods", gone.len());
    Ok(())
}

pub(crate) async fn sessions_that_fail_end_and_say_so(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    for fault in [
        Fault::new(Effect::Status(Refusal::empty(500))).on(Route::Exec).times(1),
        Fault::new(Effect::Status(Refusal::forbidden())).on(Route::Exec).times(1),
        Fault::new(Effect::Refused).on(Route::Stream).times(1),
        Fault::new(Effect::Status(Refusal::empty(404))).on(Route::Stream).times(1),
    ] {
        let what = format!("{fault:?}");
        azure.simulator.fault(fault);
        let finished = env.run(&kubectl, &["exec", "web", "--", "echo", "hello"]).await?;
        ensure!(finished.code != Some(0) && !finished.errors.is_empty(), "{what}: {finished:?}");
        ensure!(finished.output.is_empty(), "{what}: {finished:?}");
    }
    // A container that ends takes its sessions along.
    let session = env.spawn(&kubectl, &["exec", "web", "--", "sh", "-c", "echo ready; sleep infinity"]);
    let mut session = session?;
    session.line_with("ready").await?;
    azure.simulator.remove_group(&azure.name_of(&env.pods().get("web").await?)?);
    let finished = session.ended().await?;
    ensure!(finished.code != Some(0), "{finished:?}");
    env.create(env.pod("other")).await?;
    env.pod_ready("other").await?;
    let finished = env.run(&kubectl, &["exec", "other", "--", "echo", "hello"]).await?.success()?;
    ensure!(finished.text() == "hello\n", "{finished:?}");
    Ok(())
}
