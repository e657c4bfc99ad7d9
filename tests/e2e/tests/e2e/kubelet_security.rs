//! Who may do what at the node's own port, where the API server decides and the node obeys.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{Api, ResourceExt as _, runtime::watcher};
use reqwest::{Method, StatusCode};
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
use vk_e2e::{Certificate, Dialect, Env, Kubectl, PATIENCE, Setup, eventually, until, upgrade};

/// Everything that there is, with the method that it is meant for.
const ROUTES: [(Method, &str); 13] = [
    (Method::GET, "/healthz"),
    (Method::GET, "/readyz"),
    (Method::GET, "/pods"),
    (Method::GET, "/runningpods/"),
    (Method::GET, "/metrics"),
    (Method::GET, "/metrics/resource"),
    (Method::GET, "/metrics/probes"),
    (Method::GET, "/metrics/cadvisor"),
    (Method::GET, "/stats/summary"),
    (Method::GET, "/containerLogs/default/web/main"),
    (Method::POST, "/exec/default/web/main?output=1&command=true"),
    (Method::POST, "/attach/default/web/main?output=1"),
    (Method::POST, "/portForward/default/web"),
];

/// Asks for one path with a token and says what comes.
async fn ask(env: &Env, token: Option<&str>, method: Method, path: &str, is_upgrade: bool) -> Result<StatusCode> {
    let mut request = env.https(None)?.request(method, env.kubelet_url(path).await?);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if is_upgrade {
        request = upgrade(request, "v4.channel.k8s.io");
    }
    Ok(request.send().await?.status())
}

pub(crate) async fn who_cannot_say_who_he_is_is_refused_everywhere(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    let wrong = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl";
    for token in [None, Some(wrong), Some("")] {
        for (method, path) in ROUTES {
            let status = ask(env, token, method.clone(), path, false).await?;
            ensure!(status == StatusCode::UNAUTHORIZED, "{method} {path} with {token:?}: {status}");
        }
    }
    // A certificate of the right kind and name, but of another authority: the test's API server is not the only one.
    let stranger = stranger("system:node:somebody")?;
    let answer = env.https(Some(&stranger))?.get(env.kubelet_url("/pods").await?).send().await;
    // Refused in the handshake, or afterwards.
    if let Ok(answer) = answer {
        ensure!(answer.status() == StatusCode::UNAUTHORIZED, "a stranger's certificate: {}", answer.status());
    }
    // There is nothing without TLS.
    let plain = format!("http://127.0.0.1:{}/healthz", env.kubelet_port().await?);
    let answer =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?.get(plain).send().await;
    if let Ok(answer) = answer {
        bail!("without TLS it answers {}", answer.status());
    }
    Ok(())
}

/// A client certificate and key in PEM that nobody in the cluster knows, of an administrator by name.
fn stranger(name: &str) -> Result<Vec<u8>> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()).into_bytes())
}

pub(crate) async fn rights_are_those_that_the_cluster_gives(env: &mut Env) -> Result<()> {
    env.start(Setup::default()).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let nothing = env.account("nothing", &["get"], &["configmaps"]).await?;
    let reader = env.account("reader", &["get"], &["nodes/proxy"]).await?;
    let user = env.account("user", &["get", "create"], &["nodes/proxy"]).await?;
    let scraper = env.account("scraper", &["get"], &["nodes/metrics"]).await?;
    let lister = env.account("lister", &["get"], &["nodes/pods"]).await?;
    let pod = format!("{}/web", env.namespace);
    let exec = format!("/exec/{pod}/main?output=1&command=true");
    let attach = format!("/attach/{pod}/main?output=1");
    let forward = format!("/portForward/{pod}?port=80");
    let logs = format!("/containerLogs/{pod}/main");
    let (ok, forbidden, switching) = (StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::SWITCHING_PROTOCOLS);
    let (get, post) = (Method::GET, Method::POST);
    for (who, token, method, path, status) in [
        ("nothing", &nothing, &get, "/healthz", forbidden),
        ("nothing", &nothing, &get, "/pods", forbidden),
        ("nothing", &nothing, &get, "/metrics/resource", forbidden),
        ("scraper", &scraper, &get, "/metrics/resource", ok),
        ("scraper", &scraper, &get, "/metrics", ok),
        ("scraper", &scraper, &get, "/pods", forbidden),
        ("scraper", &scraper, &get, "/stats/summary", forbidden),
        ("scraper", &scraper, &get, &logs, forbidden),
        ("lister", &lister, &get, "/pods", ok),
        ("lister", &lister, &get, "/healthz", forbidden),
        ("reader", &reader, &get, "/pods", ok),
        ("reader", &reader, &get, "/healthz", ok),
        ("reader", &reader, &get, &logs, ok),
        ("user", &user, &get, &logs, ok),
    ] {
        let found = ask(env, Some(token), method.clone(), path, false).await?;
        ensure!(found == status, "{who}: {method} {path}: {found}, not {status}");
    }
    // A WebSocket begins with a GET; still it takes the right to create.
    for path in [&exec, &attach, &forward] {
        for (who, token, status) in [("reader", &reader, forbidden), ("user", &user, switching)] {
            let found = ask(env, Some(token), get.clone(), path, true).await?;
            ensure!(found == status, "{who}: an upgrade at {path}: {found}, not {status}");
        }
        let found = ask(env, Some(&reader), post.clone(), path, true).await?;
        ensure!(found == forbidden, "reader: POST {path}: {found}");
    }
    for (method, path) in
        [(&post, "/pods"), (&Method::DELETE, "/pods"), (&Method::HEAD, &exec), (&Method::OPTIONS, &exec)]
    {
        let found = ask(env, Some(&user), method.clone(), path, false).await?;
        let refused = found == forbidden || found == StatusCode::METHOD_NOT_ALLOWED;
        ensure!(refused, "{method} {path}: {found}");
    }
    env.streams("exec", 0).await
}

