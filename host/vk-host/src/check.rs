//! `vk-host check`: loads and configures a provider and shows how it describes the node, without a cluster.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use vk_provider::{Condition, Description, Info, Provider as _, Taint};
use vk_runtime::Runtime;

use crate::{
    clients::Cluster,
    environment::Environment,
    files::Seen,
    flags::Check,
    generation::Sources,
    log,
    run::{engine, install_crypto},
    usage,
};

/// Without a cluster there is no owner. A provider that looks for its things finds none.
const OWNER: &str = "check";

/// Prints what the provider says of itself and of the node.
///
/// # Errors
///
/// If it cannot be loaded, refuses its configuration, or cannot reach its backend.
pub(crate) fn check(check: Check, environment: Environment) -> anyhow::Result<()> {
    log::start(&check.log)?;
    install_crypto();
    let threads = tokio::runtime::Runtime::new().context("cannot start threads")?;
    threads.block_on(async {
        let (protected, denied) = Cluster::guarded(&environment).await?;
        let sources = Sources {
            owner: check.provider.owner.clone().unwrap_or_else(|| OWNER.into()),
            options: check.provider,
            environment,
            protected,
            denied,
        };
        let generation = sources.load(&mut Seen::default())?;
        let label = generation.label.clone();
        let engine = engine(&sources.options.cache, &mut Registry::default())?;
        // What it reports about pods is of no interest.
        let (events, _) = mpsc::channel(1);
        let runtime = Runtime::start(engine, generation, events).await?;
        let described = runtime.describe().await;
        let described = described
            .map_err(|error| anyhow!("{label} cannot describe the node ({}): {}", error.kind.as_str(), error.message));
        let info = runtime.info();
        runtime.close(Duration::ZERO).await;
        usage::print(&Summary { label: &label, info: &info, described: &described? });
        Ok(())
    })
}

/// What a provider says, for people.
struct Summary<'a> {
    label: &'a str,
    info: &'a Info,
    described: &'a Description,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Info { name, version } = self.info;
        let described = self.described;
        line(f, "provider", [format!("{name} {version} ({})", self.label)])?;
        line(f, "system", [format!("{}/{}", described.operating_system.as_str(), described.architecture)])?;
        line(f, "capacity", described.capacity.iter().map(|(name, amount)| format!("{name} {amount}")))?;
        line(f, "allocatable", described.allocatable.iter().map(|(name, amount)| format!("{name} {amount}")))?;
        line(f, "labels", described.labels.iter().map(|(key, value)| format!("{key}={value}")))?;
        line(f, "annotations", described.annotations.iter().map(|(key, value)| format!("{key}={value}")))?;
        line(
            f,
            "taints",
            described.taints.iter().map(|Taint { key, value, effect }| format!("{key}={value}:{effect}")),
        )?;
        line(f, "conditions", described.conditions.iter().map(condition))
    }
}

fn condition(Condition { kind, status, reason, message }: &Condition) -> String {
    let status = status.as_str();
    match message.is_empty() {
        true => format!("{kind}={status} {reason}"),
        false => format!("{kind}={status} {reason}: {message}"),
    }
}

/// A name, and one value a line beside it. What a provider says must not steer the terminal.
fn line(f: &mut fmt::Formatter<'_>, name: &str, values: impl IntoIterator<Item = String>) -> fmt::Result {
    let mut values = values.into_iter().map(|value| usage::without_controls(&value));
    writeln!(f, "{name:<12} {}", values.next().as_deref().unwrap_or("none"))?;
    values.try_for_each(|value| writeln!(f, "{:<12} {value}", ""))
}

#[cfg(test)]
mod tests {
    use vk_provider::{ConditionStatus, OperatingSystem};

    use super::*;

    #[test]
    fn a_summary_shows_everything_that_the_provider_said() {
        let described = Description {
            operating_system: OperatingSystem::Linux,
            architecture: "amd64".into(),
            capacity: vec![("cpu".into(), "20".into()), ("memory".into(), "100Gi".into())],
            allocatable: Vec::new(),
            conditions: vec![Condition {
                kind: "Ready".into(),
                status: ConditionStatus::Affirmed,
                reason: "Fine".into(),
                message: "\x1b[2Jall\nwell".into(),
            }],
            labels: vec![("a".into(), "b".into())],
            annotations: Vec::new(),
            taints: vec![Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() }],
        };
        let info = Info { name: "mock".into(), version: "0.1.0".into() };
        let shown = Summary { label: "mock.wasm", info: &info, described: &described }.to_string();
        let wanted = "\
provider     mock 0.1.0 (mock.wasm)
system       linux/amd64
capacity     cpu 20
             memory 100Gi
allocatable  none
labels       a=b
annotations  none
taints       k=v:NoSchedule
conditions   Ready=True Fine: [2Jall well
";
        assert_eq!(shown, wanted);
    }
}
