//! Who may do what.

use std::sync::atomic::Ordering;

use super::*;

const UPGRADES: [&str; 3] = [
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
     Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
     Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n",
];

#[tokio::test]
async fn a_request_is_denied_in_the_kubelets_words_after_each_subresource_was_asked_for() {
    let fixture = Fixture::new().await;
    for (method, path, verb, subresources) in [
        ("GET", "/pods", "get", "pods proxy"),
        ("GET", "/runningpods/", "get", "pods proxy"),
        ("GET", "/healthz/ping", "get", "healthz proxy"),
        ("GET", "/readyz", "get", "healthz proxy"),
        ("GET", "/configz", "get", "configz proxy"),
        ("GET", "/stats/summary", "get", "stats"),
        ("GET", "/metrics", "get", "metrics"),
        ("GET", "/metrics/resource", "get", "metrics"),
        ("GET", "/logs/kubelet.log", "get", "log"),
        ("GET", "/checkpoint/ns/p/c", "get", "checkpoint"),
        ("GET", "/containerLogs/ns/p/c", "get", "proxy"),
        ("POST", "/containerLogs/ns/p/c", "create", "proxy"),
        ("POST", "/pods", "create", "pods proxy"),
        ("GET", "/exec/ns/p/c", "create", "proxy"),
        ("POST", "/exec/ns/p/uid-p/c", "create", "proxy"),
        ("GET", "/attach/ns/p/c", "create", "proxy"),
        ("GET", "/portForward/ns/p", "create", "proxy"),
        ("GET", "/run/ns/p/c", "create", "proxy"),
        ("GET", "/debug/pprof", "get", "proxy"),
        ("GET", "/", "get", "proxy"),
    ] {
        // Another user each time: what was denied is remembered.
        let name = format!("{method}{}", path.replace('/', "."));
        let somebody = fixture.client(&name);
        let answer = fixture.ask(Some(&somebody), method, path, "").await;
        let text = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])\n");
        assert_eq!((answer.status, answer.body), (403, text), "{method} {path}");
        let wanted: Vec<String> = subresources.split(' ').map(|one| format!("{name} {verb} {one}")).collect();
        assert_eq!(fixture.reviews.asked(), wanted, "{method} {path}");
    }
}

#[tokio::test]
async fn the_first_subresource_that_is_allowed_is_enough() {
    let fixture = Fixture::with(Options { rules: &["fine get pods", "coarse get proxy"], ..Options::default() }).await;
    assert_eq!(fixture.ask(Some(&fixture.client("fine")), "GET", "/pods", "").await.status, 200);
    assert_eq!(fixture.reviews.asked(), ["fine get pods"]);
    assert_eq!(fixture.ask(Some(&fixture.client("coarse")), "GET", "/pods", "").await.status, 200);
    assert_eq!(fixture.reviews.asked(), ["coarse get pods", "coarse get proxy"]);
}

#[tokio::test]
async fn what_cannot_be_decided_is_denied_and_asked_again() {
    let fixture = Fixture::new().await;
    fixture.reviews.is_down.store(true, Ordering::SeqCst);
    for path in ["/healthz", "/pods", "/exec/ns/p/c"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.body.starts_with("Authorization error (user=admin, verb="), "{answer:?}");
        assert!(!answer.body.contains("refused"), "what went wrong inside is nobody's business: {answer:?}");
    }
    assert_eq!(fixture.metric(r#"vk_kubelet_authorizations_total{decision="failed"}"#), 3.0);
    fixture.reviews.is_down.store(false, Ordering::SeqCst);
    assert_eq!(fixture.get("/healthz").await.status, 200);
    // What was allowed before holds while the API server is away.
    fixture.reviews.is_down.store(true, Ordering::SeqCst);
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn who_may_only_get_the_proxy_gets_no_session_by_a_websocket() {
    let fixture = Fixture::with(Options { rules: &["reader get *"], ..Options::default() }).await;
    let reader = fixture.client("reader");
    for path in [
        "/exec/ns/p/c",
        "/exec/ns/p/uid-p/c",
        "/attach/ns/p/c",
        "/portForward/ns/p",
        "/portForward/ns/p/uid-p",
        "/run/ns/p/c",
    ] {
        for upgrade in UPGRADES {
            let path = format!("{path}?command=id&input=1&output=1&port=80");
            let mut connection = fixture.connect(Some(&reader)).await;
            connection.send(&format!("GET {path} HTTP/1.1\r\nHost: node\r\n{upgrade}\r\n")).await;
            let answer = connection.rest().await;
            assert_eq!(answer.status, 403, "{path}");
            assert!(answer.closes() && answer.body.contains("verb=create"), "{answer:?}");
        }
    }
    assert!(fixture.provider.opened.lock().unwrap().is_empty());
}
