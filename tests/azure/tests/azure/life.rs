//! Groups from their PUT to their end.

use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::Options;

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
