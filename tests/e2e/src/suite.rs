//! The run: one control plane for all tests, started by the first that needs it and stopped at the end. And another one
//! for those that are about what older API servers do with streams.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Error, Result, anyhow};
use futures::future::LocalBoxFuture;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, getpgid};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{OnceCell, RwLock, mpsc},
    time,
};
use vk_cluster::{Cluster, Options};

use crate::{Bench, Env, programs::Programs};

/// Tests at a time where the command line does not say: they wait more than they compute, but the control plane that
/// they share does not.
const THREADS: usize = 4;
/// A test on the cluster.
pub type EnvTest = for<'a> fn(&'a mut Env) -> LocalBoxFuture<'a, Result<()>>;
/// What a test needs of the world beside the repository, such as a program that is downloaded.
pub type Fetch = fn() -> LocalBoxFuture<'static, Result<()>>;
/// A test without one.
pub type BenchTest = for<'a> fn(&'a Bench) -> LocalBoxFuture<'a, Result<()>>;

/// A control plane and its administrator.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) client: Client,
    /// The process group of its components.
    pub(crate) group: i32,
}

/// Which of the control planes a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plane {
    /// As it is by default: WebSockets of clients go through to a kubelet that says it takes them.
    Default,
    /// As older ones: WebSockets of clients end at the API server, which speaks SPDY to every kubelet. It also believes
    /// every serving certificate, as it does where nobody has told it otherwise.
    Translating,
}

impl Plane {
    fn options(self) -> Options {
        match self {
            // What scales on metrics looks at them often.
            Self::Default => Options {
                controller_manager_flags: vec!["--horizontal-pod-autoscaler-sync-period=2s".to_owned()],
                ..Options::default()
            },
            Self::Translating => Options {
                feature_gates: vec![("ExtendWebSocketsToKubelet".to_owned(), false)],
                kubelet_authority: false,
                scheduler: false,
                ..Options::default()
            },
        }
    }
}

/// Tests to run.
pub struct Suite {
    shared: Arc<Shared>,
    trials: Vec<Trial>,
    /// How long each test may take that is added next.
    longest: Duration,
    /// What each test waits for that is added next.
    fetch: Option<Fetch>,
}

/// What tests share.
struct Shared {
    runtime: Runtime,
    folder: TempDir,
    programs: OnceCell<Result<Programs, String>>,
    control: OnceCell<Result<Control, String>>,
    translating: OnceCell<Result<Control, String>>,
    /// Held by all tests, and alone by one that measures.
    quiet: RwLock<()>,
    /// Held by all tests on the translating control plane, and alone by one that looks at what its API server counts.
    uncounted: RwLock<()>,
    number: AtomicU32,
}

impl Suite {
    /// No test takes longer, unless it is [allowed](Self::allow) to.
    pub const LONGEST_TEST: Duration = Duration::from_secs(150);