pub(crate) async fn a_token_that_nobody_can_vouch_for_is_refused_while_the_api_server_is_away(
    env: &mut Env,
) -> Result<()> {
    env.start(Setup::default()).await?;
    let known = env.account("known", &["get"], &["nodes/proxy"]).await?;
    let unknown = env.account("unknown", &["get"], &["nodes/proxy"]).await?;
    let url = env.kubelet_url("/pods").await?;
    let ask = async |token: &str| anyhow::Ok(env.https(None)?.get(&url).bearer_auth(token).send().await?.status());
    ensure!(ask(&known).await? == StatusCode::OK, "the right to read is not enough");
    env.cluster.stop_apiserver().await;
    let found = ask(&unknown).await;
    env.cluster.start_apiserver().await?;
    let found = found?;
    let refused = found == StatusCode::UNAUTHORIZED || found == StatusCode::INTERNAL_SERVER_ERROR;
    ensure!(refused, "nobody could vouch for the token, and yet: {found}");
    Ok(())
}

pub(crate) async fn a_requested_certificate_serves_once_it_is_approved(env: &mut Env) -> Result<()> {
    env.start(Setup::default().certificate(Certificate::Requested)).await?;
    env.create(env.pod("web").asks("log-lines", "1")).await?;
    env.pod_ready("web").await?;
    let request = requested(env).await?;
    // Nobody has vouched for it yet.
    ensure!(env.kubectl(&["logs", "web"]).await.is_err(), "it serves with a certificate that nobody has approved");
    env.kubectl(&["certificate", "approve", &request]).await?;
    eventually("logs by the approved certificate", PATIENCE, async || {
        env.kubectl(&["logs", "web", "--tail=1"]).await.map_err(|error| error.to_string())
    })
    .await?;
    let kubectl = Kubectl::own(Dialect::WebSocket);
    env.run(&kubectl, &["exec", "web", "--", "true"]).await?.success()?;
    Ok(())
}

/// The name of the request that the test's vk-host has made, once it is there.
async fn requested(env: &Env) -> Result<String> {
    let requests: Api<CertificateSigningRequest> = Api::all(env.client.clone());
    let selection = watcher::Config::default().fields("spec.signerName=kubernetes.io/kubelet-serving");
    let subject = format!("system:node:{}", env.node);
    let is_own = |request: &CertificateSigningRequest| {
        let Ok(pem) = CertificateSigningRequestDer::from_pem_slice(&request.spec.request.0) else { return false };
        String::from_utf8_lossy(&pem).contains(&subject)
    };
    let seen = until(requests, selection, "the node's certificate request", PATIENCE, |seen| seen.values().any(is_own));
    let own = seen.await?.into_values().find(is_own).context("a request was seen")?;
    Ok(own.name_any())
}

pub(crate) async fn replaced_certificate_files_serve_new_connections_and_end_no_stream(env: &mut Env) -> Result<()> {
    let first = env.cluster.sign_serving(&format!("first-{}", env.node))?;
    let second = env.cluster.sign_serving(&format!("second-{}", env.node))?;
    let files = vk_cluster::CertificateFiles { certificate: env.bench.path("tls.crt"), key: env.bench.path("tls.key") };
    std::fs::copy(&first.certificate, &files.certificate)?;
    std::fs::copy(&first.key, &files.key)?;
    env.start(Setup::default().certificate(Certificate::Files(files))).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let mut session = env.spawn(&Kubectl::own(Dialect::WebSocket), &["exec", "-i", "web", "--", "cat"])?;
    session.say("before\n").await?;
    ensure!(session.line().await? == "before", "something else came back");
    let before = env.shown_certificate().await?;

    env.replace("tls.key", std::fs::read(&second.key)?)?;
    env.replace("tls.crt", std::fs::read(&second.certificate)?)?;
    eventually("the other certificate", PATIENCE, async || {
        let shown = env.shown_certificate().await.map_err(|error| error.to_string())?;
        if shown == before { Err("still the first".to_owned()) } else { Ok(()) }
    })
    .await?;
    session.say("after\n").await?;
    let finished = session.ended().await?.success()?;
    ensure!(finished.text() == "after\n", "{:?} came back", finished.text());

    // One that is broken is told, and the one before goes on.
    let (good, lines) = (env.shown_certificate().await?, env.log().lines().count());
    env.replace("tls.crt", "nonsense")?;
    env.line(lines, &["ERROR", "tls.crt", "the ones before serve on"]).await?;
    ensure!(env.shown_certificate().await? == good, "another certificate is shown");
    env.kubectl(&["logs", "web", "--tail=1"]).await.map(drop)
}

pub(crate) async fn a_self_signed_certificate_is_refused_by_an_api_server_that_knows_better(
    env: &mut Env,
) -> Result<()> {
    env.start(Setup::default().certificate(Certificate::SelfSigned)).await?;
    env.create(env.pod("web")).await?;
    env.pod_ready("web").await?;
    let error = env.kubectl(&["logs", "web"]).await.err().context("a certificate that nobody signed is trusted")?;
    ensure!(error.to_string().contains("x509"), "{error}");
    Ok(())
}

pub(crate) async fn a_self_signed_certificate_serves_an_api_server_that_takes_any(env: &mut Env) -> Result<()> {
    env.start(Setup::default().certificate(Certificate::SelfSigned)).await?;
    env.create(env.pod("web").asks("log-lines", "1")).await?;
    env.pod_ready("web").await?;
    let printed = env.kubectl(&["logs", "web", "--tail=1"]).await?;
    ensure!(printed == "main: line 1\n", "{printed}");
    Ok(())
}
