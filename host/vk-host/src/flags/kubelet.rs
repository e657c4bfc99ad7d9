//! The flags of the kubelet API, and the environment variables that stand in for them.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::{invalid, listen_address};
use crate::environment::Environment;

/// Where kubelets listen.
const PORT: &str = "10250";

/// The server behind kubectl logs, exec, attach, port-forward and top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KubeletOptions {
    /// `HOST:PORT`; an empty host is every address.
    pub(crate) listen: String,
    pub(crate) certificate: Certificate,
    /// Who signs the certificates of clients; `None`: bearer tokens only.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether who does not authenticate is `system:anonymous` in place of being refused.
    pub(crate) anonymous: bool,
}

/// Where the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// PEM files, read again when they change.
    Files { certificate: PathBuf, key: PathBuf },
    /// A CertificateSigningRequest for kubernetes.io/kubelet-serving; what it yields is kept in this file.
    Csr { keep: Option<PathBuf> },
    /// Made at each start.
    SelfSigned,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Kubelet API")]
pub(super) struct KubeletFlags {
    /// Serve kubectl logs, exec, attach, port-forward and top on HOST:PORT or :PORT [default: :$KUBELET_PORT, else :10250]
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<String>,
    /// The server's certificate and those that it is signed with (PEM); read again when it changes [default:
    /// $APISERVER_CERT_LOCATION]
    #[arg(long, value_name = "FILE")]
    tls_cert_file: Option<PathBuf>,
    /// The key of --tls-cert-file (PEM) [default: $APISERVER_KEY_LOCATION]
    #[arg(long, value_name = "FILE")]
    tls_private_key_file: Option<PathBuf>,
    /// Where the certificate comes from without files: csr asks the cluster's signer kubernetes.io/kubelet-serving for one,
    /// which somebody must approve; self-signed makes one that an API server with --kubelet-certificate-authority does not
    /// take [default: csr]
    #[arg(long, value_name = "HOW", value_enum, conflicts_with = "tls_cert_file")]
    serving_certificate: Option<ServingCertificate>,
    /// Keep what csr yields here, so that a restart needs no new approval [default: nowhere]
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Take client certificates that these sign (PEM), such as the API server's; read again when it changes. Without it only
    /// bearer tokens are taken [default: $APISERVER_CA_CERT_LOCATION]
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Treat who does not authenticate as system:anonymous, whom the cluster may allow something
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", action = ArgAction::Set)]
    anonymous_auth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ServingCertificate {
    Csr,
    SelfSigned,
}

impl KubeletFlags {
    pub(super) fn resolve(self, environment: &Environment) -> Result<KubeletOptions, clap::Error> {
        // As a kubelet names it.
        let csr = || Certificate::Csr { keep: self.cert_dir.map(|folder| folder.join("kubelet-server-current.pem")) };
        let path = |name: &str| environment.text(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let certificate = match (self.tls_cert_file, self.tls_private_key_file, self.serving_certificate) {
            (Some(certificate), Some(key), _) => Certificate::Files { certificate, key },
            (Some(_), None, _) => return Err(invalid("--tls-cert-file needs --tls-private-key-file".into())),
            (None, Some(_), _) => return Err(invalid("--tls-private-key-file needs --tls-cert-file".into())),
            (None, None, Some(ServingCertificate::SelfSigned)) => Certificate::SelfSigned,
            (None, None, Some(ServingCertificate::Csr)) => csr(),
            (None, None, None) => match (path("APISERVER_CERT_LOCATION"), path("APISERVER_KEY_LOCATION")) {
                (Some(certificate), Some(key)) => Certificate::Files { certificate, key },
                (None, None) => csr(),
                _ => {
                    return Err(invalid(
                        "APISERVER_CERT_LOCATION and APISERVER_KEY_LOCATION need each other: set both or none".into(),
                    ));
                }
            },
        };
        Ok(KubeletOptions {
            listen: match self.listen {
                Some(listen) => listen,
                None => format!(":{}", port(environment)?),
            },
            certificate,
            client_ca: self.client_ca_file.or_else(|| path("APISERVER_CA_CERT_LOCATION")),
            anonymous: self.anonymous_auth,
        })
    }
}

fn port(environment: &Environment) -> Result<String, clap::Error> {
    match environment.text("KUBELET_PORT") {
        None => Ok(PORT.into()),
        Some(port) if port.parse::<u16>().is_ok() => Ok(port),
        Some(port) => Err(invalid(format!("KUBELET_PORT: `{port}` is not a port: unset it, or use --listen"))),
    }
}
