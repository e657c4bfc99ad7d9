//! Groups from their PUT to their end.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Delays, Group, Options, Registry, Share};

use crate::client::{Azure, container, group};

#[tokio::test]
async fn a_group_is_put_runs_is_listed_and_deleted() {
    let azure = Azure::start(Options::default()).await;
    let put = azure.put("web", &group("echo hello; exec sleep 1000")).await;
    assert_eq!(put.status, 201, "{put:?}");
    assert!(put.header("azure-asyncoperation").is_some());
    assert_eq!(put.body["properties"]["provisioningState"], "Pending");
    assert_eq!(put.body["properties"]["instanceView"], json!({"events": [], "state": "Pending"}));
    assert_eq!(put.body["properties"]["containers"][0]["properties"].get("instanceView"), None);

    let running = azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    assert!(running.ip.is_some());
    let got = azure.get_group("web").await;
    let view = &got.body["properties"]["containers"][0]["properties"]["instanceView"];
    assert_eq!(
        (got.status, &view["currentState"]["state"], &view["restartCount"]),
        (200, &json!("Running"), &json!(0))
    );
    let events: Vec<&Value> = view["events"].as_array().unwrap().iter().map(|event| &event["name"]).collect();
    assert_eq!(events, ["Pulling", "Pulled", "Started"]);

    let listed = azure.list().await;
    assert_eq!(listed.body["value"][0]["name"], "web");
    assert_eq!(listed.body["value"][0]["properties"].get("instanceView"), None);
    assert_eq!(listed.body["value"][0]["properties"]["containers"][0]["properties"].get("instanceView"), None);

    let deleted = azure.delete("web").await;
    assert_eq!((deleted.status, &deleted.body["name"]), (200, &json!("web")));
    assert_eq!((azure.get_group("web").await.status, azure.delete("web").await.status), (404, 204));
}

#[tokio::test]
async fn what_a_container_writes_is_its_log_and_its_exit_code_its_groups_end() {
    let azure = Azure::start(Options::default()).await;
    azure.put("job", &group("echo one; echo two; exit 2")).await;
    let ended = azure.wait_for("job", |group| group.state == "Failed").await.unwrap();
    assert_eq!(ended.provisioning_state, "Succeeded");
    let state = &ended.body["properties"]["containers"][0]["properties"]["instanceView"]["currentState"];
    assert_eq!(
        (&state["state"], &state["exitCode"], &state["detailStatus"]),
        (&json!("Terminated"), &json!(2), &json!("Error"))
    );

    let path = format!("{}/containers/app/logs", azure.group_path("job"));
    assert_eq!(azure.send(Method::GET, &path).await.body["content"], "one\ntwo\n");
    assert_eq!(azure.send(Method::GET, &format!("{path}?tail=1")).await.body["content"], "two\n");
    let stamped = azure.send(Method::GET, &format!("{path}?tail=1&timestamps=true")).await;
    let (time, line) = stamped.body["content"].as_str().unwrap().split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && line == "two\n", "{stamped:?}");
}

