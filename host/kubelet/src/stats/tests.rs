//! What a provider that the tests play says, as it is rendered.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Notify;
use vk_provider::{ContainerUsage, NetworkUsage, PodId, PodUsage, STATS_BATCH, Usage};

use super::*;
use crate::NodePod;

type Answer = Box<dyn Fn(&[PodId]) -> Result<Vec<PodUsage>, Error> + Send + Sync>;

struct Provider {
    answer: Answer,
    calls: AtomicUsize,
    /// If set, calls wait for it.
    gate: Option<Notify>,
}

#[async_trait]
impl Stats for Provider {
    async fn read(&self, pods: &[PodId]) -> Result<Vec<PodUsage>, Error> {
        assert!(pods.len() <= STATS_BATCH);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        (self.answer)(pods)
    }
}

#[derive(Default)]
struct Pods(StdMutex<Vec<NodePod>>);

impl crate::Pods for Pods {
    fn find(&self, _namespace: &str, _name: &str) -> Option<NodePod> {
        None
    }

    fn all(&self) -> Vec<NodePod> {
        self.0.lock().unwrap().clone()
    }
}

struct Fixture {
    provider: Arc<Provider>,
    pods: Arc<Pods>,
    collector: Collector,
}

fn fixture(
    pods: Vec<NodePod>,
    gate: Option<Notify>,
    answer: impl Fn(&[PodId]) -> Result<Vec<PodUsage>, Error> + Send + Sync + 'static,
) -> Fixture {
    let provider = Arc::new(Provider { answer: Box::new(answer), calls: AtomicUsize::new(0), gate });
    let pods = Arc::new(Pods(StdMutex::new(pods)));
    let node = Node { name: "vk".into(), started_at: at(1_000_000), memory: Box::new(|| Some(1000)) };
    let stats: Arc<dyn Stats> = provider.clone();
    let collector = Collector::new(stats, pods.clone(), node);
    Fixture { provider, pods, collector }
}

fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn pod(name: &str, phase: &str) -> NodePod {
    let id = PodId { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}"), handle: None };
    let object = json!({
        "metadata": { "name": name, "namespace": "default", "uid": id.uid },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }, { "name": "side", "image": "side:2" }] },
        "status": { "phase": phase, "startTime": "1970-01-01T00:00:07Z" },
    });
    NodePod { id, object: Arc::new(serde_json::from_value(object).unwrap()) }
}

fn container(name: &str, cpu: u64, memory: u64) -> ContainerUsage {
    let usage = Usage {
        at: at(1_633_253_812_125),
        cpu_nano_cores: None,
        cpu_core_nano_seconds: Some(cpu),
        memory_working_set_bytes: Some(memory),
        memory_usage_bytes: None,
        memory_rss_bytes: None,
    };
    ContainerUsage { name: name.into(), started_at: Some(at(5_500)), usage }
}

fn usage(pod: &PodId, containers: Vec<ContainerUsage>) -> PodUsage {
    let network = NetworkUsage { at: at(1_633_253_812_125), received_bytes: 11, sent_bytes: 22 };
    PodUsage { pod: pod.clone(), started_at: None, containers, network: Some(network) }
}

/// Two containers for each pod.
fn two(pods: &[PodId]) -> Result<Vec<PodUsage>, Error> {
    let containers = || vec![container("side", 500_000_000, 40), container("app", 4_710_169_000, 60)];
    Ok(pods.iter().map(|pod| usage(pod, containers())).collect())
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "away")
}

/// A line: its value and its time.
type Line = (f64, Option<u64>);

/// Reads the text format, strictly: each family in one piece, with help and type before its samples, no sample twice.
fn parse(text: &str) -> BTreeMap<String, Line> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), HashSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, text) = help.strip_prefix("# HELP ").expect(help).split_once(' ').expect(help);
        assert!(!text.is_empty() && families.insert(name.to_owned()), "{name}");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).expect(name);
        assert!(
            ["counter", "gauge"].contains(&kind) && (kind == "counter") == name.ends_with("_total"),
            "{name} {kind}"
        );
        let before = samples.len();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).expect(line);
            let (labels, numbers) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ").expect(line),
                None => ("", rest.strip_prefix(' ').expect(line)),
            };
            let mut numbers = numbers.split(' ');
            let value: f64 = numbers.next().unwrap().parse().expect(line);
            let at = numbers.next().map(|at| at.parse::<u64>().expect(line));
            assert!(numbers.next().is_none() && value.is_finite(), "{line}");
            assert!(samples.insert(format!("{name}{{{labels}}}"), (value, at)).is_none(), "{line} twice");
        }
        assert!(samples.len() > before, "{name} has no samples");
    }
    samples
}

