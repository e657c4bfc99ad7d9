//! A control plane from its options to its end: the flags of each component, their order, readiness, outages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::binaries::{Binaries, Program};
use crate::component::Component;
use crate::directory::Directory;
use crate::pki::{Identity, Pki};
use crate::probe::Probe;
use crate::reaper::Reaper;
use crate::{Error, ports};

/// How often a control plane is started anew when a port was taken in spite of its reservation.
const ATTEMPTS: usize = 3;

/// How long a component may take to end on SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// What kind of control plane is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Feature gates, given to all three Kubernetes components. An unknown one keeps them from starting.
    pub feature_gates: Vec<(String, bool)>,
    /// Whether kube-controller-manager runs. Without it there are no ServiceAccounts, so pods need none.
    pub controller_manager: bool,
    /// Whether kube-scheduler runs. Without it pods must name their node.
    pub scheduler: bool,
    /// Flags for kube-apiserver, after all others, so that they override them.
    pub apiserver_flags: Vec<String>,
    /// The folder for all state, emptied first and removed at the end; a fresh temporary one by default.
    pub directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            feature_gates: Vec::new(),
            controller_manager: true,
            scheduler: true,
            apiserver_flags: Vec::new(),
            directory: None,
        }
    }
}

/// A running control plane. All of it ends when this is dropped, or when the process that holds it ends in any way.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: kills what still runs, then removes the folder.
    reaper: Reaper,
    components: Mutex<Vec<Component>>,
    directory: Directory,
    binaries: Binaries,
    pki: Pki,
    probe: Probe,
    server: String,
    apiserver_arguments: Vec<String>,
}