#[tokio::test]
async fn init_containers_run_first_one_by_one_and_share_volumes() {
    let azure = Azure::start(Options::default()).await;
    let mut body = group("cat /work/made");
    let mount = json!([{"name": "work", "mountPath": "/work"}]);
    let init = |name: &str, line: &str| {
        let mut init = container(name, line);
        init["properties"].as_object_mut().unwrap().remove("resources");
        init["properties"]["volumeMounts"] = mount.clone();
        init
    };
    body["properties"]["initContainers"] =
        json!([init("first", "echo first > /work/made"), init("second", "echo second >> /work/made")]);
    body["properties"]["containers"][0]["properties"]["volumeMounts"] = mount.clone();
    body["properties"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    azure.put("job", &body).await;
    azure.wait_for("job", |group| group.state == "Succeeded").await.unwrap();
    let path = format!("{}/containers/app/logs", azure.group_path("job"));
    assert_eq!(azure.send(Method::GET, &path).await.body["content"], "first\nsecond\n");
}

/// The instance view of a group's first container.
fn view(group: &Group) -> &Value {
    &group.body["properties"]["containers"][0]["properties"]["instanceView"]
}

fn names(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_container_that_ends_is_started_again_after_a_wait_as_its_policy_wants() {
    let delays = Delays { back_off: Duration::from_secs(600), ..Delays::default() };
    let azure = Azure::start(Options { delays, ..Options::default() }).await;
    for (policy, line) in [("Always", "exit 0"), ("OnFailure", "exit 3")] {
        let name = policy.to_lowercase();
        let mut body = group(line);
        body["properties"]["restartPolicy"] = json!(policy);
        azure.put(&name, &body).await;
        let waits = |group: &Group| view(group)["currentState"]["detailStatus"] == "CrashLoopBackOff";
        let ended = azure.wait_for(&name, waits).await.unwrap();
        assert_eq!((view(&ended)["restartCount"].as_u64(), ended.state.as_str()), (Some(0), "Running"));
        assert_eq!(view(&ended)["previousState"]["state"], "Terminated");
        azure.advance(Duration::from_secs(600));
        let again = azure.wait_for(&name, |group| group.restarts == 1 && waits(group)).await.unwrap();
        assert!(names(&view(&again)["events"]).contains(&"BackOff"), "{again:?}");
    }
    let mut done = group("exit 0");
    done["properties"]["restartPolicy"] = json!("OnFailure");
    azure.put("done", &done).await;
    azure.wait_for("done", |group| group.state == "Succeeded").await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_missing_keeps_its_container_waiting_until_the_group_fails() {
    let registry = Registry { server: "r.example".into(), username: "u".into(), password: "p".into() };
    let azure = Azure::start(Options { registries: vec![registry], ..Options::default() }).await;
    for (name, image) in [("a", "example/missing:1"), ("b", "r.example/app")] {
        let mut body = group("true");
        body["properties"]["containers"][0]["properties"]["image"] = json!(image);
        azure.put(name, &body).await;
        let stuck = azure
            .wait_for(name, |group| view(group)["currentState"]["detailStatus"] == "ImagePullBackOff")
            .await
            .unwrap();
        assert_eq!((stuck.provisioning_state.as_str(), stuck.state.as_str()), ("Creating", "Pending"));
        assert_eq!(names(&view(&stuck)["events"]), ["Pulling", "Failed", "BackOff"]);
    }
    azure.advance(azure.options().delays.give_up);
    for name in ["a", "b"] {
        azure.wait_for(name, |group| group.provisioning_state == "Failed").await.unwrap();
    }
    let mut body = group("true");
    body["properties"]["containers"][0]["properties"]["image"] = json!("r.example/app");
    body["properties"]["imageRegistryCredentials"] =
        json!([{"server": "https://r.example/v1/", "username": "u", "password": "p"}]);
    azure.put("c", &body).await;
    azure.wait_for("c", |group| group.state == "Succeeded").await.unwrap();
}

#[tokio::test]
async fn shares_are_mounted_for_whoever_has_the_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note"), "from the share\n").unwrap();
    let share =
        Share { account: "acc".into(), key: "a2V5".into(), name: "files".into(), folder: folder.path().to_owned() };
    let azure = Azure::start(Options { shares: vec![share], ..Options::default() }).await;
    let with_key = |key: &str| {
        let mut body = group("cat /share/note");
        body["properties"]["volumes"] = json!([{
            "name": "share",
            "azureFile": {"shareName": "files", "storageAccountName": "acc", "storageAccountKey": key},
        }]);
        body["properties"]["containers"][0]["properties"]["volumeMounts"] =
            json!([{"name": "share", "mountPath": "/share"}]);
        body
    };
    azure.put("good", &with_key("a2V5")).await;
    azure.wait_for("good", |group| group.state == "Succeeded").await.unwrap();
    let path = format!("{}/containers/app/logs", azure.group_path("good"));
    assert_eq!(azure.send(Method::GET, &path).await.body["content"], "from the share\n");

    azure.put("bad", &with_key("b3RoZXI=")).await;
    let failed = |group: &Group| group.body["properties"]["instanceView"]["events"][0]["name"] == "FailedMount";
    let bad = azure.wait_for("bad", failed).await.unwrap();
    assert_eq!(bad.state, "Pending");
}