#[tokio::test(start_paused = true)]
async fn resource_metrics_are_written_as_a_kubelet_writes_them() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, two);
    let expected = "\
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 5.210169 1633253812125
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 100 1633253812125
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"app\",namespace=\"default\",pod=\"web\"} 4.710169 1633253812125
container_cpu_usage_seconds_total{container=\"side\",namespace=\"default\",pod=\"web\"} 0.5 1633253812125
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container=\"app\",namespace=\"default\",pod=\"web\"} 60 1633253812125
container_memory_working_set_bytes{container=\"side\",namespace=\"default\",pod=\"web\"} 40 1633253812125
# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container=\"app\",namespace=\"default\",pod=\"web\"} 5.5
container_start_time_seconds{container=\"side\",namespace=\"default\",pod=\"web\"} 5.5
# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"web\"} 5.210169 1633253812125
# HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 100 1633253812125
# HELP scrape_error [ALPHA] (Deprecated since 1.29.0) 1 if there was an error while getting container metrics, 0 otherwise
# TYPE scrape_error gauge
scrape_error 0
# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
";
    let text = collector.resource_metrics().await.unwrap();
    assert_eq!(text, expected);
    parse(&text);
}

#[tokio::test(start_paused = true)]
async fn what_is_zero_is_written_as_the_least_there_is_and_what_is_unknown_is_left_out() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, |pods| {
        let mut unknown = container("side", 0, 0);
        (unknown.usage.cpu_core_nano_seconds, unknown.usage.memory_working_set_bytes) = (None, None);
        Ok(vec![usage(&pods[0], vec![container("app", 0, 0), unknown])])
    });
    let text = collector.resource_metrics().await.unwrap();
    let samples = parse(&text);
    let app = r#"{container="app",namespace="default",pod="web"}"#;
    assert_eq!(samples[&format!("container_cpu_usage_seconds_total{app}")].0, 1e-9);
    assert_eq!(samples[&format!("container_memory_working_set_bytes{app}")].0, 1.0);
    assert_eq!(samples["node_cpu_usage_seconds_total{}"].0, 1e-9);
    assert_eq!(samples["node_memory_working_set_bytes{}"].0, 1.0);
    assert!(!samples.keys().any(|key| key.contains("side") && !key.starts_with("container_start_time")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_pods_that_run_is_still_a_node() {
    let pods = vec![pod("done", "Succeeded"), pod("waits", "Pending")];
    let Fixture { collector, .. } = fixture(pods, None, two);
    let samples = parse(&collector.resource_metrics().await.unwrap());
    assert_eq!(samples["node_cpu_usage_seconds_total{}"].0, 1e-9);
    assert_eq!(samples["resource_scrape_error{}"].0, 0.0);
    assert!(!samples.keys().any(|key| key.starts_with("pod_")));
}

#[tokio::test(start_paused = true)]
async fn pods_are_read_in_batches_and_one_that_fails_leaves_the_others() {
    let pods = (0..250).map(|n| pod(&format!("p{n:03}"), "Running")).collect();
    let Fixture { provider, collector, .. } =
        fixture(
            pods,
            None,
            |pods| {
                if pods.iter().any(|pod| pod.name == "p150") { Err(unavailable()) } else { two(pods) }
            },
        );
    let samples = parse(&collector.resource_metrics().await.unwrap());
    assert_eq!(provider.calls.load(Ordering::Relaxed), 3);
    assert_eq!(samples["resource_scrape_error{}"].0, 1.0);
    assert_eq!(samples["scrape_error{}"].0, 1.0);
    let read = samples.keys().filter(|key| key.starts_with("pod_cpu")).count();
    assert_eq!(read, 150);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_takes_too_long_is_not_waited_for() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], Some(Notify::new()), two);
    let began = Instant::now();
    assert_eq!(collector.summary(false).await.err().unwrap().kind, ErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_could_be_read_only_the_scrape_error_is_written() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, |_| Err(unavailable()));
    let samples = parse(&collector.resource_metrics().await.unwrap());
    let expected = [("resource_scrape_error{}".to_owned(), (1.0, None)), ("scrape_error{}".to_owned(), (1.0, None))];
    assert_eq!(samples, BTreeMap::from(expected));
    assert_eq!(collector.summary(false).await, Err(unavailable()));
    assert_eq!(collector.cadvisor_metrics().await, Err(unavailable()));
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_stats_is_an_error_of_every_route_even_without_pods() {
    for pods in [vec![], vec![pod("web", "Running")]] {
        let unsupported = || Error::new(ErrorKind::Unsupported, "no stats");
        let Fixture { collector, .. } = fixture(pods, None, move |_| Err(unsupported()));
        assert_eq!(collector.resource_metrics().await, Err(unsupported()));
        assert_eq!(collector.summary(true).await, Err(unsupported()));
        assert_eq!(collector.cadvisor_metrics().await, Err(unsupported()));
    }
}

#[tokio::test(start_paused = true)]
async fn scrapers_share_a_snapshot_for_a_moment() {
    let gate = Some(Notify::new());
    let Fixture { provider, collector, .. } = fixture(vec![pod("web", "Running")], gate, two);
    let open = async { provider.gate.as_ref().unwrap().notify_one() };
    let (a, b, c, ()) =
        tokio::join!(collector.resource_metrics(), collector.summary(false), collector.cadvisor_metrics(), open);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(provider.calls.load(Ordering::Relaxed), 1);
    tokio::time::advance(FRESH).await;
    provider.gate.as_ref().unwrap().notify_one();
    collector.resource_metrics().await.unwrap();
    assert_eq!(provider.calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_scraper_that_gives_up_does_not_hold_up_the_next() {
    let Fixture { provider, collector, .. } = fixture(vec![pod("web", "Running")], Some(Notify::new()), two);
    assert!(tokio::time::timeout(Duration::from_secs(1), collector.summary(false)).await.is_err());
    provider.gate.as_ref().unwrap().notify_one();
    collector.summary(false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_nodes_counter_and_time_do_not_fall_when_a_pod_goes() {
    let Fixture { pods, collector, .. } = fixture(vec![pod("a", "Running"), pod("b", "Running")], None, two);
    let before = parse(&collector.resource_metrics().await.unwrap())["node_cpu_usage_seconds_total{}"];
    pods.0.lock().unwrap().clear();
    tokio::time::advance(FRESH).await;
    let after = parse(&collector.resource_metrics().await.unwrap())["node_cpu_usage_seconds_total{}"];
    assert_eq!(after.0, before.0);
    assert!(after.1 > before.1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_far_ahead_does_not_carry_the_nodes_away() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, |pods| {
        let mut ahead = container("app", 1, 1);
        ahead.usage.at = at(u64::MAX / 4);
        Ok(vec![usage(&pods[0], vec![ahead])])
    });
    let samples = parse(&collector.resource_metrics().await.unwrap());
    let now = exposition::milliseconds(SystemTime::now());
    assert!(samples["node_cpu_usage_seconds_total{}"].1.unwrap() <= now);
    // The container's own is what the provider said.
    let key = r#"container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"}"#;
    assert_eq!(samples[key].1, Some(u64::MAX / 4));
    collector.summary(false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_is_dropped() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running"), pod("done", "Failed")], None, |pods| {
        let foreign = PodId { uid: "uid-done".into(), ..pods[0].clone() };
        let liar = PodId { name: "kube-apiserver".into(), namespace: "kube-system".into(), ..pods[0].clone() };
        let containers = vec![container("app", 1, 1), container("app", 2, 2), container("intruder", 3, 3)];
        Ok(vec![usage(&liar, containers.clone()), usage(&foreign, containers)])
    });
    let samples = parse(&collector.resource_metrics().await.unwrap());
    let containers: Vec<_> = samples.keys().filter(|key| key.starts_with("container_cpu")).collect();
    assert_eq!(containers, [r#"container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"}"#]);
    let key = r#"pod_memory_working_set_bytes{namespace="default",pod="web"}"#;
    assert_eq!(samples[key].0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn absurd_numbers_are_written_as_they_are() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, |pods| {
        Ok(vec![usage(&pods[0], vec![container("app", u64::MAX, u64::MAX), container("side", u64::MAX, u64::MAX)])])
    });
    let samples = parse(&collector.resource_metrics().await.unwrap());
    let key = r#"container_memory_working_set_bytes{container="app",namespace="default",pod="web"}"#;
    assert_eq!(samples[key].0, u64::MAX as f64);
    let summary: Value = serde_json::from_slice(&collector.summary(false).await.unwrap()).unwrap();
    assert_eq!(summary["node"]["memory"]["workingSetBytes"], u64::MAX);
    assert_eq!(summary["node"]["memory"]["availableBytes"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_summary_has_node_and_pods() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, |pods| {
        let mut app = container("app", 3_000_000_000, 60);
        app.usage.cpu_nano_cores = Some(250_000_000);
        (app.usage.memory_usage_bytes, app.usage.memory_rss_bytes) = (Some(80), Some(50));
        Ok(vec![usage(&pods[0], vec![app])])
    });
    let time = "2021-10-03T09:36:52Z";
    let cpu = json!({ "time": time, "usageNanoCores": 250_000_000, "usageCoreNanoSeconds": 3_000_000_000_u64 });
    let memory = json!({ "time": time, "usageBytes": 80, "workingSetBytes": 60, "rssBytes": 50 });
    let of_node = json!({
        "time": time, "availableBytes": 940, "usageBytes": 80, "workingSetBytes": 60, "rssBytes": 50,
    });
    let mut expected = json!({
        "node": { "nodeName": "vk", "startTime": "1970-01-01T00:16:40Z", "cpu": cpu, "memory": of_node },
        "pods": [{
            "podRef": { "name": "web", "namespace": "default", "uid": "uid-web" },
            "startTime": "1970-01-01T00:00:07Z",
            "containers": [{ "name": "app", "startTime": "1970-01-01T00:00:05Z", "cpu": cpu, "memory": memory }],
            "cpu": cpu,
            "memory": memory,
        }],
    });
    let only: Value = serde_json::from_slice(&collector.summary(true).await.unwrap()).unwrap();
    assert_eq!(only, expected);
    expected["pods"][0]["network"] = json!({
        "time": time, "name": "eth0", "rxBytes": 11, "txBytes": 22,
        "interfaces": [{ "name": "eth0", "rxBytes": 11, "txBytes": 22 }],
    });
    let all: Value = serde_json::from_slice(&collector.summary(false).await.unwrap()).unwrap();
    assert_eq!(all, expected);
}

#[tokio::test(start_paused = true)]
async fn cadvisor_metrics_carry_images_and_networks() {
    let Fixture { collector, .. } = fixture(vec![pod("web", "Running")], None, two);
    let samples = parse(&collector.cadvisor_metrics().await.unwrap());
    let app = r#"{container="app",id="/poduid-web/app",image="app:1",name="app",namespace="default",pod="web"}"#;
    let cpu = app.replace(",id=", ",cpu=\"total\",id=");
    assert_eq!(samples[&format!("container_cpu_usage_seconds_total{cpu}")], (4.710_169, Some(1_633_253_812_125)));
    assert_eq!(samples[&format!("container_memory_working_set_bytes{app}")].0, 60.0);
    let network = r#"{container="",id="/poduid-web",image="",interface="eth0",name="",namespace="default",pod="web"}"#;
    assert_eq!(samples[&format!("container_network_receive_bytes_total{network}")].0, 11.0);
    assert_eq!(samples[&format!("container_network_transmit_bytes_total{network}")].0, 22.0);
}

#[test]
fn labels_are_escaped() {
    let mut text = exposition::Exposition::default();
    let labels = [("image", "a\\b\"c\nd")];
    text.family("n", "gauge", "h").sample(&exposition::Sample { labels: &labels, value: 1.5, at: None });
    assert_eq!(text.into_text(), "# HELP n h\n# TYPE n gauge\nn{image=\"a\\\\b\\\"c\\nd\"} 1.5\n");
}

#[tokio::test(start_paused = true)]
async fn pods_that_could_not_be_read_at_first_do_not_make_the_node_leap() {
    let names = (0..STATS_BATCH + 1).map(|number| pod(&format!("web-{number}"), "Running")).collect();
    let fails = std::sync::atomic::AtomicBool::new(true);
    let Fixture { collector, .. } = fixture(names, None, move |pods| {
        if pods.len() == 1 && fails.swap(false, Ordering::Relaxed) { Err(unavailable()) } else { two(pods) }
    });
    let node = async || parse(&collector.resource_metrics().await.unwrap())["node_cpu_usage_seconds_total{}"].0;
    let first = node().await;
    tokio::time::sleep(FRESH).await;
    assert_eq!(node().await, first);
}
