//! How fast and how cheap vk-host is: beside a floor, the least that a kubelet can do, and beside kwok.
//!
//! ```text
//!  rounds ──> Turn of one contestant ──create, delete──> API server <──list, watch, patch, delete── its Process
//!               │   backlog, bursts                          │                                         │
//!               │                      Observer <──watch─────┘              /proc: processor, memory ──┤
//!               └── Figures <────────────────┴───────────────── Writes counted by the API server       │
//!                      │                                                                               │
//!                      └──> table: medians, ratios, goals <────────────────────────────────────────────┘
//! ```
//!
//! - `contestant`: who is measured and how each is started. `floor`: the one that is the bench's own.
//! - `workload`: what they have to do. `control`: the control plane, and what its administrator does to it.
//! - `observer`, `process`, `counters`: what is measured, by a watch, by the kernel, by the API server.
//! - `figures`, `table`: what comes of it.
//! - `streams`: another bench, of exec, logs and port-forward.

mod contestant;
mod control;
mod counters;
mod figures;
mod floor;
mod observer;
mod process;
mod streams;
mod table;
mod workload;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use contestant::{Contestant, Programs};
use control::Control;
use table::{Results, Titles};
use workload::{Burst, Sizes, Turn};

/// Measure vk-host beside the least possible kubelet and kwok, on a control plane of its own.
#[derive(Debug, Parser)]
#[command(name = "vk-bench")]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contestant::ALL)]
    only: Vec<Contestant>,
    /// Pods that wait when the node starts; 0 leaves this and what follows from it out, here and below
    #[arg(long, default_value_t = 2_000)]
    backlog: usize,
    /// Pods of the small burst, and of the deletion
    #[arg(long, default_value_t = 1_000)]
    small: usize,
    /// Pods of the large burst
    #[arg(long, default_value_t = 5_000)]
    large: usize,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure exec, logs and port-forward through the API server, beside the least that a kubelet can do
    Streams(streams::Sizes),
    /// Be the least possible kubelet; the bench runs itself so
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        kubeconfig: PathBuf,
        #[arg(long)]
        node: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let outcome = match &arguments.verb {
        Some(Verb::Floor { kubeconfig, node }) => floor::run(kubeconfig, node).await,
        Some(Verb::Streams(sizes)) => streams::run(sizes.clone()).await,
        None => bench(&arguments).await,
    };
    if let Err(error) = &outcome {
        eprintln!("vk-bench: {error:#}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("vk-bench-").tempdir().context("cannot make a folder")?;
    let programs = Programs::find(&arguments.only, folder.path().to_path_buf()).await?;
    eprintln!("vk-bench: starting a control plane");
    let control = Control::start().await?;
    programs.prepare(&control).await?;
    let sizes = Sizes {
        backlog: arguments.backlog,
        small: Burst { pods: arguments.small, creators: 20 },
        large: Burst { pods: arguments.large, creators: 40 },
    };
    let began = Instant::now();
    let mut results = Results::new();
    for round in 0..arguments.rounds {
        // Each is first in its turn: what a control plane has done before makes it slower or faster.
        let mut order = arguments.only.clone();
        let first = round % order.len();
        order.rotate_left(first);
        for contestant in order {
            let turn = Turn { control: &control, programs: &programs, contestant, sizes };
            let figures = turn.run().await.with_context(|| format!("{contestant}, round {}", round + 1))?;
            eprintln!("[{:4.0} s] round {} {contestant:8} {figures}", began.elapsed().as_secs_f64(), round + 1);
            results.entry(contestant).or_default().push(figures);
        }
    }
    control.stop().await;
    let titles = Titles { backlog: sizes.backlog, small: sizes.small.pods, large: sizes.large.pods };
    print!("{}", table::table(&results, &titles));
    Ok(())
}
