//! A control plane from its options to its end: the flags of each component, their order, readiness, outages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::binaries::{Binaries, Program};
use crate::component::Component;
use crate::directory::Directory;
use crate::pki::{CertificateFiles, Identity, KUBELET, KUBELET_CLIENT, LOOPBACK, Pki};
use crate::probe::Probe;
use crate::reaper::Reaper;
use crate::{Error, arguments, ports};

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
    /// Whether the API server refuses a kubelet whose serving certificate is not of the cluster's authority. Without it a
    /// self-signed one will do.
    pub kubelet_authority: bool,
    /// Flags for kube-apiserver, after all others, so that they override them.
    pub apiserver_flags: Vec<String>,
    /// Flags for kube-controller-manager, likewise.
    pub controller_manager_flags: Vec<String>,
    /// The folder for all state, emptied first and removed at the end; a fresh temporary one by default.
    pub directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            feature_gates: Vec::new(),
            controller_manager: true,
            scheduler: true,
            kubelet_authority: true,
            apiserver_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
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
        let apiserver_arguments = arguments::apiserver(options, &pki, port, etcd);

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
        let etcd_arguments = arguments::etcd(&cluster.directory.path().join("etcd"), etcd, etcd_peer);
        cluster.run(Program::Etcd, &etcd_arguments, &[format!("http://127.0.0.1:{etcd}/health")]).await?;
        cluster.run_apiserver().await?;
        cluster.allow_kubelet_client().await?;
        if options.controller_manager {
            let kubeconfig = cluster.kubeconfig_for("system:kube-controller-manager", None)?;
            let arguments = arguments::controller_manager(options, &cluster.pki, &kubeconfig);
            let account = "api/v1/namespaces/default/serviceaccounts/default";
            cluster.run(Program::ControllerManager, &arguments, &[cluster.url(account)]).await?;
        }
        if options.scheduler {
            let port = ports::reserve()?;
            let kubeconfig = cluster.kubeconfig_for("system:kube-scheduler", None)?;
            let arguments = arguments::scheduler(options, &cluster.pki, &kubeconfig, port);
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
        self.kubectl_at(&self.binaries.path(Program::Kubectl))
    }

    /// Another kubectl, likewise.
    pub fn kubectl_at(&self, program: &Path) -> Command {
        let home = self.directory.path().join("home");
        let mut command = Command::new(program);
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

    /// The authority of all client certificates, the API server's own as a client of kubelets included: what a kubelet
    /// is given as `--client-ca-file`. It also signs serving certificates.
    pub fn authority(&self) -> PathBuf {
        self.pki.path("ca.crt")
    }

    /// A serving certificate for kubelets on 127.0.0.1, which is there from the start.
    pub fn kubelet_certificate(&self) -> CertificateFiles {
        CertificateFiles::at(&self.pki.path(KUBELET))
    }

    /// Signs another serving certificate for a server on 127.0.0.1. `name` is its subject and the name of its files.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made or the files not be written.
    pub fn sign_serving(&self, name: &str) -> Result<CertificateFiles, Error> {
        self.pki.sign_serving(name, &LOOPBACK)?;
        Ok(CertificateFiles::at(&self.pki.path(name)))
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

    /// Lets the API server use the kubelets' APIs, as administrators of clusters do: by a role that is there for it.
    async fn allow_kubelet_client(&self) -> Result<(), Error> {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": KUBELET_CLIENT},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": KUBELET_CLIENT}],
        });
        self.probe.create(&self.url(&format!("apis/{group}/v1/clusterrolebindings")), &binding).await
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
}
