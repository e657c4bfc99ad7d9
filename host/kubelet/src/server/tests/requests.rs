//! What is answered to those who may ask.

use k8s_openapi::{List, api::core::v1::Pod};
use serde_json::json;

use super::*;
use crate::Pods as _;

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways_are_refused_before_anybody_is_asked() {
    let fixture = Fixture::new().await;
    for path in [
        "//exec/ns/p/c",
        "/exec//ns/p/c",
        "/stats/../exec/ns/p/c",
        "/exec/ns/p/c/",
        "/pods/",
        "/./exec/ns/p/c",
        "/%2e%2e/exec/ns/p/c",
        "/exec%2Fns/p/c",
        "/exec/ns/p%2fc",
        "/exec/ns/p/c%00",
        "/exec/ns/p;a=b/c",
        "/containerLogs/ns/p/..%2f..%2fetc%2fpasswd",
        "/containerLogs/ns/../../etc/passwd",
        "/pods%20",
        "http://node/pods",
        "/metrics/..",
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(fixture.reviews.asked(), [""; 0], "{path}");
    }
    for path in ["/Exec/ns/p/c", "/EXEC/ns/p/c", "/exec", "/exec/ns/p", "/run/ns/p/c", "/logs/x", "/debug/pprof", "/"] {
        assert_eq!(fixture.get(path).await.status, 404, "{path}");
    }
    for path in ["/exec/NS/p/c", "/exec/ns/p_q/c", "/containerLogs/ns/p/C", "/portForward/ns/-p"] {
        assert_eq!(fixture.get(path).await.status, 400, "{path}");
    }
    assert!(fixture.provider.opened.lock().unwrap().is_empty() && fixture.provider.queries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_the_methods_that_a_path_has_are_taken() {
    let fixture = Fixture::new().await;
    let admin = fixture.client(ADMIN);
    for method in ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "EXEC"] {
        for path in ["/pods", "/exec/ns/p/c"] {
            let answer = fixture.ask(Some(&admin), method, path, "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("\r\nallow: get, post"), "{answer:?}");
        }
    }
    for path in ["/pods", "/healthz", "/metrics", "/metrics/resource", "/stats/summary", "/containerLogs/ns/p/c"] {
        let answer = fixture.ask(Some(&admin), "POST", path, "Content-Length: 0\r\n").await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.head.contains("\r\nallow: get\r\n"), "{answer:?}");
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let answer = fixture.ask(Some(&admin), "GET", "/pods", &format!("{name}: POST\r\n")).await;
        assert_eq!(answer.status, 405, "{name}");
    }
}

#[tokio::test]
async fn a_body_is_refused_and_not_taken_for_a_request() {
    let fixture = Fixture::new().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";
    let length = smuggled.len();
    for head in [
        format!("POST /exec/ns/p/c HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n\r\n"),
        format!("GET /pods HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n\r\n"),
        format!("GET /pods HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
    ] {
        let mut connection = fixture.connect(Some(&fixture.client(ADMIN))).await;
        connection.send(&format!("{head}{smuggled}")).await;
        let answer = connection.rest().await;
        assert_eq!((answer.status, answer.rest.as_str()), (413, ""), "{head}");
    }
}

#[tokio::test]
async fn after_a_failed_upgrade_nothing_more_is_served() {
    let fixture = Fixture::new().await;
    for (path, upgrade, status) in [
        ("/exec/ns/absent/c?command=id&output=1", "SPDY/3.1", 404),
        ("/exec/ns/p/c?command=id&output=1", "nonsense", 400),
        ("/exec/ns/p/c?command=id&output=1", "SPDY/3.1", 400),
        ("/attach/ns/p/c", "websocket", 400),
        ("/portForward/ns/p", "SPDY/3.1", 400),
        ("/exec/ns//p", "SPDY/3.1", 400),
        ("/nowhere", "websocket", 404),
        ("/healthz", "h2c", 200),
    ] {
        let mut connection = fixture.connect(Some(&fixture.client(ADMIN))).await;
        connection
            .send(&format!(
                "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n\
                 GET /pods HTTP/1.1\r\nHost: node\r\n\r\n"
            ))
            .await;
        let answer = connection.rest().await;
        assert_eq!((answer.status, answer.rest.as_str()), (status, ""), "{path} {upgrade}: {answer:?}");
        assert!(answer.closes(), "{answer:?}");
    }
    assert_eq!(fixture.metric(r#"vk_kubelet_requests_total{route="pods",code="200"}"#), 0.0);
}

#[tokio::test]
async fn health_and_readiness() {
    let fixture = Fixture::new().await;
    for path in ["/healthz", "/healthz/ping", "/healthz/syncloop", "/healthz/log", "/readyz"] {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{path}");
    }
    fixture.ready.send(false).unwrap();
    assert_eq!(fixture.get("/readyz").await.status, 503);
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn pods_are_listed_as_they_are_and_running_ones_without_their_settings() {
    let fixture = Fixture::new().await;
    let listed = async |path| {
        let answer = fixture.get(path).await;
        assert!(answer.head.contains("\r\ncontent-type: application/json"), "{answer:?}");
        serde_json::from_str::<List<Pod>>(&answer.body).unwrap().items
    };
    let names = |pods: &[Pod]| -> Vec<String> { pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect() };
    fixture.pods.0.lock().unwrap().extend([
        pod("waiting", json!({ "state": { "waiting": { "reason": "ContainerCreating" } } })),
        pod("ended", json!({ "state": { "terminated": { "exitCode": 0 } } })),
    ]);

    let all = listed("/pods").await;
    assert_eq!(names(&all), ["p", "waiting", "ended"]);
    assert_eq!(all[0], *fixture.pods.find("ns", "p").unwrap().object);

    let running = listed("/runningpods/").await;
    assert_eq!(names(&running), ["p"]);
    let container = &running[0].spec.as_ref().unwrap().containers[0];
    assert_eq!((container.name.as_str(), container.env.as_ref()), ("c", None));

    fixture.pods.0.lock().unwrap().clear();
    assert!(listed("/pods").await.is_empty());
}

#[tokio::test]
async fn the_processs_metrics_are_openmetrics() {
    let fixture = Fixture::new().await;
    let answer = fixture.get("/metrics").await;
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{answer:?}");
    assert!(answer.body.contains("vk_kubelet_connections 1\n") && answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let probes = fixture.get("/metrics/probes").await;
    assert_eq!((probes.status, probes.body.as_str()), (200, ""));
}

#[tokio::test]
async fn usage_is_served_in_each_of_its_forms() {
    let fixture = Fixture::new().await;
    let summary = fixture.get("/stats/summary?only_cpu_and_memory=true").await;
    assert!(summary.head.contains("\r\ncontent-type: application/json"), "{summary:?}");
    let summary: serde_json::Value = serde_json::from_str(&summary.body).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node");
    for path in ["/metrics/resource", "/metrics/cadvisor"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{answer:?}");
        assert_eq!(answer.body.contains("resource_scrape_error 0"), path == "/metrics/resource", "{answer:?}");
    }
}

#[tokio::test]
async fn one_user_has_only_so_many_requests_at_once() {
    let limits = Limits { requests_per_user: 1, ..Limits::default() };
    let fixture = Fixture::with(Options { limits, rules: &["* * *"], ..Options::default() }).await;
    // More than all the buffers on the way take in.
    let mut large = pod("large", json!({}));
    Arc::make_mut(&mut large.object).metadata.annotations = Some([("a".into(), "x".repeat(1 << 20))].into());
    fixture.pods.0.lock().unwrap().extend(std::iter::repeat_n(large, 64));
    let mut slow = fixture.connect(Some(&fixture.client(ADMIN))).await;
    slow.send("GET /pods HTTP/1.1\r\nHost: node\r\n\r\n").await;
    slow.0.read_u8().await.unwrap();
    let answer = fixture.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (429, "too many requests of one user at once\n"));
    let other = fixture.client("other");
    assert_eq!(fixture.ask(Some(&other), "GET", "/healthz", "").await.status, 200);

    drop(slow);
    fixture.settles("vk_kubelet_connections", 0.0).await;
    for _ in 0..2 {
        assert_eq!(fixture.get("/healthz").await.status, 200);
        fixture.settles("vk_kubelet_connections", 0.0).await;
    }
}
