//! A certificate that the cluster signs: a CertificateSigningRequest for kubernetes.io/kubelet-serving, which somebody
//! must approve, renewed long before it expires.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{CertificateError, Certificates, ServingCertificate, Store, self_signed::params};
use crate::seldom::Seldom;

const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// All that the signer allows for an ECDSA key.
const USAGES: [&str; 2] = ["digital signature", "server auth"];
/// How often the request is looked at: rarely, as people take their time.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_AT_MOST: Duration = Duration::from_secs(30);
/// How long after a failure there is a new request; twofold each time.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// A certificate is served for at least this long before it is renewed, however short its life.
const RENEW_AFTER_AT_LEAST: Duration = Duration::from_secs(60);

/// What to request a certificate for.
#[derive(Debug, Clone)]
pub struct RequesterConfig {
    /// The node: the certificate's name is that of its identity.
    pub node_name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where to keep certificate and key, so that a restart needs no approval. Without it, each start requests anew.
    pub store: Option<Store>,
}

/// Has certificates signed for as long as it runs.
pub struct Requester {
    requests: Api<CertificateSigningRequest>,
    config: RequesterConfig,
    certificates: Arc<Certificates>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("cannot create a CertificateSigningRequest: {0}")]
    Create(kube::Error),
    #[error("the CertificateSigningRequest {0} is gone: it was removed before it was signed")]
    Gone(String),
    #[error("the CertificateSigningRequest {name} was refused: {condition}: {message}")]
    Refused { name: String, condition: String, message: String },
    #[error("cannot use the certificate of the CertificateSigningRequest {name}: {source}")]
    Unusable { name: String, source: rustls::Error },
    #[error("no answer from the API server within {} s", CALL_WITHIN.as_secs())]
    TimedOut,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl From<rcgen::Error> for RequestError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(CertificateError::Broken(error.to_string()))
    }
}

impl Requester {
    /// Requests with a client that may create and get CertificateSigningRequests.
    pub fn new(client: Client, config: RequesterConfig, certificates: Arc<Certificates>) -> Self {
        Self { requests: Api::all(client), config, certificates }
    }

    /// Requests a certificate, serves it once it is signed, and does the same again when 70 % to 90 % of its time are
    /// over; until `stop`. What was served before, or kept by an earlier process, is served on meanwhile.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        if let Some(kept) = self.kept() {
            let renewal = renewal(&kept).unwrap_or_default();
            self.certificates.replace(kept);
            time::sleep(renewal).await;
        }
        let mut again = AGAIN;
        loop {
            match self.obtain().await {
                Ok(certificate) => {
                    again = AGAIN;
                    let renewal = renewal(&certificate).unwrap_or_default().max(RENEW_AFTER_AT_LEAST);
                    self.certificates.replace(certificate);
                    tracing::info!(renewed_in = ?renewal, "serving with a certificate that the cluster has signed");
                    time::sleep(renewal).await;
                }
                Err(error) => {
                    tracing::error!(again_in = ?again, "there is no new serving certificate: {error}");
                    time::sleep(again).await;
                    again = (again * 2).min(AGAIN_AT_MOST);
                }
            }
        }
    }

    /// What an earlier process was given, if it is for this node as it is now, and has not expired.
    fn kept(&self) -> Option<ServingCertificate> {
        let store = self.config.store.as_ref()?;
        store
            .read(&self.config.node_name, &self.config.addresses)
            .inspect_err(|error| tracing::info!("no certificate is kept from before: {error}"))
            .ok()?
            .filter(|kept| kept.not_after > SystemTime::now())
    }

    async fn obtain(&self) -> Result<ServingCertificate, RequestError> {
        let key = KeyPair::generate()?;
        let request = params(&self.config.node_name, &self.config.addresses)?.serialize_request(&key)?.pem()?;
        let spec = CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: SIGNER.into(),
            usages: Some(USAGES.map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        };
        let metadata = ObjectMeta { generate_name: Some("csr-".into()), ..ObjectMeta::default() };
        let request = CertificateSigningRequest { metadata, spec, status: None };
        let params = PostParams::default();
        let created = time::timeout(CALL_WITHIN, self.requests.create(&params, &request)).await;
        let created = created.map_err(|_| RequestError::TimedOut)?.map_err(RequestError::Create)?;
        let name = created.metadata.name.unwrap_or_default();
        if self.certificates.is_empty() {
            tracing::warn!(
                "nothing can connect to the kubelet API until its certificate is approved: kubectl certificate approve {name}"
            );
        } else {
            tracing::warn!("the renewed certificate must be approved: kubectl certificate approve {name}");
        }
        let chain = self.signed(&name).await?;
        let unusable = |source| RequestError::Unusable { name: name.clone(), source };
        let bad = || unusable(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding));
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let certificates = certificates.map_err(|_| bad())?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let certificate = ServingCertificate::new(certificates, private).map_err(unusable)?;
        if let Some(store) = &self.config.store
            && let Err(error) = store.write(&chain, key.serialize_pem().as_bytes())
        {
            tracing::warn!(%error, file = %store.file().display(), "the certificate is not kept: the next start needs another");
        }
        Ok(certificate)
    }

    /// The signed chain, once it is there.
    async fn signed(&self, name: &str) -> Result<Vec<u8>, RequestError> {
        let mut look = LOOK;
        let unseen = Seldom::default();
        loop {
            time::sleep(look).await;
            look = (look * 2).min(LOOK_AT_MOST);
            let request = match time::timeout(CALL_WITHIN, self.requests.get_opt(name)).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) => return Err(RequestError::Gone(name.into())),
                failed => {
                    if unseen.is_due() {
                        let problem = match failed {
                            Ok(Err(error)) => error.to_string(),
                            _ => RequestError::TimedOut.to_string(),
                        };
                        tracing::warn!(
                            "cannot look at the CertificateSigningRequest {name}, and go on trying: {problem}"
                        );
                    }
                    continue;
                }
            };
            let status = request.status.unwrap_or_default();
            let refused = |kind: &str| kind == "Denied" || kind == "Failed";
            if let Some(condition) = status.conditions.into_iter().flatten().find(|one| refused(&one.type_)) {
                let message = condition.message.unwrap_or_default();
                return Err(RequestError::Refused { name: name.into(), condition: condition.type_, message });
            }
            if let Some(ByteString(chain)) = status.certificate.filter(|chain| !chain.0.is_empty()) {
                return Ok(chain);
            }
        }
    }
}

/// How long until 70 % to 90 % of its time are over, by chance, so that nodes that were started together are not renewed
/// together; `None`: they are.
fn renewal(certificate: &ServingCertificate) -> Option<Duration> {
    let lifetime = certificate.not_after.duration_since(certificate.not_before).ok()?;
    let at = certificate.not_before + lifetime.mul_f64(rand::random_range(0.7..0.9));
    at.duration_since(SystemTime::now()).ok()
}
