use serde_json::{Value, json};
use vk_sdk::{
    ErrorKind,
    status::timestamp,
    testing::{self, Request, Response, now},
};

use super::{monitor::Counter, realtime::Sample, *};
use crate::{
    arm::{Arm, Metrics, Point},
    identity,
    pods::Pods,
    settings::{Settings, testing::principal},
};

fn aci(realtime: bool, monitor: bool) -> Aci {
    let settings = Settings { realtime_metrics: realtime, monitor_metrics: monitor, ..principal() };
    Aci { pods: Pods { arm: Arm::new(&settings), owner: settings.owner.clone() }, settings }
}

fn pod(uid: &str) -> PodId {
    PodId { namespace: "d".into(), name: "p".into(), uid: uid.into(), handle: None }
}

fn group(uid: &str, has_extension: bool) -> Value {
    let running = json!({"currentState": {"state": "Running", "startTime": "2023-05-01T16:57:05Z"}});
    let extension = json!([{"name": "x", "properties": {"extensionType": "realtime-metrics"}}]);
    json!({
        "tags": {identity::OWNER: "own", "UID": uid, "Namespace": "d", "PodName": "p"},
        "properties": {
            "containers": [{"name": "a", "properties": {"instanceView": running}}],
            "ipAddress": {"ip": format!("10.0.0.{uid}")},
            "extensions": if has_extension { extension } else { Value::Null },
        },
    })
}

fn figures(at: u64, counter: u64) -> Value {
    let memory = json!({"usageBytes": 30, "workingSetBytes": 20, "rssBytes": 10});
    let container = |name: &str| json!({"name": name, "cpu": {"usageCoreNanoSeconds": counter}, "memory": memory});
    json!({
        "timestamp": at,
        "network": {"name": "eth0", "rxBytes": 1, "txBytes": 2, "interfaces": [{"rxBytes": 9}]},
        "containers": [container("a"), container("of-the-service")],
    })
}

/// A service whose groups are all there, and where the rest is up to the test.
fn serve(has_extension: bool, other: impl Fn(&Request) -> Response + 'static) {
    testing::serve(move |request| {
        let name = request.path().rsplit('/').next().unwrap_or_default();
        match request.path() {
            path if path.ends_with("/token") => {
                Response::new(200).json(&json!({"access_token": "t", "expires_in": 86400}))
            }
            path if path.contains("/containerGroups/") && !path.ends_with("/metrics") => {
                let uid = (0..9).map(|uid| uid.to_string()).find(|uid| identity::group_name("own", &pod(uid)) == name);
                Response::new(200).json(&group(&uid.unwrap(), has_extension))
            }
            _ => other(request),
        }
    });
}

fn asked(part: &str) -> usize {
    testing::requests().iter().filter(|request| request.url.contains(part)).count()
}

#[test]
fn a_group_with_the_extension_is_asked_itself_and_once_for_its_shape() {
    serve(true, |request| {
        assert_eq!(request.url, "http://10.0.0.1:18899/v1/stats");
        assert_eq!(request.header("authorization"), None);
        let reads = asked("18899") as u64;
        Response::new(200).json(&figures(1_682_960_225 + 10 * reads, 1_000_000_000 * reads))
    });
    let aci = aci(true, false);
    let usage = aci.read_usage(vec![pod("1")]).unwrap().remove(0);
    let [container] = usage.containers.as_slice() else { panic!("{usage:?}") };
    assert_eq!((container.name.as_str(), container.started_at), ("a", Some(1_682_960_225_000)));
    assert_eq!(usage.started_at, container.started_at);
    let mut expected = Usage::at(UNIX_EPOCH + Duration::from_secs(1_682_960_235)).working_set(20);
    (expected.memory_usage_bytes, expected.memory_rss_bytes) = (Some(30), Some(10));
    expected.cpu_core_nano_seconds = Some(1_000_000_000);
    assert_eq!(container.usage, expected);
    let network = usage.network.unwrap();
    assert_eq!((network.received_bytes, network.sent_bytes), (1, 2));
    let usage = aci.read_usage(vec![pod("1")]).unwrap().remove(0);
    assert_eq!(usage.containers[0].usage.cpu_nano_cores, Some(100_000_000));
    assert_eq!((asked("containerGroups"), asked("18899")), (1, 2));
}

#[test]
fn a_pod_that_cannot_be_read_takes_no_other_with_it_and_is_left_alone_for_a_while() {
    for bad in [
        Response::new(500),
        Response::new(404).body("no"),
        Response::new(200).body("<html>"),
        Response::failure(testing::Failure::Connect("refused".to_owned())),
    ] {
        serve(true, move |request| match request.url.contains("10.0.0.2") {
            true => bad.clone(),
            false => Response::new(200).json(&figures(1_682_960_225, 1)),
        });
        let aci = aci(true, false);
        let uids = |read: Vec<PodUsage>| read.into_iter().map(|usage| usage.pod.uid).collect::<Vec<_>>();
        for _ in 0..2 {
            assert_eq!(uids(aci.read_usage(vec![pod("1"), pod("2"), pod("3")]).unwrap()), ["1", "3"]);
        }
        assert_eq!(asked("10.0.0.2"), 1);
        testing::advance(PAUSE);
        assert_eq!(uids(aci.read_usage(vec![pod("2"), pod("3")]).unwrap()), ["3"]);
        assert_eq!(asked("10.0.0.2"), 2);
    }
}

#[test]
fn nothing_is_asked_where_nothing_is_to_be_had() {
    serve(false, |request| panic!("{request:?}"));
    assert_eq!(aci(false, false).read_usage(vec![pod("1")]), Ok(Vec::new()));
    assert_eq!(testing::requests().len(), 0);
    assert_eq!(aci(true, false).read_usage(vec![pod("1")]), Ok(Vec::new()));
}

