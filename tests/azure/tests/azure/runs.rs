//! Containers that fail, are probed, and have files of a repository; clients that share quotas; sessions that go wrong.

use std::{path::Path, process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Options, Quotas, containers::streams::Trouble};

use crate::client::{Azure, container, group};

async fn log_of(azure: &Azure, name: &str) -> Value {
    let path = format!("{}/containers/app/logs", azure.group_path(name));
    azure.send(Method::GET, &path).await.body["content"].clone()
}

#[tokio::test]
async fn an_init_container_that_fails_keeps_the_others_from_starting() {
    let azure = Azure::start(Options::default()).await;
    let mut body = group("echo never");
    let mut init = container("init", "exit 7");
    init["properties"].as_object_mut().unwrap().remove("resources");
    body["properties"]["initContainers"] = json!([init]);
    azure.put("job", &body).await;
    let failed = azure.wait_for("job", |group| group.state == "Failed").await.unwrap();
    let state = |list: &str| &failed.body["properties"][list][0]["properties"]["instanceView"]["currentState"];
    assert_eq!((&state("initContainers")["exitCode"], &state("containers")["state"]), (&json!(7), &json!("Waiting")));
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_started_again() {
    let azure = Azure::start(Options::default()).await;
    let mut body = group("exec sleep 1000");
    body["properties"]["restartPolicy"] = json!("Always");
    body["properties"]["containers"][0]["properties"]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    azure.put("web", &body).await;
    let view = |body: &Value| body["properties"]["containers"][0]["properties"]["instanceView"].clone();
    azure
        .wait_for("web", |group| view(&group.body)["currentState"]["detailStatus"] == "CrashLoopBackOff")
        .await
        .unwrap();
    azure.advance(azure.options().delays.back_off);
    let again = azure.wait_for("web", |group| group.restarts >= 1).await.unwrap();
    let events = view(&again.body)["events"].clone();
    assert!(events.as_array().unwrap().iter().any(|event| event["name"] == "Killing"), "{events}");
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    let mut command = Command::new("git");
    assert!(command.current_dir(folder).args(identity).args(arguments).status().unwrap().success(), "{arguments:?}");
}

#[tokio::test]
async fn a_repository_is_cloned_into_its_volume() {
    let repository = tempfile::tempdir().unwrap();
    git(repository.path(), &["init", "--quiet"]);
    std::fs::write(repository.path().join("note"), "from the repository\n").unwrap();
    git(repository.path(), &["add", "note"]);
    git(repository.path(), &["commit", "--quiet", "--message", "note"]);
    let azure = Azure::start(Options::default()).await;
    let mut body = group("cat /code/note");
    let url = format!("file://{}", repository.path().display());
    body["properties"]["volumes"] = json!([{"name": "code", "gitRepo": {"repository": url, "directory": "."}}]);
    body["properties"]["containers"][0]["properties"]["volumeMounts"] = json!([{"name": "code", "mountPath": "/code"}]);
    azure.put("job", &body).await;
    azure.wait_for("job", |group| group.state == "Succeeded").await.unwrap();
    assert_eq!(log_of(&azure, "job").await, "from the repository\n");
}

#[tokio::test]
async fn clients_of_one_subscription_share_its_quotas() {
    let quotas = Quotas { five_minutes: 2, ..Quotas::default() };
    let mut azure = Azure::start(Options { quotas: Some(quotas), ..Options::default() }).await;
    let left = "x-ms-ratelimit-remaining-subscription-resource-requests-pt5m";
    let first = azure.put("a", &group("true")).await;
    assert_eq!((first.status, first.header(left)), (201, Some("1")));
    // Another token is another client's.
    let token = azure.token.clone();
    azure.log_in().await;
    assert_ne!(azure.token, token);
    let second = azure.put("b", &group("true")).await;
    assert_eq!((second.status, second.header(left)), (201, Some("0")));
    for token in [token, azure.token.clone()] {
        azure.token = token;
        let refused = azure.put("c", &group("true")).await;
        assert_eq!((refused.status, refused.code()), (429, "ResourceRequestsThrottled"));
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() <= 300);
    }
    azure.advance(Duration::from_secs(300));
    assert_eq!(azure.put("c", &group("true")).await.status, 201);
}

#[tokio::test]
async fn a_session_whose_trouble_was_asked_for_never_opens() {
    let azure = Azure::start(Options::default()).await;
    azure.put("web", &group("exec sleep 1000")).await;
    azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    let path = format!("{}/containers/app/exec", azure.group_path("web"));
    let open = async || {
        let exec = json!({"command": "/bin/sh", "terminalSize": {"rows": 24, "cols": 80}});
        let endpoint = azure.send_json(Method::POST, &path, &exec).await;
        assert_eq!(endpoint.status, 200, "{endpoint:?}");
        let url = endpoint.body["webSocketUri"].as_str().unwrap().replacen("wss", "https", 1);
        let request = azure.http.get(url).timeout(Duration::from_secs(5));
        let upgrade = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        upgrade.into_iter().fold(request, |request, (name, value)| request.header(name, value)).send().await
    };
    assert_eq!(open().await.unwrap().status(), 101);
    azure.set_trouble(Trouble { never_opens: true, ..Trouble::default() });
    assert!(open().await.unwrap_err().is_timeout());
    azure.set_trouble(Trouble::default());
    assert_eq!(open().await.unwrap().status(), 101);
}
