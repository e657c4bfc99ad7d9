//! Paths, taken apart once: what decides who may go there and what answers there are the same segments.

use std::fmt;

use http::Method;

/// Every value of the label `route`.
pub(crate) const ROUTE_NAMES: [&str; 14] = [
    "healthz",
    "readyz",
    "pods",
    "runningpods",
    "containerLogs",
    "exec",
    "attach",
    "portForward",
    "stats/summary",
    "metrics",
    "metrics/resource",
    "metrics/cadvisor",
    "metrics/probes",
    OTHER,
];
/// What is none of this API's.
pub(crate) const OTHER: &str = "other";

/// A path that is not one of this API's, whatever it was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad path: it must consist of plain segments, without escapes, dot segments and empty ones")]
pub(crate) struct BadPath;

/// The segments of a path, none of them empty.
pub(crate) struct Segments<'a>(Vec<&'a str>);

/// The kubelet has this one path with a slash at its end.
const WITH_SLASH: &str = "/runningpods/";

impl<'a> Segments<'a> {
    /// # Errors
    ///
    /// If there is more than one way to read the path. Nothing that this API names needs an escape.
    pub(crate) fn of(path: &'a str) -> Result<Self, BadPath> {
        if path == "/" {
            return Ok(Self(Vec::new()));
        }
        let path = if path == WITH_SLASH { path.trim_end_matches('/') } else { path };
        let segments: Vec<&str> = path.strip_prefix('/').ok_or(BadPath)?.split('/').collect();
        segments.iter().all(|segment| is_plain(segment)).then_some(Self(segments)).ok_or(BadPath)
    }

    /// The subresources of `nodes` whose rights open the path, and the verb: as the kubelet has them (KEP-2862), but that
    /// a session must be allowed to `create`, although a WebSocket begins with GET.
    pub(crate) fn access(&self, method: &Method) -> (&'static str, &'static [&'static str]) {
        let first = self.0.first().copied().unwrap_or_default();
        let subresources: &[&str] = match first {
            "pods" | "runningpods" => &["pods", "proxy"],
            "healthz" | "readyz" => &["healthz", "proxy"],
            "configz" => &["configz", "proxy"],
            "statusz" => &["statusz", "proxy"],
            "stats" => &["stats"],
            "metrics" => &["metrics"],
            "logs" => &["log"],
            "checkpoint" => &["checkpoint"],
            _ => &["proxy"],
        };
        let begins_session = matches!(first, "exec" | "attach" | "portForward" | "run");
        let verb = if begins_session || method == Method::POST { "create" } else { "get" };
        (verb, subresources)
    }

    /// The value of the label `route`.
    pub(crate) fn name(&self) -> &'static str {
        let path = self.0.get(..2).unwrap_or(&self.0).join("/");
        let first = self.0.first().copied().unwrap_or_default();
        let named = |wanted: &str| ROUTE_NAMES.into_iter().find(|name| *name == wanted);
        named(&path).or_else(|| named(first).filter(|name| *name != "metrics")).unwrap_or(OTHER)
    }

    /// What is at the path.
    ///
    /// # Errors
    ///
    /// If nothing is, or a name in it cannot be one.
    pub(crate) fn route(&self) -> Result<Route<'a>, NoRoute> {
        Ok(match self.0.as_slice() {
            ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Route::Healthz,
            ["readyz"] => Route::Readyz,
            ["pods"] => Route::Pods,
            ["runningpods"] => Route::RunningPods,
            ["stats", "summary"] => Route::Summary,
            ["metrics"] => Route::Metrics,
            ["metrics", "resource"] => Route::ResourceMetrics,
            ["metrics", "cadvisor"] => Route::ContainerMetrics,
            ["metrics", "probes"] => Route::ProbeMetrics,
            ["containerLogs", namespace, pod, container] => {
                Route::ContainerLogs(PodPath::new(namespace, pod, None)?, label(container)?)
            }
            ["exec", namespace, pod, container] => Route::Exec(PodPath::new(namespace, pod, None)?, label(container)?),
            ["exec", namespace, pod, uid, container] => {
                Route::Exec(PodPath::new(namespace, pod, Some(uid))?, label(container)?)
            }
            ["attach", namespace, pod, container] => {
                Route::Attach(PodPath::new(namespace, pod, None)?, label(container)?)
            }
            ["attach", namespace, pod, uid, container] => {
                Route::Attach(PodPath::new(namespace, pod, Some(uid))?, label(container)?)
            }
            ["portForward", namespace, pod] => Route::PortForward(PodPath::new(namespace, pod, None)?),
            ["portForward", namespace, pod, uid] => Route::PortForward(PodPath::new(namespace, pod, Some(uid))?),
            _ => return Err(NoRoute::Unknown),
        })
    }
}

