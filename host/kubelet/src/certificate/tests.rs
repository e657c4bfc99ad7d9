//! Certificates from files, self-signed, and signed by a cluster that takes its time.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::PermissionsExt as _,
    sync::Mutex,
};

use http::Method;
use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm, date_time_ymd};
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
};

use super::*;
use crate::fakes::{Authority, Logged, fake_api, metrics};

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[test]
fn files_that_do_not_make_a_certificate_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let (one, other) = (authority.server("one"), authority.server("other"));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = (file("one.crt", &one.chain_pem), file("one.key", &one.key_pem));
    assert!(load(&certificate, &key).is_ok());
    for (certificate, key, wanted) in [
        (folder.path().join("absent"), key.clone(), "cannot read "),
        (certificate.clone(), folder.path().join("absent"), "cannot read "),
        (key.clone(), key.clone(), "one.key holds no certificate"),
        (certificate.clone(), certificate.clone(), "one.crt holds no private key"),
        (certificate.clone(), file("other.key", &other.key_pem), "cannot use "),
        (file("broken.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "cannot use "),
    ] {
        let error = load(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_self_signed_certificate_is_for_the_nodes_name_and_addresses() {
    for name in ["10.0.0.1", "fd00::1"] {
        let made = self_signed(name, &ADDRESSES).unwrap();
        assert!(store::is_for(&made, name, &ADDRESSES), "{name}");
        assert!(!store::is_for(&made, "10.0.0.2", &ADDRESSES), "{name}");
    }
    let made = self_signed("node-1", &ADDRESSES).unwrap();
    assert!(store::is_for(&made, "node-1", &ADDRESSES));
    assert!(!store::is_for(&made, "node-2", &ADDRESSES));
    assert!(!store::is_for(&made, "node-1", &[Ipv4Addr::new(10, 0, 0, 1).into()]));
    let now = SystemTime::now();
    assert!(made.not_before <= now && made.not_after > now + Duration::from_secs(8 * 365 * 24 * 60 * 60));
}

/// What was seen of the requester.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Created(String),
    Looked(String),
}

/// What becomes of the request of this number when it is looked at for the so-manyth time.
type Verdict = fn(&Signer, usize, usize, &[u8]) -> (u16, Value);

struct Signer {
    authority: Authority,
    verdict: Verdict,
    requests: Mutex<Vec<(Vec<u8>, usize)>>,
}

impl Signer {
    fn answer(&self, seen: &mpsc::UnboundedSender<Seen>, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let rest = path.strip_prefix("/apis/certificates.k8s.io/v1/certificatesigningrequests").unwrap();
        let mut requests = self.requests.lock().unwrap();
        if *method == Method::POST {
            let mut created = body;
            let number = requests.len();
            let name = format!("csr-{number}");
            let request = created["spec"]["request"].as_str().unwrap();
            let request = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, request).unwrap();
            check(&created["spec"], &request);
            requests.push((request, 0));
            created["metadata"]["name"] = json!(name);
            seen.send(Seen::Created(name)).unwrap();
            return (201, created);
        }
        let name = rest.trim_start_matches('/');
        let number: usize = name.strip_prefix("csr-").unwrap().parse().unwrap();
        let (request, looks) = &mut requests[number];
        *looks += 1;
        let (code, status) = (self.verdict)(self, number, *looks, request);
        let _ = seen.send(Seen::Looked(name.into()));
        let spec = json!({ "request": "", "signerName": "s" });
        let object = json!({ "metadata": { "name": name }, "spec": spec, "status": status });
        let reason = if code == 404 { "NotFound" } else { "Forbidden" };
        (code, if code == 200 { object } else { json!({ "kind": "Status", "code": code, "reason": reason }) })
    }

    /// A certificate from the beginning of this year, for so many years, for the key of a request.
    fn signed(&self, request: &[u8], years: i32) -> (u16, Value) {
        struct Key(Vec<u8>);
        impl PublicKeyData for Key {
            fn der_bytes(&self) -> &[u8] {
                &self.0
            }

            fn algorithm(&self) -> &'static SignatureAlgorithm {
                &rcgen::PKCS_ECDSA_P256_SHA256
            }
        }
        let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(request).unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
        let key = Key(parsed.certification_request_info.subject_pki.subject_public_key.data.to_vec());
        let mut params = CertificateParams::new(vec!["node".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
        let year = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
        params.not_before = date_time_ymd(year, 1, 1);
        params.not_after = date_time_ymd(year + years, 1, 1);
        let pem = self.authority.sign(&params, &key);
        (200, json!({ "certificate": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pem) }))
    }
}

/// What the signer kubernetes.io/kubelet-serving asks of a request.
fn check(spec: &Value, request: &[u8]) {
    assert_eq!(spec["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(spec["usages"], json!(["digital signature", "server auth"]));
    let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(request).unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
    let subject = parsed.certification_request_info.subject.to_string();
    assert_eq!(subject, "O=system:nodes, CN=system:node:node");
    let names: Vec<String> = parsed
        .requested_extensions()
        .unwrap()
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(names),
            _ => None,
        })
        .flat_map(|names| names.general_names.iter().map(describe))
        .collect();
    assert_eq!(names, ["node", "7f000001", "00000000000000000000000000000001"]);
}

fn describe(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => panic!("{other}"),
    }
}

struct Running {
    certificates: Arc<Certificates>,
    seen: mpsc::UnboundedReceiver<Seen>,
    stop: CancellationToken,
}

fn run(verdict: Verdict, store: Option<PathBuf>) -> Running {
    let (sender, seen) = mpsc::unbounded_channel();
    let signer = Signer { authority: Authority::new("ca"), verdict, requests: Mutex::default() };
    let client = fake_api(move |method, path, body| signer.answer(&sender, method, path, body));
    let certificates = Arc::new(Certificates::new(metrics()));
    let store = store.map(|file| Store::open(file).unwrap());
    let config = RequesterConfig { node_name: "node".into(), addresses: ADDRESSES.to_vec(), store };
    let stop = CancellationToken::new();
    tokio::spawn(Requester::new(client, config, certificates.clone()).run(stop.clone()));
    Running { certificates, seen, stop }
}

impl Running {
    /// Until the request of this number is made; how long that took.
    async fn created(&mut self, number: usize) -> Duration {
        let began = time::Instant::now();
        let wanted = Seen::Created(format!("csr-{number}"));
        while self.seen.recv().await.unwrap() != wanted {}
        began.elapsed()
    }

    fn key(&self) -> Option<Vec<u8>> {
        let current = self.certificates.current.read().unwrap().clone()?;
        Some(current.key.public_key().unwrap().to_vec())
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn a_certificate_is_served_once_it_is_approved_and_renewed_with_another_key() {
    let mut running =
        run(|signer, _, looks, request| if looks < 5 { (200, json!({})) } else { signer.signed(request, 2) }, None);
    running.created(0).await;
    assert_eq!(running.key(), None);
    let waited = running.created(1).await;
    let first = running.key().unwrap();
    // Served while the next one waits.
    let begin = running.certificates.current.read().unwrap().clone().unwrap();
    let (not_before, not_after) = validity(&begin.cert).unwrap();
    let (lifetime, age) =
        (not_after.duration_since(not_before).unwrap(), SystemTime::now().duration_since(not_before).unwrap());
    let fraction = (age + waited).as_secs_f64() / lifetime.as_secs_f64();
    assert!((0.69..0.91).contains(&fraction), "renewed after {fraction}");
    running.created(2).await;
    assert_ne!(running.key().unwrap(), first);
    running.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_to_nothing_is_followed_by_another_ever_later() {
    let mut running = run(
        |signer, number, _, request| match number {
            0 => (200, json!({ "conditions": [{ "type": "Denied", "status": "True", "message": "no" }] })),
            1 => (200, json!({ "conditions": [{ "type": "Failed", "status": "True" }] })),
            2 => (404, json!({})),
            // Somebody else's certificate, and none at all.
            3 => signer.signed(&signer.requests_of_nobody(), 2),
            4 => (200, json!({ "certificate": "bm9uZQ==" })),
            _ => signer.signed(request, 2),
        },
        None,
    );
    running.created(0).await;
    let mut before = Duration::ZERO;
    for number in 1..=5 {
        let waited = running.created(number).await;
        assert!(waited > before && waited < DAY, "{waited:?} after {before:?}");
        before = waited;
        assert_eq!(running.key(), None);
    }
    running.created(6).await;
    assert!(running.key().is_some());
}

impl Signer {
    fn requests_of_nobody(&self) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap().into_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_certificate_needs_no_approval_until_it_is_to_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubelet-server.pem");
    let mut first = run(|signer, _, _, request| signer.signed(request, 2), Some(file.clone()));
    first.created(1).await;
    first.stop.cancel();
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut second = run(|_, _, _, _| (200, json!({})), Some(file.clone()));
    let waited = second.created(0).await;
    assert!(waited > DAY || second.key().is_none(), "it asked at once, although it has one");
    let kept = load(&file, &file).unwrap().key.key.public_key().unwrap().to_vec();
    assert_eq!(second.key(), Some(kept));
    second.stop.cancel();

    fs::write(&file, "no certificate").unwrap();
    let mut third = run(|_, _, _, _| (200, json!({})), Some(file));
    assert_eq!(third.created(0).await, Duration::ZERO);
}

/// A folder with what an earlier process was given: valid from and to the beginning of these years, counted from now.
fn kept(from: i32, to: i32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubelet-server.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["node".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
    let year = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
    params.not_before = date_time_ymd(year + from, 1, 1);
    params.not_after = date_time_ymd(year + to, 1, 1);
    let chain = Authority::new("ca").sign(&params, &key);
    Store::open(&file).unwrap().write(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    (folder, file)
}

#[tokio::test(start_paused = true)]
async fn a_kept_certificate_that_is_due_for_renewal_is_served_until_there_is_another() {
    let (_folder, file) = kept(-19, 1);
    let mut running = run(|_, _, _, _| (200, json!({})), Some(file.clone()));
    assert!(running.created(0).await < Duration::from_secs(1));
    let kept_key = load(&file, &file).unwrap().key.key.public_key().unwrap().to_vec();
    assert_eq!(running.key(), Some(kept_key));
}

#[tokio::test(start_paused = true)]
async fn a_kept_certificate_that_has_expired_is_not_served() {
    let (_folder, file) = kept(-9, 0);
    let mut running = run(|_, _, _, _| (200, json!({})), Some(file));
    assert_eq!(running.created(0).await, Duration::ZERO);
    assert_eq!(running.key(), None);
}

#[test]
fn a_store_makes_its_folder_for_itself_alone_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("a/b");
    Store::open(made.join("kubelet-server.pem")).unwrap();
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&made).unwrap().count(), 0);

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(file.join("kubelet-server.pem")).unwrap_err().to_string();
    assert!(error.starts_with("cannot keep the serving certificate in ") && error.contains("may write to"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_looked_at_is_told_of_at_once_and_then_seldom() {
    let logged = Logged::default();
    let _here = tracing::subscriber::set_default(logged.clone());
    let mut running = run(|_, _, _, _| (403, json!({})), None);
    running.created(0).await;
    let told = || logged.text().matches("cannot look at the CertificateSigningRequest csr-0").count();
    time::sleep(Duration::from_secs(3)).await;
    assert_eq!(told(), 1, "{}", logged.text());
    time::sleep(Duration::from_secs(600)).await;
    assert!((2..=11).contains(&told()), "{}", logged.text());
}
