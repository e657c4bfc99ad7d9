//! How fast pods become Ready.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::time::Instant;
use vk_e2e::{Env, PodBuilder, Seen, Setup, is_ready, until};

const PODS: usize = 1_000;
const CREATORS: usize = 20;
/// Pods a second, in the dev build, on two cores that the control plane uses as well.
const FLOOR: f64 = 200.0;
/// Where the API server takes pods more slowly than that, they must become Ready as fast as it takes them, nearly.
const SHARE_OF_CREATION: f64 = 0.8;
const WITHIN: Duration = Duration::from_secs(60);

fn pods(env: &Env, group: &'static str) -> impl Iterator<Item = PodBuilder> {
    (0..PODS).map(move |number| env.pod(&format!("{group}-{number}")).label("group", group))
}

/// Waits until all pods of a group are Ready, and tells `watch` after each event how many are.
async fn all_ready(env: &Env, group: &str, mut watch: impl FnMut(usize)) -> Result<Seen<Pod>> {
    let selection = watcher::Config::default().labels(&format!("group={group}"));
    until(env.pods(), selection, "all pods of the burst to be Ready", WITHIN, |seen| {
        let ready = seen.values().filter(|pod| is_ready(pod)).count();
        watch(ready);
        ready == PODS
    })
    .await
}

pub(crate) async fn a_thousand_bound_pods_become_ready_at_two_hundred_a_second(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let began = Instant::now();
    let creating = async {
        env.create_all(pods(env, "burst"), CREATORS).await?;
        Ok(began.elapsed())
    };
    let (created, seen) = futures::try_join!(creating, all_ready(env, "burst", |_| {}))?;
    let (created, took) = (created.as_secs_f64(), began.elapsed().as_secs_f64());
    let (creation, rate) = (PODS as f64 / created, PODS as f64 / took);
    eprintln!(
        "burst of {PODS} pods by {CREATORS} creators: created in {created:.2} s ({creation:.0}/s), Ready after {took:.2} s ({rate:.0}/s)"
    );
    env.made_once_and_left_alone(seen.into_keys())?;
    let floor = FLOOR.min(SHARE_OF_CREATION * creation);
    ensure!(rate >= floor, "{rate:.0} pods/s become Ready, which is less than {floor:.0}");
    Ok(())
}

pub(crate) async fn a_backlog_of_a_thousand_bound_pods_is_worked_off_at_two_hundred_a_second(
    env: &mut Env,
) -> Result<()> {
    let mut best = 0.0_f64;
    // Whatever else the machine does counts in a measurement of a few seconds, so that a slow one is repeated.
    for group in ["first", "second", "third"] {
        best = best.max(work_off(env, group).await?);
        if best >= FLOOR {
            return Ok(());
        }
        env.sigterm().await?;
    }
    bail!("{best:.0} pods/s become Ready, which is less than {FLOOR}")
}

/// Pods a second, between the tenth and the ninetieth of a hundred, from the start of a host that finds them all.
async fn work_off(env: &mut Env, group: &'static str) -> Result<f64> {
    env.create_all(pods(env, group), CREATORS).await?;
    env.launch(Setup::default())?;
    let (mut tenth, mut ninth) = (None, None);
    let seen = all_ready(env, group, |ready| {
        let now = Instant::now();
        if ready >= PODS / 10 {
            tenth.get_or_insert(now);
        }
        if ready >= PODS / 10 * 9 {
            ninth.get_or_insert(now);
        }
    });
    let seen = seen.await?;
    let (tenth, ninth) = (tenth.context("nothing was Ready")?, ninth.context("too few were Ready")?);
    let took = ninth.duration_since(tenth).as_secs_f64();
    let rate = PODS as f64 * 0.8 / took;
    eprintln!("backlog of {PODS} pods: from 10 % to 90 % Ready in {took:.2} s ({rate:.0}/s)");
    env.made_once_and_left_alone(seen.into_keys())?;
    Ok(rate)
}
