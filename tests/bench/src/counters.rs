//! What the API server counts of requests that change something.

/// Writes since the API server's start, whoever sent them, whatever came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    /// Of pods and their subresources.
    pub(crate) pods: u64,
    /// Of events.
    pub(crate) events: u64,
}

impl Writes {
    /// Reads them from the API server's metrics.
    pub(crate) fn read(metrics: &str) -> Self {
        let mut writes = Self::default();
        for line in metrics.lines() {
            let Some(counter) = line.strip_prefix("apiserver_request_total{") else { continue };
            let Some((labels, count)) = counter.rsplit_once("} ") else { continue };
            let label = |name: &str| labels.split(',').find_map(|label| label.strip_prefix(name)).unwrap_or_default();
            if !["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"]
                .contains(&label("verb=").trim_matches('"'))
            {
                continue;
            }
            // Prometheus writes large numbers as 1.2e+06.
            let count = count.parse().map_or(0, |count: f64| count as u64);
            match label("resource=") {
                "\"pods\"" => writes.pods += count,
                "\"events\"" => writes.events += count,
                _ => {}
            }
        }
        writes
    }

    /// Those that came after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { pods: self.pods.saturating_sub(earlier.pods), events: self.events.saturating_sub(earlier.events) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_pods_and_events_are_counted_by_all_their_labels() {
        let metrics = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 1.000002e+06
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="DELETE",version="v1"} 3
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 99
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 50
apiserver_request_duration_seconds_count{resource="pods",verb="POST"} 12
"#;
        let writes = Writes::read(metrics);
        assert_eq!(writes, Writes { pods: 1_000_005, events: 7 });
        assert_eq!(writes.since(Writes { pods: 1_000_000, events: 0 }), Writes { pods: 5, events: 7 });
    }
}
