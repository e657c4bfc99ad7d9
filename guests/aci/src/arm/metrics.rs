//! What groups use: from the extension in the group itself, or from Azure Monitor.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use vk_sdk::{Result, http, status::timestamp};

use super::{Arm, Call, Class};

/// A group that does not answer is not to hold up the figures of others.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The version of Azure Monitor's API.
const API_VERSION: &str = "2018-01-01";

/// What the extension answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Realtime {
    /// Since 1970.
    pub(crate) timestamp: u64,
    /// Of the interface that has the default route.
    pub(crate) network: Option<Traffic>,
    pub(crate) containers: Vec<RealtimeContainer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Traffic {
    pub(crate) rx_bytes: Option<u64>,
    pub(crate) tx_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RealtimeContainer {
    pub(crate) name: String,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Cpu {
    /// Since the container was started.
    pub(crate) usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Memory {
    pub(crate) usage_bytes: Option<u64>,
    pub(crate) working_set_bytes: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
}

/// What Azure Monitor answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metrics {
    value: Vec<Metric>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metric {
    name: Name,
    timeseries: Vec<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Series {
    metadatavalues: Vec<Dimension>,
    data: Vec<Point>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dimension {
    name: Name,
    value: String,
}

/// The average of a minute.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Point {
    /// When the minute began.
    pub(crate) time_stamp: String,
    /// Missing where nothing was measured.
    pub(crate) average: Option<f64>,
}

impl Metrics {
    /// A metric's minutes, oldest first; `container` where the metric is told for each container.
    pub(crate) fn points(&self, metric: &str, container: Option<&str>) -> &[Point] {
        let metric = self.value.iter().find(|each| each.name.value.eq_ignore_ascii_case(metric));
        let mut series = metric.into_iter().flat_map(|metric| &metric.timeseries);
        let wanted = series.find(|series| container.is_none() || series.container() == container);
        wanted.map_or(&[], |series| &series.data)
    }
}

impl Series {
    fn container(&self) -> Option<&str> {
        let dimension = self.metadatavalues.iter().find(|each| each.name.value.eq_ignore_ascii_case("containername"));
        dimension.map(|dimension| dimension.value.as_str())
    }
}

impl Arm {
    /// What the extension in a group with this address says. It is reached from inside the group's network alone.
    pub(crate) fn realtime(&self, ip: &str) -> Result<Realtime> {
        let url = format!("{}/v1/stats", self.settings.endpoints.realtime.replace("{ip}", ip));
        http::get(url).timeout(TIMEOUT).call()?.json()
    }

    /// What each container of a group used in a time, by the minute: `CpuUsage` in thousandths of a core, `MemoryUsage`
    /// in bytes.
    pub(crate) fn container_metrics(&self, name: &str, from: SystemTime, to: SystemTime) -> Result<Metrics> {
        let call = self.metrics(name, "CpuUsage,MemoryUsage", from, to);
        self.request(&call.query("$filter", "containerName eq '*'"))?.json()
    }

    /// What a group sent and received in a time, by the minute, in bytes per second: `NetworkBytesReceivedPerSecond` and
    /// `NetworkBytesTransmittedPerSecond`.
    pub(crate) fn network_metrics(&self, name: &str, from: SystemTime, to: SystemTime) -> Result<Metrics> {
        let names = "NetworkBytesReceivedPerSecond,NetworkBytesTransmittedPerSecond";
        self.request(&self.metrics(name, names, from, to))?.json()
    }

    fn metrics(&self, name: &str, names: &str, from: SystemTime, to: SystemTime) -> Call {
        Call::get(Class::Read, format!("{}/providers/microsoft.Insights/metrics", self.group(name)))
            .api_version(API_VERSION)
            .query("aggregation", "average")
            .query("interval", "PT1M")
            .query("metricnames", names)
            .query("timespan", &format!("{}/{}", timestamp(from), timestamp(to)))
    }
}