#[test]
fn a_rate_is_that_between_two_counters_of_the_same_run() {
    let second = 1_000_000_000;
    let first = Sample { at: 10 * second, counter: 500, rate: None };
    assert_eq!(Sample::after(None, 10 * second, 500), first);
    let next = |at, counter| Sample::after(Some(first), at, counter);
    assert_eq!(next(12 * second, 700).rate, Some(100));
    assert_eq!(next(11 * second + 111_100_000, 500 + 1_111_100_000).rate, Some(second));
    // Too close to tell: the one before goes on to count.
    assert_eq!(next(10 * second + 1, 900), first);
    for (at, counter) in [(9 * second, 700), (12 * second, 499)] {
        assert_eq!(next(at, counter), Sample { at, counter, rate: None });
    }
    assert_eq!(next(12 * second, u64::MAX).rate, Some((u64::MAX - 500) / 2));
}

#[test]
fn the_extensions_time_is_understood_in_any_unit() {
    let expected = Some(UNIX_EPOCH + Duration::from_secs(1_682_960_225));
    for factor in [1, 1_000, 1_000_000, 1_000_000_000] {
        assert_eq!(realtime::time(1_682_960_225 * factor), expected);
    }
    assert_eq!(realtime::time(0), None);
}

fn points(minutes: &[(u64, f64)]) -> Vec<Point> {
    let time = |minute: u64| timestamp(UNIX_EPOCH + Duration::from_secs(60 * minute));
    minutes.iter().map(|(minute, average)| Point { time_stamp: time(*minute), average: Some(*average) }).collect()
}

#[test]
fn minutes_are_added_up_once_and_anew_after_a_gap() {
    let first = Counter::after(None, &points(&[(10, 1.0), (11, 2.0)])).unwrap();
    assert_eq!(first, Counter { minute: 11 * 60_000, last: 2.0, sum: 180.0 });
    let again = Counter::after(Some(first), &points(&[(10, 1.0), (11, 2.0), (12, 3.0)])).unwrap();
    assert_eq!(again, Counter { minute: 12 * 60_000, last: 3.0, sum: 360.0 });
    assert_eq!(Counter::after(Some(again), &[]), Some(again));
    assert_eq!(Counter::after(Some(again), &points(&[(12, 3.0)])), Some(again));
    assert_eq!(Counter::after(Some(again), &points(&[(13, 1.0)])).unwrap().sum, 420.0);
    assert_eq!(Counter::after(Some(again), &points(&[(14, 1.0)])).unwrap().sum, 60.0);
    let odd = [Point { time_stamp: "no time".to_owned(), average: Some(1.0) }, Point::default()];
    assert_eq!(Counter::after(None, &odd), None);
    assert_eq!(Counter::after(None, &points(&[(1, -1.0), (2, f64::NAN)])), None);
}

#[test]
fn azure_monitor_is_asked_twice_a_minute_at_most() {
    let begin = now();
    serve(false, move |request| {
        assert_eq!(request.query("api-version"), Some("2018-01-01"));
        assert_eq!(request.query("interval"), Some("PT1M"));
        let minute = timestamp(begin);
        let data = |average: f64| json!([{"timeStamp": minute, "average": average}]);
        let of = |container: &str, average: f64| {
            let dimension = json!([{"name": {"value": "containername"}, "value": container}]);
            json!({"metadatavalues": dimension, "data": data(average)})
        };
        let metric = |name: &str, series: Value| json!({"name": {"value": name}, "timeseries": series});
        let of_group = |average| json!([{"metadatavalues": [], "data": data(average)}]);
        let value = match request.query("$filter").or(request.query("%24filter")) {
            Some(_) => json!([
                metric("CpuUsage", json!([of("other", 1.0), of("a", 10.0)])),
                metric("MemoryUsage", json!([of("other", 1.0), of("a", 1000.0)])),
            ]),
            None => json!([
                metric("NetworkBytesReceivedPerSecond", of_group(2000.0)),
                metric("NetworkBytesTransmittedPerSecond", of_group(10.5)),
            ]),
        };
        Response::new(200).json(&json!({"value": value}))
    });
    let aci = aci(false, true);
    for _ in 0..3 {
        let usage = aci.read_usage(vec![pod("1")]).unwrap().remove(0);
        let [container] = usage.containers.as_slice() else { panic!("{usage:?}") };
        let expected = (Some(10_000_000), Some(600_000_000), Some(1000));
        let Usage { cpu_nano_cores, cpu_core_nano_seconds, memory_working_set_bytes, .. } = container.usage;
        assert_eq!((cpu_nano_cores, cpu_core_nano_seconds, memory_working_set_bytes), expected);
        let network = usage.network.unwrap();
        assert_eq!((network.received_bytes, network.sent_bytes), (120_000, 630));
    }
    assert_eq!(asked("/metrics"), 2);
    testing::advance(Duration::from_secs(61));
    aci.read_usage(vec![pod("1")]).unwrap();
    assert_eq!(asked("/metrics"), 4);
}

#[test]
fn a_pod_of_which_azure_monitor_knows_nothing_yet_is_left_out() {
    serve(false, |_| Response::new(200).json(&json!({"value": []})));
    assert_eq!(aci(false, true).read_usage(vec![pod("1")]), Ok(Vec::new()));
    assert_eq!(Metrics::default().points("CpuUsage", None), []);
    serve(false, |_| Response::new(503));
    assert_eq!(aci(false, true).read_usage(vec![pod("2")]).unwrap_err().kind, ErrorKind::Unavailable);
}
