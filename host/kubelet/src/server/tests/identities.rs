//! Who gets in.

use std::sync::atomic::Ordering;

use super::*;
use crate::fakes::{Logged, Purpose, user};

const TOKEN: &str = "Authorization: Bearer good\r\n";

#[tokio::test]
async fn nobody_gets_in_without_credentials_wherever_they_knock() {
    let fixture = Fixture::with(Options { rules: &["* * *"], ..Options::default() }).await;
    for path in ROUTES.into_iter().chain(["/nowhere", "//exec", "/%2e%2e/exec"]) {
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            let upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
            for headers in ["", upgrade] {
                let answer = fixture.ask(None, method, path, headers).await;
                assert_eq!(answer.status, 401, "{method} {path}");
                assert!(answer.closes() && (method == "HEAD" || answer.body == "Unauthorized\n"), "{answer:?}");
            }
        }
    }
    assert!(fixture.reviews.asked().is_empty());
    assert_eq!(fixture.metric(r#"vk_kubelet_requests_total{route="pods",code="401"}"#), 8.0);
}

#[tokio::test]
async fn only_a_valid_client_certificate_of_the_ca_says_who_somebody_is() {
    let fixture = Fixture::with(Options { rules: &["* * *"], ..Options::default() }).await;
    let (own, other) = (&fixture.client_authority, Authority::new("others"));
    for (what, identity, status) in [
        ("valid", own.client("alice", &["team"]), 200),
        ("another CA", other.client("alice", &[]), 401),
        ("expired", own.identity(Purpose::ExpiredClient, "alice", &[]), 401),
        ("not yet valid", own.identity(Purpose::FutureClient, "alice", &[]), 401),
        ("for servers", own.identity(Purpose::Server, "alice", &[]), 401),
        ("for nothing in particular", own.identity(Purpose::Unsaid, "alice", &[]), 401),
        ("without a name", own.client("", &["system:masters"]), 401),
    ] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut connection = fixture.try_connect(Some(&identity), &[version], &[]).await.unwrap();
            connection.send("GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await;
            assert_eq!(connection.rest().await.status, status, "{what}");
        }
        // The certificate does not stand in the way of a token.
        fixture.reviews.tokens.lock().unwrap().insert("good".into(), user("bob"));
        assert_eq!(fixture.ask(Some(&identity), "GET", "/healthz", TOKEN).await.status, 200, "{what}");
    }
    let asked = fixture.reviews.asked.lock().unwrap();
    let alice = asked.iter().find(|access| access.user.name == "alice").unwrap();
    assert_eq!(alice.user.groups, ["team", "system:authenticated"]);
}

#[tokio::test]
async fn a_replaced_ca_counts_at_once_on_connections_that_stand() {
    let fixture = Fixture::new().await;
    let admin = fixture.client(ADMIN);
    let mut connection = fixture.connect(Some(&admin)).await;
    connection.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(connection.answer().await.status, 200);

    let next = Authority::new("next");
    fixture.client_ca.replace(next.as_client_ca());
    connection.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(connection.rest().await.status, 401);
    let known = next.client(ADMIN, &[]);
    assert_eq!(fixture.ask(Some(&known), "GET", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_token_is_reviewed_once_for_a_while_whether_it_is_known_or_not() {
    let fixture = Fixture::with(Options { rules: &["bob * *"], ..Options::default() }).await;
    fixture.reviews.tokens.lock().unwrap().insert("good".into(), user("bob"));
    for (header, status, reviewed) in [
        (TOKEN, 200, 1),
        (TOKEN, 200, 1),
        ("Authorization: bearer  good \r\n", 200, 1),
        ("Authorization: Bearer bad\r\n", 401, 2),
        ("Authorization: Bearer bad\r\n", 401, 2),
        ("Authorization: Bearer\r\n", 401, 2),
        ("Authorization: Bearer \r\n", 401, 2),
        ("Authorization: Bearer two words\r\n", 401, 2),
        ("Authorization: Basic good\r\n", 401, 2),
        ("Authorization: good\r\n", 401, 2),
        ("X-Remote-User: admin\r\nImpersonate-User: admin\r\n", 401, 2),
    ] {
        assert_eq!(fixture.ask(None, "GET", "/healthz", header).await.status, status, "{header}");
        assert_eq!(*fixture.reviews.tokens_asked.lock().unwrap(), reviewed, "{header}");
    }
    assert_eq!(fixture.metric(r#"vk_kubelet_authentications_total{outcome="token"}"#), 3.0);
    assert_eq!(fixture.metric(r#"vk_kubelet_authentications_total{outcome="refused"}"#), 8.0);
}

#[tokio::test]
async fn while_the_api_server_is_away_no_new_token_gets_in() {
    let fixture = Fixture::with(Options { rules: &["* * *"], ..Options::default() }).await;
    fixture.reviews.tokens.lock().unwrap().insert("good".into(), user("bob"));
    fixture.reviews.is_down.store(true, Ordering::SeqCst);
    assert_eq!(fixture.ask(None, "GET", "/healthz", TOKEN).await.status, 401);
    assert_eq!(fixture.metric(r#"vk_kubelet_authentications_total{outcome="failed"}"#), 1.0);
    // What could not be decided is not remembered.
    fixture.reviews.is_down.store(false, Ordering::SeqCst);
    assert_eq!(fixture.ask(None, "GET", "/healthz", TOKEN).await.status, 200);
}

#[tokio::test]
async fn the_anonymous_are_let_in_only_if_wanted_and_then_have_rights_like_others() {
    let options = Options { anonymous: true, rules: &["system:anonymous get healthz"], ..Options::default() };
    let fixture = Fixture::with(options).await;
    assert_eq!(fixture.ask(None, "GET", "/healthz", "").await.status, 200);
    let asked = fixture.reviews.asked.lock().unwrap().clone();
    assert_eq!(asked[0].user.groups, ["system:unauthenticated"]);
    assert_eq!(fixture.ask(None, "GET", "/pods", "").await.status, 403);
    // Bad credentials are not none.
    let stranger = Authority::new("others").client("alice", &[]);
    assert_eq!(fixture.ask(Some(&stranger), "GET", "/healthz", "").await.status, 401);
    assert_eq!(fixture.ask(None, "GET", "/healthz", "Authorization: Bearer bad\r\n").await.status, 401);
    assert_eq!(fixture.ask(None, "GET", "/healthz", "Authorization: Basic x\r\n").await.status, 401);
}

#[tokio::test]
async fn no_token_is_ever_logged() {
    let logged = Logged::default();
    let _here = tracing::subscriber::set_default(logged.clone());
    let fixture = Fixture::with(Options { rules: &["bob get healthz"], ..Options::default() }).await;
    fixture.reviews.tokens.lock().unwrap().insert("very-secret".into(), user("bob"));
    let token = "Authorization: Bearer very-secret\r\n";
    assert_eq!(fixture.ask(None, "GET", "/healthz", token).await.status, 200);
    assert_eq!(fixture.ask(None, "GET", "/pods", token).await.status, 403);
    fixture.reviews.tokens.lock().unwrap().clear();
    fixture.reviews.is_down.store(true, Ordering::SeqCst);
    let other = "Authorization: Bearer very-secret-too\r\n";
    assert_eq!(fixture.ask(None, "GET", "/healthz", other).await.status, 401);
    let logged = logged.text();
    assert!(logged.contains("a request was denied") && logged.contains("could not be reviewed"), "{logged}");
    assert!(!logged.contains("very-secret"), "{logged}");
}
