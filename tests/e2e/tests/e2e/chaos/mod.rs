//! Whatever happens: steps drawn from a seed, and in the end the API and the backend agree.
//!
//! ```text
//!   Plan (seed) ──Step──> World ──> kubectl's API, vk-host's process, the backend, the API server
//!                           │ what was done to each pod
//!                           v
//!   quiet point: all faults end ──> agreement: API = backend = what was done; vitals: the process has not grown
//! ```
//!
//! A run is a row of acts with a quiet point after each. In every other act the process of vk-host lives on, so that what it
//! takes of the system can be compared. Every kind of disturbance happens in every run. `VK_CHAOS_SEED` repeats a run's steps
//! (their moments differ), `VK_CHAOS_SECONDS` sets its length.

mod agreement;
mod plan;
mod step;
mod vitals;
mod world;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::Api;
use tokio::time::{self, Instant};
use vk_e2e::{Env, PATIENCE, Setup, eventually};

use self::{
    agreement::{first_disagreement, miscounted},
    plan::Plan,
    step::{Deletion, Step},
    vitals::Vitals,
    world::World,
};

/// How long a run is where nobody says.
const LENGTH: Duration = Duration::from_secs(60);
/// How much longer it may be for disturbances that have not happened yet.
const OVERTIME: Duration = Duration::from_secs(60);
/// How long there are steps between two quiet points.
const ACT: Duration = Duration::from_secs(15);
/// How long all may take to agree once the faults have ended. The longest wait then is that of a call that failed five or
/// six times in a row, and a new process may have to wait for the lease of the one before.
const AGREE_WITHIN: Duration = Duration::from_secs(90);
/// How often they are compared.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

/// How long a run is.
fn length() -> Result<Duration> {
    Ok(number("VK_CHAOS_SECONDS")?.map_or(LENGTH, Duration::from_secs))
}

/// How long a run may take, with what comes after the last step.
///
/// # Errors
///
/// If a variable that says so is not a number.
pub(crate) fn longest() -> Result<Duration> {
    Ok(length()? + OVERTIME + 3 * AGREE_WITHIN)
}

/// A variable of the environment, if it is set.
fn number(name: &str) -> Result<Option<u64>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.to_string_lossy();
    value.parse().map(Some).with_context(|| format!("{name} must be a whole number, and is {value:?}"))
}

pub(crate) async fn api_and_backend_agree_whatever_has_happened(env: &mut Env) -> Result<()> {
    let seed = number("VK_CHAOS_SEED")?.unwrap_or_else(rand::random);
    let length = length()?;
    let mut setup = Setup::default();
    if seed % 2 == 1 {
        setup = setup.flag("--namespace").flag(&env.namespace);
    }
    eprintln!("chaos: {length:?} of seed {seed} (VK_CHAOS_SEED={seed} repeats it)");
    let mut run = Run::start(env, seed, setup).await?;
    let (ends, mut acts) = (Instant::now() + length, 0);
    loop {
        acts += 1;
        run.world.next_act();
        run.plan.allow_restarts(acts % 2 == 1);
        run.plan.deal(run.world.outstanding());
        run.act(Instant::now() + ACT).await?;
        run.fall_quiet().await?;
        let late = Instant::now().saturating_duration_since(ends);
        if late >= OVERTIME || !late.is_zero() && run.world.outstanding().is_empty() {
            break;
        }
    }
    let outstanding = run.world.outstanding();
    ensure!(outstanding.is_empty(), "never happened: {outstanding:?}");
    run.delete_all().await?;
    run.fall_quiet().await?;
    ensure!(run.env.backend.pods().is_empty(), "{} pods are left in the backend", run.env.backend.pods().len());
    run.journal.finish();
    Ok(())
}

/// What was done when; told if the run does not come to its end.
struct Journal {
    seed: u64,
    began: Instant,
    lines: Vec<String>,
    finished: bool,
}

impl Journal {
    fn note(&mut self, line: &str) {
        self.lines.push(format!("{:7.2} s  {line}", self.began.elapsed().as_secs_f64()));
    }

    fn finish(&mut self) {
        self.finished = true;
        eprintln!("chaos: {} steps and quiet points in {:.0?}", self.lines.len(), self.began.elapsed());
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.finished {
            eprintln!("chaos: seed {}, the steps until the failure:\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

struct Run<'a> {
    env: &'a mut Env,
    plan: Plan,
    world: World,
    journal: Journal,
    vitals: Option<Vitals>,
}

impl<'a> Run<'a> {
    async fn start(env: &'a mut Env, seed: u64, setup: Setup) -> Result<Self> {
        let journal = Journal { seed, began: Instant::now(), lines: Vec::new(), finished: false };
        env.start(setup.clone()).await?;
        let world = World::new(env, setup).await?;
        Ok(Self { env, plan: Plan::new(seed), world, journal, vitals: None })
    }

    async fn perform(&mut self, step: &Step) -> Result<()> {
        self.journal.note(&format!("{step:?}"));
        self.world.perform(self.env, step).await.with_context(|| format!("{step:?}"))
    }

    async fn act(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            let (step, pause) = self.plan.next();
            self.perform(&step).await?;
            time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    /// Ends all faults, waits until all agree, and checks what must hold whenever they do.
    async fn fall_quiet(&mut self) -> Result<()> {
        self.journal.note("all faults end");
        for step in self.plan.recovery() {
            self.perform(&step).await?;
        }
        let began = Instant::now();
        self.env.registered().await?;
        self.agree().await?;
        if let Some(miscounted) = miscounted(self.env, &self.world) {
            bail!(miscounted);
        }
        self.lease_is_renewed().await?;
        let log = self.env.log();
        let abnormal = log.lines().find(|line| line.contains("ended abnormally") || line.contains("panicked"));
        ensure!(abnormal.is_none(), "vk-host's log says: {abnormal:?}");
        let vitals = Vitals::of(self.env.vk_host()?.pid())?;
        let pods = self.env.backend.pods().len();
        let quiet = format!("{pods} pods agree after {:.1?}; {vitals}", began.elapsed());
        eprintln!("chaos: {quiet}");
        self.journal.note(&quiet);
        if let Some(earlier) = self.vitals.replace(vitals) {
            vitals.have_not_grown_since(&earlier)?;
        }
        Ok(())
    }

    async fn agree(&self) -> Result<()> {
        let mut last = "nothing was asked".to_owned();
        let comparing = async {
            let mut ticks = time::interval(COMPARE_EVERY);
            loop {
                ticks.tick().await;
                match first_disagreement(self.env, &self.world).await? {
                    None => return Ok(()),
                    Some(disagreement) => last = disagreement,
                }
            }
        };
        match time::timeout(AGREE_WITHIN, comparing).await {
            Ok(agreed) => agreed,
            Err(_) => bail!("{AGREE_WITHIN:?} after the last fault has ended: {last}"),
        }
    }

    async fn lease_is_renewed(&self) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.env.client.clone(), "kube-node-lease");
        let since = Timestamp::try_from(SystemTime::now())?;
        eventually("the lease to be renewed", PATIENCE, async || {
            let lease = leases.get(&self.env.node).await.map_err(|error| error.to_string())?;
            let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0);
            if renewed > Some(since) { Ok(()) } else { Err(format!("renewed at {renewed:?}")) }
        })
        .await
    }

    async fn delete_all(&mut self) -> Result<()> {
        self.env.kubectl(&["delete", "jobs", "--all", "--cascade=foreground", "--timeout=60s"]).await?;
        for name in self.plan.leave_no_pod() {
            self.perform(&Step::Delete(name, Deletion::Graceful)).await?;
        }
        Ok(())
    }
}
