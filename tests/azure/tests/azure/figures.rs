//! What groups use, as Azure Monitor and the extension for realtime metrics tell it.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use vk_azure::{Group, Options};

use crate::client::{Azure, container, group};

const BUSY: &str = "while :; do :; done";

#[tokio::test]
async fn azure_monitor_tells_averages_by_the_minute_and_by_container() {
    let azure = Azure::start(Options::default()).await;
    let mut body = group(BUSY);
    body["properties"]["containers"] = json!([container("busy", BUSY), container("idle", "exec sleep 1000")]);
    azure.put("web", &body).await;
    let all_run = |group: &Group| {
        let containers = group.body["properties"]["containers"].as_array().unwrap();
        containers.iter().all(|one| one["properties"]["instanceView"]["currentState"]["state"] == "Running")
    };
    azure.wait_for("web", all_run).await.unwrap();
    let query = async |metrics: &str, filter: &str| {
        let (start, end) = (Timestamp::now() - Duration::from_secs(600), Timestamp::now() + Duration::from_secs(600));
        let path = format!(
            "{}/providers/microsoft.Insights/metrics?metricnames={metrics}&timespan={start}/{end}&interval=PT1M{filter}",
            azure.group_path("web")
        );
        azure.send(Method::GET, &path).await
    };
    // The first look is what the next ones are measured against.
    query("CpuUsage", "").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let figures = query("CpuUsage,MemoryUsage", "&$filter=containerName%20eq%20'*'").await;
    assert_eq!(figures.status, 200, "{figures:?}");
    let last = |metric: usize, name: &str| {
        let series = figures.body["value"][metric]["timeseries"].as_array().unwrap();
        let own = series.iter().find(|series| series["metadatavalues"][0]["value"] == name).unwrap();
        own["data"].as_array().unwrap().last().unwrap()["average"].as_f64().unwrap()
    };
    assert!(last(0, "busy") > last(0, "idle"), "{}", figures.body);
    assert!(last(1, "busy") > 0.0 && last(1, "idle") > 0.0, "{}", figures.body);
    assert_eq!(query("Happiness", "").await.status, 400);
}

#[tokio::test]
async fn realtime_figures_are_told_of_groups_with_the_extension() {
    let azure = Azure::start(Options::default()).await;
    azure.put("plain", &group(BUSY)).await;
    let mut body = group(BUSY);
    body["properties"]["extensions"] =
        json!([{"name": "realtime", "properties": {"extensionType": "realtime-metrics", "version": "1.0"}}]);
    azure.put("told", &body).await;
    let stats = async |name: &str| {
        let running = azure.wait_for(name, |group| group.state == "Running").await.unwrap();
        let url = azure.realtime_url_template().replace("{ip}", running.ip.as_deref().unwrap());
        azure.http.get(format!("{url}/v1/stats")).send().await.unwrap()
    };
    assert_eq!(stats("plain").await.status(), 404);
    let first: Value = stats("told").await.json().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second: Value = stats("told").await.json().await.unwrap();
    let used = |stats: &Value| stats["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap();
    assert!(used(&second) > used(&first), "{first} {second}");
    let names: Vec<&Value> = second["containers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["app", "aci-infrastructure"]);
}
