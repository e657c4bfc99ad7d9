//! What a test's Azure is set to, and what its vk-host is told about it.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use vk_azure::{Options, Simulator};

use crate::{Bench, Setup};

/// The subnets, shares and limits of Azure, and the provider's settings; what is not said is what most tests want.
#[derive(Debug, Clone)]
pub struct AzureSetup {
    options: Options,
    settings: String,
    sandbox: String,
    credentials: Credentials,
    files: Vec<(String, String)>,
    host: Setup,
    bundled: bool,
}

/// Where the provider finds out who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// In the file that `AZURE_AUTH_LOCATION` names.
    File,
    /// In variables; the file only says where Azure is.
    Variables,
    /// It asks the metadata service.
    ManagedIdentity,
}

/// Much is logged, so that what must not be told has every occasion; but not what libraries say of each connection.
const LOGGED: &str = "debug,h2=info,hyper_util=info,kube=info,rustls=info,tower=info";
/// Names of variables that the provider may see.
const VARIABLES: [&str; 7] =
    ["ACI_*", "AZURE_*", "CLUSTER_*", "ENABLE_*", "KUBE_DNS_IP", "LOG_ANALYTICS_*", "VIRTUALNODE_*"];
/// The folder of the files that the provider may read.
const FOLDER: &str = "credentials";

impl Default for AzureSetup {
    fn default() -> Self {
        // Values that must stay hidden are told from others by how they begin.
        let options = Options { client_secret: crate::azure::hidden("client secret"), ..Options::default() };
        let (settings, sandbox) = (String::new(), String::new());
        Self {
            options,
            settings,
            sandbox,
            credentials: Credentials::File,
            files: Vec::new(),
            host: Setup::default().without_backend().flag("--log-level").flag(LOGGED),
            bundled: false,
        }
    }
}

impl AzureSetup {
    /// Changes what Azure is set to.
    pub fn azure(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// A line of the provider's file.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// A line of the table `[sandbox]`.
    pub fn sandbox(mut self, line: &str) -> Self {
        self.sandbox.push_str(line);
        self.sandbox.push('\n');
        self
    }

    /// A variable that the provider may see.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.host = self.host.variable(name, value);
        self
    }

    /// A file that the provider may read, with the variable that says where it is.
    pub fn file(mut self, variable: &str, content: impl Into<String>) -> Self {
        self.files.push((variable.to_owned(), content.into()));
        self
    }

    /// A flag of vk-host, or a flag's value.
    pub fn flag(mut self, flag: &str) -> Self {
        self.host = self.host.flag(flag);
        self
    }

    /// Credentials are in variables.
    pub fn with_variables(mut self) -> Self {
        self.credentials = Credentials::Variables;
        self
    }

    /// The provider is the machine's managed identity.
    pub fn with_managed_identity(mut self) -> Self {
        self.credentials = Credentials::ManagedIdentity;
        self
    }

    /// vk-host is started with `--provider azure`, and finds the component and its file in its folder of providers.
    pub fn bundled(mut self) -> Self {
        self.bundled = true;
        self
    }

    pub(super) fn options(&self) -> Options {
        self.options.clone()
    }

    /// Writes the files, and says what vk-host is started with.
    pub(super) fn host(self, bench: &Bench, simulator: &Simulator) -> Result<Setup> {
        std::fs::create_dir_all(bench.path(FOLDER))?;
        let mut host = self.host.clone();
        for (variable, value) in self.variables(simulator)? {
            host = host.variable(&variable, value);
        }
        let mut files = self.files.clone();
        files.push(("AZURE_AUTH_LOCATION".to_owned(), self.credentials(simulator)?.to_string()));
        for (variable, content) in files {
            let path = bench.write(&format!("{FOLDER}/{variable}.json"), content)?;
            host = host.variable(&variable, path.display().to_string());
        }
        bench.write("ca.pem", simulator.authority_pem())?;
        let file = bench.write("aci.toml", self.configuration(simulator, &bench.path(FOLDER)))?;
        if !self.bundled {
            let [component, file] = [bench.aci().display().to_string(), file.display().to_string()];
            return Ok(host.provider(&["--provider-wasm", &component, "--provider-config", &file]));
        }
        let folder = bench.path("providers");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(bench.aci(), folder.join("aci.wasm"))?;
        for name in ["aci.toml", "ca.pem"] {
            std::os::unix::fs::symlink(bench.path(name), folder.join(name))?;
        }
        let host = host.variable("VK_HOST_PROVIDERS", folder.display().to_string());
        Ok(host.provider(&["--provider", "azure"]))
    }

    fn variables(&self, simulator: &Simulator) -> Result<Vec<(String, String)>> {
        let all = simulator.credentials();
        let variable = |name: &str, key: &str| -> Result<(String, String)> {
            let value = all.get(key).and_then(Value::as_str).with_context(|| format!("there is no {key}"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        match self.credentials {
            Credentials::File => Ok(Vec::new()),
            Credentials::Variables => [
                ("AZURE_CLIENT_ID", "clientId"),
                ("AZURE_CLIENT_SECRET", "clientSecret"),
                ("AZURE_TENANT_ID", "tenantId"),
                ("AZURE_SUBSCRIPTION_ID", "subscriptionId"),
            ]
            .map(|(name, key)| variable(name, key))
            .into_iter()
            .collect(),
            Credentials::ManagedIdentity => {
                let identity = self.options.identities.first().context("there is no managed identity")?;
                Ok(vec![
                    ("VIRTUALNODE_USER_IDENTITY_CLIENTID".to_owned(), identity.clone()),
                    ("AZURE_POD_IDENTITY_AUTHORITY_HOST".to_owned(), simulator.metadata_url().to_owned()),
                    variable("AZURE_SUBSCRIPTION_ID", "subscriptionId")?,
                ])
            }
        }
    }

    /// The file of credentials: whole, or no more than where Azure is.
    fn credentials(&self, simulator: &Simulator) -> Result<Value> {
        let mut all = simulator.credentials();
        if self.credentials != Credentials::File {
            let members = all.as_object_mut().context("the credentials are an object")?;
            members.retain(|key, _| key.ends_with("Url"));
        }
        Ok(all)
    }

    fn configuration(&self, simulator: &Simulator, folder: &Path) -> String {
        let Self { settings, sandbox, .. } = self;
        let secure = simulator.arm_url().to_owned();
        let streams = secure.replacen("https:", "wss:", 1);
        let realtime = simulator.realtime_url_template();
        let net = [&secure, &streams, simulator.metadata_url()];
        let resource_group = self.options.resource_groups.first().map(String::as_str).unwrap_or_default();
        format!(
            "Region = \"westeurope\"\n\
             ResourceGroup = \"{resource_group}\"\n\
             CPU = \"2000\"\n\
             Memory = \"4Ti\"\n\
             Pods = \"2000\"\n\
             RealtimeEndpoint = \"{realtime}\"\n\
             {settings}\n\
             [sandbox]\n\
             net = {net:?}\n\
             env = {VARIABLES:?}\n\
             read = [{folder:?}]\n\
             {sandbox}\n\
             [sandbox.tls.\"{secure}\"]\n\
             ca = \"ca.pem\"\n\
             [sandbox.tls.\"{streams}\"]\n\
             ca = \"ca.pem\"\n"
        )
    }
}
