//! How the API server is reached.
//!
//! Three clients: one for pods and the node, with a connection for each request that is under way; one for what pods refer
//! to, whose many watches share connections; and one for the lease, so that nothing else holds up a renewal.

mod metrics;
mod pool;
mod shared;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use http::{HeaderValue, header};
use kube::{
    Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use vk_node::Clients;

pub(crate) use metrics::Metrics;

use crate::{
    config::grants::{self, Protected},
    environment::Environment,
};

/// A lease lasts 40 s and is renewed every 10 s: an attempt that takes longer has to make room for the next.
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster that can be reached.
pub(crate) struct Cluster {
    pub(crate) config: Config,
    /// Host and port of the API server, by each name known.
    pub(crate) servers: Vec<(String, u16)>,
    /// What no provider may read: the files that hold the host's credentials among it.
    pub(crate) protected: Vec<Protected>,
}

impl Cluster {
    /// Finds the cluster: `given`, else the files of `$KUBECONFIG`, else `$HOME/.kube/config`, else the service account
    /// of the pod that this runs in.
    ///
    /// # Errors
    ///
    /// If a file that is named cannot be used, or nothing is there.
    pub(crate) async fn find(given: Option<&Path>, environment: &Environment) -> anyhow::Result<Self> {
        let files = kubeconfig_files(given, environment);
        let mut protected = protected(&files);
        let mut config = if files.is_empty() {
            Config::incluster().map_err(|error| {
                anyhow!(error).context(
                    "no cluster: give --kubeconfig FILE, or set KUBECONFIG; this is not a pod with a service account",
                )
            })?
        } else {
            let kubeconfig = read(&files)?;
            protected.extend(credentials(&kubeconfig));
            let names = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(":");
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("cannot use the kubeconfig {names}"))?
        };
        let agent = concat!("vk-host/", env!("CARGO_PKG_VERSION"));
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(agent)));
        let servers = servers(&config, environment)?;
        Ok(Self { config, servers, protected })
    }

    /// What no provider may read, and the hosts and ports that it may not reach, where there may be no cluster.
    ///
    /// # Errors
    ///
    /// If there is a kubeconfig that cannot be used: then it is not known what it guards.
    pub(crate) async fn guarded(environment: &Environment) -> anyhow::Result<(Vec<Protected>, Vec<(String, u16)>)> {
        let files = kubeconfig_files(None, environment);
        match Self::find(None, environment).await {
            Ok(cluster) => Ok((cluster.protected, cluster.servers)),
            Err(_) if !files.iter().any(|file| file.exists()) => {
                Ok((protected(&files), in_cluster(environment).into_iter().collect()))
            }
            Err(error) => Err(error),
        }
    }

    /// The clients of the node, whose requests `metrics` counts.
    ///
    /// # Errors
    ///
    /// If the credentials cannot be used.
    pub(crate) fn clients(&self, metrics: &Metrics) -> anyhow::Result<Clients> {
        let mut lease = self.config.clone();
        lease.default_retry = false;
        lease.connect_timeout = Some(LEASE_TIMEOUT);
        lease.read_timeout = Some(LEASE_TIMEOUT);
        lease.reset_reader_on_write = true;
        let unusable = "cannot use the cluster's credentials";
        let own = |config| anyhow::Ok(ClientBuilder::try_from(config).context(unusable)?.with_layer(metrics).build());
        Ok(Clients {
            main: own(self.config.clone())?,
            references: shared::client(&self.config, metrics).context(unusable)?,
            lease: own(lease)?,
        })
    }
}

/// The files of the kubeconfig; none: not configured by files.
pub(crate) fn kubeconfig_files(given: Option<&Path>, environment: &Environment) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given.into()];
    }
    if let Some(list) = environment.os("KUBECONFIG") {
        return std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    let at_home = environment.absolute_path("HOME").map(|home| home.join(".kube/config"));
    at_home.filter(|file| file.exists()).into_iter().collect()
}

/// Reads and merges kubeconfig files, the first before the others. As in other tools, files of a list may be missing,
/// but not all.
fn read(files: &[PathBuf]) -> anyhow::Result<Kubeconfig> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        if files.len() > 1 && !file.exists() {
            continue;
        }
        if let Err(error) = std::fs::File::open(file) {
            return Err(anyhow!(error).context(format!(
                "cannot read the kubeconfig {}: correct --kubeconfig or KUBECONFIG",
                file.display()
            )));
        }
        let next =
            Kubeconfig::read_from(file).with_context(|| format!("cannot use the kubeconfig {}", file.display()))?;
        merged = Some(match merged {
            Some(merged) => merged.merge(next)?,
            None => next,
        });
    }
    merged.context("none of the files in KUBECONFIG exists")
}

fn protected(kubeconfig: &[PathBuf]) -> Vec<Protected> {
    let mut protected = grants::always_protected();
    protected.extend(kubeconfig.iter().map(|file| Protected::new("the kubeconfig", file)));
    protected
}

