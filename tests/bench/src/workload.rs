//! What every contestant has to do, each piece with a process that is started for it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::{
    contestant::{Contestant, Programs},
    control::{Control, Sent},
    figures::{Figures, percentile, rate_between},
    observer::{Observer, Sight},
    process::Process,
};

/// How long the control plane gets to come to rest between two measurements.
const REST: Duration = Duration::from_secs(2);
/// How long a contestant with all pods of the large burst is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) backlog: usize,
    pub(crate) small: Burst,
    pub(crate) large: Burst,
}

/// Pods that are created as fast as so many clients can.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    pub(crate) pods: usize,
    pub(crate) creators: usize,
}

/// One contestant's turn.
pub(crate) struct Turn<'a> {
    pub(crate) control: &'a Control,
    pub(crate) programs: &'a Programs,
    pub(crate) contestant: Contestant,
    pub(crate) sizes: Sizes,
}

impl Turn<'_> {
    /// Does everything, and leaves nothing behind.
    pub(crate) async fn run(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        if self.sizes.backlog > 0 {
            self.backlog(&mut figures).await.context("backlog")?;
        }
        if self.sizes.small.pods > 0 {
            self.small_burst(&mut figures).await.context("small burst")?;
        }
        if self.sizes.large.pods > 0 {
            self.large_burst(&mut figures).await.context("large burst")?;
        }
        Ok(figures)
    }

    /// Pods wait when the contestant starts.
    async fn backlog(&self, figures: &mut Figures) -> Result<()> {
        let names = names("backlog", self.sizes.backlog);
        self.control.create_pods(&self.node(), &names, self.sizes.large.creators).await?;
        sleep(REST).await;
        let mut observer = self.observe().await?;
        let mut process = self.programs.start(self.contestant, self.control).await?;
        let ready = process.during(observer.wait(Sight::Ready, names.len())).await?;
        figures.backlog_rate = rate_between(&times(&ready), 0.1, 0.9);
        self.close(process, names).await
    }

    /// A thousand pods come at once, and go at once.
    async fn small_burst(&self, figures: &mut Figures) -> Result<()> {
        let mut observer = self.observe().await?;
        let mut process = self.serving(&mut observer).await?;
        let (before, names) = (self.control.writes().await?, names("small", self.sizes.small.pods));
        let burst = self.burst(&mut process, &mut observer, &names, self.sizes.small.creators).await?;
        figures.small_p99 = burst.p99;
        sleep(REST).await;
        let up = self.control.writes().await?;
        let deleting = async {
            let deleting = self.control.delete_pods(&names, self.sizes.small.creators, false);
            let (deleted, gone) = tokio::try_join!(deleting, observer.wait(Sight::Gone, names.len()))?;
            Ok(rate(&deleted, &gone))
        };
        figures.deletion_rate = process.during(deleting).await?;
        sleep(REST).await;
        let down = self.control.writes().await?;
        let per_pod = |writes: u64| writes as f64 / names.len() as f64;
        // Less those of the bench itself: it has created each pod once, and deleted it once.
        figures.writes_up = Some(per_pod(up.since(before).pods) - 1.0);
        figures.writes_down = Some(per_pod(down.since(up).pods) - 1.0);
        figures.events = Some(per_pod(down.since(before).events));
        self.close(process, Vec::new()).await
    }

    /// Many more pods come at once, and stay a while.
    async fn large_burst(&self, figures: &mut Figures) -> Result<()> {
        let mut observer = self.observe().await?;
        let mut process = self.serving(&mut observer).await?;
        let (before, names) = (process.cpu()?, names("large", self.sizes.large.pods));
        let burst = self.burst(&mut process, &mut observer, &names, self.sizes.large.creators).await?;
        figures.large_rate = burst.rate;
        figures.large_p99 = burst.p99;
        // What remains to be done of the burst counts.
        process.during(quiet(REST)).await?;
        let idle = process.cpu()?;
        figures.cpu_up = Some((idle - before).as_secs_f64() / names.len() as f64 * 1_000.0);
        figures.memory = Some(process.memory()? as f64 / f64::from(1 << 20));
        process.during(quiet(IDLE)).await?;
        figures.cpu_idle = Some((process.cpu()? - idle).as_secs_f64() / IDLE.as_secs_f64() * 1_000.0);
        self.close(process, names).await
    }

    /// A process that has brought up a first pod and removed it again.
    async fn serving(&self, observer: &mut Observer) -> Result<Process> {
        let first = names("first", 1);
        let mut process = self.programs.start(self.contestant, self.control).await?;
        let trial = async {
            // kwok overlooks a pod that comes while it starts.
            sleep(REST).await;
            self.control.create_pods(&self.node(), &first, 1).await?;
            observer.wait(Sight::Ready, 1).await?;
            self.control.delete_pods(&first, 1, false).await?;
            observer.wait(Sight::Gone, 1).await
        };
        process.during(trial).await?;
        sleep(REST).await;
        Ok(process)
    }

    async fn burst(
        &self,
        process: &mut Process,
        observer: &mut Observer,
        names: &[String],
        creators: usize,
    ) -> Result<Measured> {
        let node = self.node();
        let bursting = async {
            let creating = self.control.create_pods(&node, names, creators);
            tokio::try_join!(creating, observer.wait(Sight::Ready, names.len()))
        };
        let (created, ready) = process.during(bursting).await?;
        let ready_at: HashMap<_, _> = ready.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        let latencies = created.iter().filter_map(|(name, sent)| Some(*ready_at.get(name.as_str())? - *sent));
        Ok(Measured { rate: rate(&created, &ready), p99: percentile(latencies.collect(), 0.99) })
    }

    /// Ends the process and removes what is left of the pods, and the node.
    async fn close(&self, process: Process, left: Vec<String>) -> Result<()> {
        process.stop().await?;
        self.control.delete_pods(&left, self.sizes.large.creators, true).await?;
        self.control.delete_node(&self.node()).await?;
        sleep(REST).await;
        Ok(())
    }

    async fn observe(&self) -> Result<Observer> {
        Observer::start(self.control.client.clone(), &self.node()).await
    }

    fn node(&self) -> String {
        self.contestant.node()
    }
}

struct Measured {
    rate: Option<f64>,
    p99: Option<f64>,
}

async fn quiet(time: Duration) -> Result<()> {
    sleep(time).await;
    Ok(())
}

fn names(group: &str, pods: usize) -> Vec<String> {
    (0..pods).map(|number| format!("{group}-5d4b9c7f6-{number:05}")).collect()
}

fn times(seen: &[Sent]) -> Vec<Instant> {
    seen.iter().map(|(_, at)| *at).collect()
}

/// Pods a second, from the first request to the last outcome.
fn rate(requests: &[Sent], outcomes: &[Sent]) -> Option<f64> {
    let first = requests.iter().map(|(_, at)| *at).min()?;
    let last = outcomes.iter().map(|(_, at)| *at).max()?;
    Some(outcomes.len() as f64 / last.duration_since(first).as_secs_f64())
}