    /// An empty suite.
    ///
    /// # Errors
    ///
    /// If there can be no threads or no temporary folder.
    pub fn new() -> Result<Self> {
        // It fails only where one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shared = Shared {
            runtime: Runtime::new().context("cannot start threads")?,
            folder: tempfile::Builder::new().prefix("vk-e2e-").tempdir().context("cannot make a folder")?,
            programs: OnceCell::new(),
            control: OnceCell::new(),
            translating: OnceCell::new(),
            quiet: RwLock::new(()),
            uncounted: RwLock::new(()),
            number: AtomicU32::new(1),
        };
        Ok(Self { shared: Arc::new(shared), trials: Vec::new(), longest: Self::LONGEST_TEST, fetch: None })
    }

    /// Adds a test that needs no cluster.
    pub fn without_cluster(&mut self, name: &str, test: BenchTest) {
        let shared = self.shared.clone();
        self.add(name, move || shared.runtime.block_on(shared.run_on_bench(test)));
    }

    /// Sets how long each test may take that is added from here on.
    pub fn allow(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// Sets what each test waits for that is added from here on. Its time begins afterwards: a first download or build
    /// takes as long as it takes.
    pub fn fetch(&mut self, fetch: Option<Fetch>) {
        self.fetch = fetch;
    }

    /// Adds a test on the cluster.
    pub fn on_cluster(&mut self, name: &str, test: EnvTest) {
        self.add_on(Plane::Default, false, name, test);
    }

    /// Adds a test on the cluster beside which no other one on a cluster runs.
    pub fn alone_on_cluster(&mut self, name: &str, test: EnvTest) {
        self.add_on(Plane::Default, true, name, test);
    }

    /// Adds a test on a cluster whose API server speaks nothing but SPDY to kubelets, and believes all their certificates.
    pub fn on_translating_cluster(&mut self, name: &str, test: EnvTest) {
        self.add_on(Plane::Translating, false, name, test);
    }

    /// The same, for one beside which no other one runs on that cluster.
    pub fn alone_on_translating_cluster(&mut self, name: &str, test: EnvTest) {
        self.add_on(Plane::Translating, true, name, test);
    }

    fn add_on(&mut self, plane: Plane, alone: bool, name: &str, test: EnvTest) {
        let (shared, longest, fetch) = (self.shared.clone(), self.longest, self.fetch);
        self.add(name, move || {
            shared.runtime.block_on(async {
                if let Some(fetch) = fetch {
                    fetch().await?;
                }
                let (_alone, _quiet, _uncounted);
                match (plane, alone) {
                    (Plane::Default, true) => _alone = shared.quiet.write().await,
                    (Plane::Default, false) => _quiet = shared.quiet.read().await,
                    (Plane::Translating, true) => {
                        _quiet = shared.quiet.read().await;
                        _alone = shared.uncounted.write().await;
                    }
                    (Plane::Translating, false) => {
                        _quiet = shared.quiet.read().await;
                        _uncounted = shared.uncounted.read().await;
                    }
                }
                shared.run_on_cluster(plane, test, longest).await
            })
        });
    }

    fn add(&mut self, name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) {
        let trial = Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))));
        self.trials.push(trial);
    }

    /// Runs what the command line asks for.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(THREADS);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        // Every test is over, and with them their shares. Whatever is left ends when the process does.
        if let Some(shared) = Arc::into_inner(self.shared) {
            shared.close();
        }
        conclusion.exit_code()
    }
}

impl Shared {
    async fn bench(&self) -> Result<Bench> {
        let programs = self
            .programs
            .get_or_init(async || Programs::copy_to(self.folder.path()).await.map_err(|error| format!("{error:#}")));
        Bench::new(programs.await.clone().map_err(Error::msg)?)
    }

    async fn control(&self, plane: Plane) -> Result<Control> {
        let control = match plane {
            Plane::Default => &self.control,
            Plane::Translating => &self.translating,
        };
        let started = control.get_or_init(async || {
            eprintln!("e2e: starting a control plane");
            start(plane.options()).await.map_err(|error| format!("{error:#}"))
        });
        started.await.clone().map_err(Error::msg)
    }

    async fn run_on_bench(&self, test: BenchTest) -> Result<()> {
        let bench = self.bench().await?;
        let longest = Suite::LONGEST_TEST;
        time::timeout(longest, test(&bench)).await.map_err(|_| too_long(longest))?
    }

    async fn run_on_cluster(&self, plane: Plane, test: EnvTest, longest: Duration) -> Result<()> {
        let (bench, control) = (self.bench().await?, self.control(plane).await?);
        let (deaths, mut died) = mpsc::unbounded_channel();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut env = Env::new(bench, control, number, deaths).await?;
        let outcome = tokio::select! {
            outcome = test(&mut env) => outcome,
            Some(death) = died.recv() => Err(Error::msg(death)),
            () = time::sleep(longest) => Err(too_long(longest)),
        };
        env.close(outcome).await
    }

    fn close(self) {
        for control in [self.control, self.translating] {
            if let Some(Ok(Control { cluster, .. })) = control.into_inner()
                && let Some(cluster) = Arc::into_inner(cluster)
            {
                self.runtime.block_on(cluster.stop());
            }
        }
    }
}

async fn start(options: Options) -> Result<Control> {
    let cluster = Cluster::start(options).await?;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pids = cluster.pids().await;
    let (_, pid) = pids.first().context("the control plane has no process")?;
    let group = getpgid(Pid::from_raw(i32::try_from(*pid)?))?.as_raw_nonzero().get();
    Ok(Control { cluster: Arc::new(cluster), client: Client::try_from(config)?, group })
}

fn too_long(longest: Duration) -> Error {
    anyhow!("the test took longer than {longest:?}")
}