/// The files with secrets that a kubeconfig names.
fn credentials(kubeconfig: &Kubeconfig) -> Vec<Protected> {
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    users
        .flat_map(|user| {
            let key = user.client_key.as_ref().map(|path| Protected::new("the key of the kubeconfig", path));
            let token = user.token_file.as_ref().map(|path| Protected::new("the token of the kubeconfig", path));
            [key, token]
        })
        .flatten()
        .collect()
}

fn servers(config: &Config, environment: &Environment) -> anyhow::Result<Vec<(String, u16)>> {
    let Some(host) = config.cluster_url.host() else {
        bail!("the API server's address {} has no host: correct `server` in the kubeconfig", config.cluster_url)
    };
    let default = if config.cluster_url.scheme_str() == Some("http") { 80 } else { 443 };
    let port = config.cluster_url.port_u16().unwrap_or(default);
    let mut servers = vec![(host.trim_matches(['[', ']']).to_owned(), port)];
    servers.extend(in_cluster(environment));
    Ok(servers)
}

/// The server's address inside of a cluster, which it has beside the one in a kubeconfig.
fn in_cluster(environment: &Environment) -> Option<(String, u16)> {
    let host = environment.text("KUBERNETES_SERVICE_HOST")?;
    Some((host, environment.text("KUBERNETES_SERVICE_PORT")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn kubeconfig(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n\
             users: [{{name: u, user: {{tokenFile: token}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        )
    }

    #[tokio::test]
    async fn the_flag_goes_before_the_variable_and_that_before_the_home() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at(".kube")).unwrap();
        for (name, server) in
            [("flag", "https://flag"), ("variable", "https://variable:6443"), (".kube/config", "http://[::1]:8080")]
        {
            fs::write(at(name), kubeconfig(server)).unwrap();
        }
        let home = ("HOME", root.path().to_str().unwrap().to_owned());
        let list = format!("{}:{}", at("absent").display(), at("variable").display());
        let both: Environment = [home.clone(), ("KUBECONFIG", list)].into_iter().collect();
        let only_home: Environment = [home].into_iter().collect();

        let flag = Cluster::find(Some(&at("flag")), &both).await.unwrap();
        assert_eq!(flag.servers, [("flag".to_owned(), 443)]);
        let variable = Cluster::find(None, &both).await.unwrap();
        assert_eq!(variable.servers, [("variable".to_owned(), 6443)]);
        assert!(variable.protected.iter().any(|protected| protected.path == at("token")), "{:?}", variable.protected);
        let at_home = Cluster::find(None, &only_home).await.unwrap();
        assert_eq!(at_home.servers, [("::1".to_owned(), 8080)]);
    }

    #[tokio::test]
    async fn the_address_inside_of_the_cluster_is_the_servers_too() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("config");
        fs::write(&file, kubeconfig("https://api.example.com")).unwrap();
        let environment: Environment =
            [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")].into_iter().collect();
        let cluster = Cluster::find(Some(&file), &environment).await.unwrap();
        assert_eq!(cluster.servers, [("api.example.com".to_owned(), 443), ("10.0.0.1".to_owned(), 443)]);
    }

    #[tokio::test]
    async fn what_a_node_guards_is_guarded_without_one_and_nothing_need_be_configured() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("config"), kubeconfig("https://api.example.com")).unwrap();
        fs::write(at("broken"), "{").unwrap();
        let guarded = async |file: &str| {
            let service = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
            let file = [("KUBECONFIG", at(file).display().to_string())];
            let environment = service.map(|(name, value)| (name, value.to_owned())).into_iter().chain(file).collect();
            Cluster::guarded(&environment).await
        };
        let (protected, denied) = guarded("config").await.unwrap();
        for path in [at("config"), at("token"), "/proc/self".into()] {
            assert!(protected.iter().any(|protected| protected.path == path), "{path:?}: {protected:?}");
        }
        assert_eq!(denied, [("api.example.com".to_owned(), 443), ("10.0.0.1".to_owned(), 443)]);

        let (protected, denied) = guarded("absent").await.unwrap();
        assert!(protected.iter().any(|protected| protected.path == at("absent")), "{protected:?}");
        assert_eq!(denied, [("10.0.0.1".to_owned(), 443)]);
        assert!(guarded("broken").await.is_err());
        assert!(Cluster::guarded(&Environment::default()).await.unwrap().1.is_empty());
    }

    #[tokio::test]
    async fn what_is_named_and_missing_or_broken_is_an_error_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let broken = root.path().join("broken");
        fs::write(&broken, "{").unwrap();
        let absent = root.path().join("absent");
        let environment = |value: String| [("KUBECONFIG", value)].into_iter().collect::<Environment>();
        for (given, environment, wanted) in [
            (Some(absent.as_path()), Environment::default(), "--kubeconfig"),
            (Some(broken.as_path()), Environment::default(), "broken"),
            (None, environment(absent.display().to_string()), "absent"),
            (None, environment("/none/a:/none/b".into()), "none of the files in KUBECONFIG exists"),
        ] {
            let Err(error) = Cluster::find(given, &environment).await else { panic!("{wanted}") };
            let refusal = crate::usage::causes(&error);
            assert!(refusal.contains(wanted), "{refusal}");
        }
    }
}