impl Cluster {
    /// Starts a control plane and returns when it can be used: the API server and the scheduler are ready, and the
    /// ServiceAccount `default/default` exists, which pods need. Takes about eight seconds once the programs are built.
    ///
    /// # Errors
    ///
    /// When the programs cannot be found or built, the folder is in use, or a component is not ready within 120 s; then
    /// the error holds the end of its log and names the file, which is kept.
    pub async fn start(options: Options) -> Result<Cluster, Error> {
        let mut needed = vec![Program::Etcd, Program::ApiServer, Program::Kubectl];
        needed.extend(options.controller_manager.then_some(Program::ControllerManager));
        needed.extend(options.scheduler.then_some(Program::Scheduler));
        let binaries = Binaries::find(&needed).await?;
        let mut attempt = 1;
        loop {
            match Cluster::attempt(&options, binaries.clone()).await {
                Err(Error::Exited { tail, .. }) if tail.contains("address already in use") && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(options: &Options, binaries: Binaries) -> Result<Cluster, Error> {
        let directory = Directory::claim(options.directory.as_deref()).await?;
        let reaper = Reaper::start(directory.path(), directory.lock())?;
        let root = directory.path();
        for folder in ["logs", "home"] {
            let path = root.join(folder);
            std::fs::create_dir(&path).map_err(Error::file("create", &path))?;
        }
        let bin = root.join("bin");
        std::os::unix::fs::symlink(binaries.folder(), &bin).map_err(Error::file("create", &bin))?;

        let (etcd, etcd_peer, port) = (ports::reserve()?, ports::reserve()?, ports::reserve()?);
        let server = format!("https://127.0.0.1:{port}");
        let pki = Pki::create(root.join("pki"), server.clone())?;
        let administrator = pki.client("admin", Some("system:masters"))?;
        pki.write_kubeconfig(&root.join("kubeconfig"), "admin", &administrator)?;
        let probe = Probe::new(&pki, &administrator)?;
        let apiserver_arguments = apiserver_arguments(options, &pki, port, etcd);

        let cluster = Cluster {
            reaper,
            components: Mutex::default(),
            directory,
            binaries,
            pki,
            probe,
            server,
            apiserver_arguments,
        };
        let etcd_arguments = etcd_arguments(&cluster.directory.path().join("etcd"), etcd, etcd_peer);
        cluster.run(Program::Etcd, &etcd_arguments, &[format!("http://127.0.0.1:{etcd}/health")]).await?;
        cluster.run_apiserver().await?;
        if options.controller_manager {
            let arguments = cluster.controller_manager_arguments(options)?;
            let account = "api/v1/namespaces/default/serviceaccounts/default";
            cluster.run(Program::ControllerManager, &arguments, &[cluster.url(account)]).await?;
        }
        if options.scheduler {
            let port = ports::reserve()?;
            let arguments = cluster.scheduler_arguments(options, port)?;
            cluster.run(Program::Scheduler, &arguments, &[format!("https://127.0.0.1:{port}/readyz")]).await?;
        }
        cluster.directory.say_ready()?;
        Ok(cluster)
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// The URL of the API server. It stays the same over an outage.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The folder of all state, with `kubeconfig`, `pki/`, `logs/` and `bin/`, removed at the end.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// kubectl as administrator, with a home folder of its own, killed when its handle is dropped.
    pub fn kubectl(&self) -> Command {
        let home = self.directory.path().join("home");
        let mut command = Command::new(self.binaries.path(Program::Kubectl));
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", home.join("cache"))
            .env("HOME", home)
            .env("NO_PROXY", "127.0.0.1")
            .kill_on_drop(true);
        command
    }

    /// Signs a client certificate and writes it into a kubeconfig file of its own.
    ///
    /// A node identity is user `system:node:NAME` in group `system:nodes`.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made or the file not be written.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let identity: Identity = self.pki.client(user, group)?;
        let name = user.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_");
        let file = self.pki.path(&format!("{name}.kubeconfig"));
        self.pki.write_kubeconfig(&file, user, &identity)?;
        Ok(file)
    }

    /// The log of a component. It exists once the component has been started.
    pub fn log(&self, program: Program) -> PathBuf {
        self.directory.path().join("logs").join(format!("{}.log", program.name()))
    }

    /// The process ids of what runs.
    pub async fn pids(&self) -> Vec<(Program, u32)> {
        let components = self.components.lock().await;
        components.iter().filter_map(|component| Some((component.program(), component.pid()?))).collect()
    }

    /// Ends the API server, as in an outage. What is stored stays; the other components run on.
    pub async fn stop_apiserver(&self) {
        self.end(Program::ApiServer).await;
    }

    /// Starts the API server again on the same port, and returns when it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready within 120 s.
    pub async fn start_apiserver(&self) -> Result<(), Error> {
        self.end(Program::ApiServer).await;
        self.run_apiserver().await
    }

    /// Ends all components in order, etcd last, and removes the folder. Each gets ten seconds before it is killed.
    pub async fn stop(self) {
        for program in [Program::Scheduler, Program::ControllerManager, Program::ApiServer, Program::Etcd] {
            self.end(program).await;
        }
    }

    async fn end(&self, program: Program) {
        let mut components = self.components.lock().await;
        if let Some(position) = components.iter().position(|component| component.program() == program) {
            components.swap_remove(position).stop(GRACE).await;
        }
    }

    async fn run_apiserver(&self) -> Result<(), Error> {
        // The namespace appears shortly after readiness.
        let asked = [self.url("readyz"), self.url("api/v1/namespaces/default")];
        self.run(Program::ApiServer, &self.apiserver_arguments, &asked).await
    }

    async fn run(&self, program: Program, arguments: &[String], asked: &[String]) -> Result<(), Error> {
        let log = self.log(program);
        let mut component = Component::start(&self.binaries, program, arguments, log, self.reaper.group())?;
        component
            .until_ready(async || {
                for url in asked {
                    if !self.probe.is_ok(url).await {
                        return false;
                    }
                }
                true
            })
            .await?;
        self.components.lock().await.push(component);
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.server)
    }

    fn controller_manager_arguments(&self, options: &Options) -> Result<Vec<String>, Error> {
        let kubeconfig = self.kubeconfig_for("system:kube-controller-manager", None)?;
        let file = |name| self.pki.path(name).display().to_string();
        let mut arguments = client_arguments(&kubeconfig, options);
        arguments.extend([
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            "--use-service-account-credentials".into(),
            // Health and metrics, which nobody asks for.
            "--secure-port=0".into(),
            "--controllers=*,-cloud-node-lifecycle-controller".into(),
        ]);
        Ok(arguments)
    }

    fn scheduler_arguments(&self, options: &Options, port: u16) -> Result<Vec<String>, Error> {
        let mut arguments = client_arguments(&self.kubeconfig_for("system:kube-scheduler", None)?, options);
        arguments.extend([
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", self.pki.path("serving.crt").display()),
            format!("--tls-private-key-file={}", self.pki.path("serving.key").display()),
        ]);
        Ok(arguments)
    }
}

fn etcd_arguments(data: &Path, port: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // Nothing is to survive the machine.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn apiserver_arguments(options: &Options, pki: &Pki, port: u16, etcd: u16) -> Vec<String> {
    let file = |name: &str| pki.path(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        // Of the addresses for documentation: without one the API server wants a default route.
        "--advertise-address=192.0.2.1".into(),
        "--endpoint-reconciler-type=none".into(),
        format!("--tls-cert-file={}", file("serving.crt")),
        format!("--tls-private-key-file={}", file("serving.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--requestheader-client-ca-file={}", file("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!("--proxy-client-cert-file={}", file("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--api-audiences=api".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--allow-privileged=true".into(),
        "--max-requests-inflight=800".into(),
        "--max-mutating-requests-inflight=400".into(),
        "--kubelet-preferred-address-types=InternalIP,Hostname".into(),
        "--profiling=false".into(),
        "-v=1".into(),
    ];
    if !options.controller_manager {
        // The plugin would refuse every pod, because nobody makes the default ServiceAccount.
        arguments.push("--disable-admission-plugins=ServiceAccount".into());
    }
    arguments.extend(feature_gates(options));
    arguments.extend(options.apiserver_flags.iter().cloned());
    arguments
}

/// What the controller manager and the scheduler have in common.
fn client_arguments(kubeconfig: &Path, options: &Options) -> Vec<String> {
    let mut arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        // The defaults of 20 and 50 requests a second would be what a test of many pods measures.
        "--kube-api-qps=400".into(),
        "--kube-api-burst=800".into(),
    ];
    arguments.extend(feature_gates(options));
    arguments
}

fn feature_gates(options: &Options) -> Option<String> {
    let gates: Vec<String> = options.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
    (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
}