impl fmt::Display for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.join("/"))
    }
}

fn is_plain(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Healthz,
    Readyz,
    Pods,
    RunningPods,
    Summary,
    Metrics,
    ResourceMetrics,
    ContainerMetrics,
    ProbeMetrics,
    ContainerLogs(PodPath<'a>, &'a str),
    Exec(PodPath<'a>, &'a str),
    Attach(PodPath<'a>, &'a str),
    PortForward(PodPath<'a>),
}

impl Route<'_> {
    /// The methods that it has, as in the header `Allow`.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Exec(..) | Self::Attach(..) | Self::PortForward(..) => "GET, POST",
            _ => "GET",
        }
    }

    /// The pod of whose a stream is asked for.
    pub(crate) fn pod(&self) -> Option<PodPath<'_>> {
        match self {
            Self::ContainerLogs(pod, _) | Self::Exec(pod, _) | Self::Attach(pod, _) | Self::PortForward(pod) => {
                Some(*pod)
            }
            _ => None,
        }
    }
}

/// How a path names a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodPath<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: Option<&'a str>,
}

impl<'a> PodPath<'a> {
    fn new(namespace: &'a str, name: &'a str, uid: Option<&'a str>) -> Result<Self, NoRoute> {
        let namespace = label(namespace)?;
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(NoRoute::BadName);
        }
        let is_uid =
            |uid: &str| uid.len() <= 128 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !uid.is_none_or(is_uid) {
            return Err(NoRoute::BadName);
        }
        Ok(Self { namespace, name, uid })
    }
}

/// Why nothing is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// This API has no such path.
    Unknown,
    /// A namespace, a pod or a container cannot have this name.
    BadName,
}

/// A DNS-1123 label.
fn label(name: &str) -> Result<&str, NoRoute> {
    if name.len() <= 63 && is_label(name) { Ok(name) } else { Err(NoRoute::BadName) }
}

fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && !name.starts_with('-') && !name.ends_with('-') && name.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        for path in [
            "",
            "exec",
            "//exec/a/b/c",
            "/exec//a/b/c",
            "/exec/a/b/c/",
            "/pods/",
            "/stats/../exec/a/b/c",
            "/./pods",
            "/exec/../pods",
            "/%2e%2e/exec/a/b/c",
            "/exec%2Fa/b/c",
            "/exec/a/b%2Fc/d",
            "/exec/a/b/c%00",
            "/pods;x=y",
            "/exec/a/b\\c/d",
            "/containerLogs/a/b/../../etc",
            "/runningpods//",
            "/pods/.",
            "/pods/..",
            "/é",
            "*",
        ] {
            assert_eq!(Segments::of(path).err(), Some(BadPath), "{path}");
        }
    }

    #[test]
    fn names_that_no_pod_can_have_are_refused() {
        let long = format!("/exec/{}/p/c", "a".repeat(64));
        for path in [
            "/exec/A/p/c",
            "/exec/a/p_q/c",
            "/exec/a/-p/c",
            "/exec/a/p/C",
            "/exec/a.b/p/c",
            "/exec/a/p/c.d",
            "/exec/a/p..q/c",
            "/containerLogs/a/p/...",
            "/portForward/a/p/u.id",
            "/attach/a/p/u_1/c",
            &long,
        ] {
            assert_eq!(Segments::of(path).unwrap().route(), Err(NoRoute::BadName), "{path}");
        }
    }

    #[test]
    fn paths_lead_where_the_kubelet_has_them() {
        let pod = |uid| PodPath { namespace: "ns", name: "p.q", uid };
        for (path, route) in [
            ("/healthz", Route::Healthz),
            ("/healthz/ping", Route::Healthz),
            ("/healthz/syncloop", Route::Healthz),
            ("/runningpods/", Route::RunningPods),
            ("/runningpods", Route::RunningPods),
            ("/containerLogs/ns/p.q/c", Route::ContainerLogs(pod(None), "c")),
            ("/exec/ns/p.q/c", Route::Exec(pod(None), "c")),
            ("/exec/ns/p.q/0a-B/c", Route::Exec(pod(Some("0a-B")), "c")),
            ("/attach/ns/p.q/0a-B/c", Route::Attach(pod(Some("0a-B")), "c")),
            ("/portForward/ns/p.q", Route::PortForward(pod(None))),
            ("/portForward/ns/p.q/0a-B", Route::PortForward(pod(Some("0a-B")))),
        ] {
            assert_eq!(Segments::of(path).unwrap().route(), Ok(route), "{path}");
        }
        for path in ["/", "/Exec/ns/p/c", "/exec", "/exec/ns/p", "/run/ns/p/c", "/logs/x", "/debug/pprof", "/configz"] {
            assert_eq!(Segments::of(path).unwrap().route(), Err(NoRoute::Unknown), "{path}");
        }
    }

    #[test]
    fn rights_are_those_of_the_kubelet_and_sessions_are_created() {
        for (path, verb, subresources) in [
            ("/pods", "get", "pods proxy"),
            ("/runningpods/", "get", "pods proxy"),
            ("/healthz/ping", "get", "healthz proxy"),
            ("/configz", "get", "configz proxy"),
            ("/statusz", "get", "statusz proxy"),
            ("/stats/summary", "get", "stats"),
            ("/metrics", "get", "metrics"),
            ("/metrics/resource", "get", "metrics"),
            ("/logs/x", "get", "log"),
            ("/checkpoint/a/b/c", "get", "checkpoint"),
            ("/containerLogs/ns/p/c", "get", "proxy"),
            ("/exec/ns/p/c", "create", "proxy"),
            ("/attach/ns/p/c", "create", "proxy"),
            ("/portForward/ns/p", "create", "proxy"),
            ("/run/ns/p/c", "create", "proxy"),
            ("/", "get", "proxy"),
            ("/podsx", "get", "proxy"),
        ] {
            let segments = Segments::of(path).unwrap();
            let (got, names) = segments.access(&Method::GET);
            assert_eq!((got, names.join(" ").as_str()), (verb, subresources), "{path}");
            assert_eq!(segments.access(&Method::POST).0, "create", "{path}");
        }
    }

    #[test]
    fn every_route_has_a_name_and_names_nothing_else() {
        for (path, name) in [
            ("/healthz/ping", "healthz"),
            ("/metrics", "metrics"),
            ("/metrics/resource", "metrics/resource"),
            ("/metrics/elsewhere", "other"),
            ("/stats/summary", "stats/summary"),
            ("/stats/elsewhere", "other"),
            ("/exec/ns/p/c", "exec"),
            ("/runningpods/", "runningpods"),
            ("/run/ns/p/c", "other"),
            ("/", "other"),
            ("/nowhere", "other"),
        ] {
            assert_eq!(Segments::of(path).unwrap().name(), name, "{path}");
        }
    }

    proptest! {
        /// Whatever leads to a session was judged as one.
        #[test]
        fn no_path_leads_to_a_session_without_create(path in "(/[a-zA-Z%./0-9;-]{0,12}|/exec|/attach|/portForward){0,6}") {
            if let Ok(segments) = Segments::of(&path)
                && let Ok(Route::Exec(..) | Route::Attach(..) | Route::PortForward(..)) = segments.route()
            {
                prop_assert_eq!(segments.access(&Method::GET), ("create", &["proxy"][..]));
            }
        }
    }
}
