//! Which request is which.

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// A token from the directory.
    Token,
    /// The directory describing itself.
    Discovery,
    /// A token from the metadata service.
    Metadata,
    /// `PUT` of a group.
    Put,
    /// `GET` of a group.
    Get,
    /// A page of a list of groups.
    List,
    /// `DELETE` of a group.
    Delete,
    /// `PATCH` of a group's tags.
    Patch,
    /// Start, stop or restart of a group.
    Action,
    /// How far an operation is.
    Operation,
    /// A container's log.
    Logs,
    /// A session in a container.
    Exec,
    /// A container's output from now on.
    Attach,
    /// The stream of a session or of an attachment.
    Stream,
    /// Usages of a region.
    Usages,
    /// Capabilities of a region.
    Capabilities,
    /// What the resource provider offers.
    Provider,
    /// Registration of the subscription for a resource provider.
    Register,
    /// `GET` of a subnet.
    GetSubnet,
    /// `PUT` of a subnet.
    PutSubnet,
    /// Figures of Azure Monitor.
    Metrics,
    /// A group's realtime figures.
    Realtime,
    /// Something that is not there.
    Unknown,
}

impl Route {
    /// Whether the request goes to the resource manager.
    pub fn is_arm(self) -> bool {
        use Route::{Discovery, Metadata, Realtime, Stream, Token, Unknown};
        !matches!(self, Token | Discovery | Metadata | Stream | Realtime | Unknown)
    }

    /// Whether the request is about container instances, for which a subscription has to be registered.
    pub(crate) fn needs_registration(self) -> bool {
        use Route::{Action, Attach, Delete, Exec, Get, List, Logs, Patch, Put};
        matches!(self, Put | Get | List | Delete | Patch | Action | Logs | Exec | Attach)
    }

    /// What the request is throttled with. `None`: it goes to nobody who throttles.
    pub fn class(self) -> Option<Class> {
        use Route::{
            Action, Attach, Capabilities, Delete, Discovery, Exec, Get, GetSubnet, List, Logs, Metadata, Metrics,
            Operation, Patch, Provider, Put, PutSubnet, Realtime, Register, Stream, Token, Unknown, Usages,
        };
        match self {
            Token | Metadata => Some(Class::Token),
            Put => Some(Class::Create),
            Delete => Some(Class::Delete),
            Patch | Action | Exec | Attach | PutSubnet | Register => Some(Class::Write),
            Get | List | Operation | Logs | Usages | Capabilities | Provider | GetSubnet | Metrics => Some(Class::Read),
            Discovery | Stream | Realtime | Unknown => None,
        }
    }
}

/// Requests that are throttled together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Of tokens.
    Token,
    /// Reads of the resource manager.
    Read,
    /// Writes of the resource manager that make no group.
    Write,
    /// Creates of groups.
    Create,
    /// Deletes of groups.
    Delete,
}

/// A request's path taken apart. Names are as they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) route: Route,
    pub(crate) subscription: Option<String>,
    pub(crate) resource_group: Option<String>,
    /// A container group, or else what the route is about: a tenant, a region's operation, a subnet's id, an address.
    pub(crate) name: Option<String>,
    /// A container of the group, or what is to be done with it.
    pub(crate) part: Option<String>,
}

impl Target {
    /// Ids are compared without regard to the case of letters.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let decoded: Vec<String> = path
            .trim_start_matches('/')
            .split('/')
            .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let lower: Vec<String> = decoded.iter().map(|segment| segment.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let sent = |index: usize| decoded.get(index).cloned();
        let target = |route, name: Option<usize>, part: Option<usize>| Self {
            route,
            subscription: (lower.first() == Some(&"subscriptions")).then(|| sent(1)).flatten(),
            resource_group: (lower.get(2) == Some(&"resourcegroups")).then(|| sent(3)).flatten(),
            name: name.and_then(sent),
            part: part.and_then(sent),
        };
        match (method.as_str(), lower.as_slice()) {
            ("POST", [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"]) => target(Route::Token, Some(0), None),
            ("GET", ["common", "discovery", "instance"] | [_, "v2.0", ".well-known", "openid-configuration"]) => {
                target(Route::Discovery, Some(0), None)
            }
            ("GET", ["metadata", "identity", "oauth2", "token"]) => target(Route::Metadata, None, None),
            ("GET", ["realtime", _, "v1", "stats"]) => target(Route::Realtime, Some(1), None),
            (_, ["execstream" | "attachstream", ..]) => target(Route::Stream, None, None),
            ("GET", ["providers", "microsoft.containerinstance"]) => target(Route::Provider, None, None),
            ("POST", ["subscriptions", _, "providers", _, "register"]) => target(Route::Register, Some(3), None),
            ("GET", ["subscriptions", _, "providers", _]) => target(Route::Register, Some(3), None),
            ("GET", ["subscriptions", _, "providers", "microsoft.containerinstance", "containergroups"]) => {
                target(Route::List, None, None)
            }
            ("GET", ["subscriptions", _, "providers", provider, "locations", _, "operations", _])
                if matches!(*provider, "microsoft.containerinstance" | "microsoft.network") =>
            {
                target(Route::Operation, Some(7), Some(3))
            }
            ("GET", ["subscriptions", _, "providers", "microsoft.containerinstance", "locations", _, what]) => {
                match *what {
                    "usages" => target(Route::Usages, Some(5), None),
                    "capabilities" => target(Route::Capabilities, Some(5), None),
                    _ => target(Route::Unknown, None, None),
                }
            }
            (method, ["subscriptions", _, "resourcegroups", _, "providers", provider, kind, rest @ ..]) => {
                let (route, name, part) = match (method, *provider, *kind, rest) {
                    ("GET", "microsoft.containerinstance", "containergroups", []) => (Route::List, None, None),
                    (method, "microsoft.containerinstance", "containergroups", rest) => {
                        let (route, part) = group_route(method, rest);
                        (route, Some(7), part)
                    }
                    ("GET", "microsoft.network", "virtualnetworks", [_, "subnets", _]) => {
                        (Route::GetSubnet, Some(9), Some(7))
                    }
                    ("PUT", "microsoft.network", "virtualnetworks", [_, "subnets", _]) => {
                        (Route::PutSubnet, Some(9), Some(7))
                    }
                    _ => (Route::Unknown, None, None),
                };
                target(route, name, part)
            }
            _ => target(Route::Unknown, None, None),
        }
    }
}

/// What is asked about a group, and where in the path its container or the action is.
fn group_route(method: &str, rest: &[&str]) -> (Route, Option<usize>) {
    match (method, rest) {
        ("PUT", [_]) => (Route::Put, None),
        ("GET", [_]) => (Route::Get, None),
        ("DELETE", [_]) => (Route::Delete, None),
        ("PATCH", [_]) => (Route::Patch, None),
        ("POST", [_, "start" | "stop" | "restart"]) => (Route::Action, Some(8)),
        ("GET", [_, "containers", _, "logs"]) => (Route::Logs, Some(9)),
        ("POST", [_, "containers", _, "exec"]) => (Route::Exec, Some(9)),
        ("POST", [_, "containers", _, "attach"]) => (Route::Attach, Some(9)),
        ("GET", [_, "providers", "microsoft.insights", "metrics"]) => (Route::Metrics, None),
        _ => (Route::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.ContainerInstance/containerGroups";

    fn target(method: &str, path: &str) -> Target {
        Target::of(&method.parse().unwrap(), path)
    }

    #[test]
    fn routes_are_told_apart() {
        let group = format!("{GROUPS}/web");
        let cases = [
            ("POST", "/t/oauth2/token".to_owned(), Route::Token),
            ("POST", "/t/oauth2/v2.0/token".to_owned(), Route::Token),
            ("GET", "/t/oauth2/token".to_owned(), Route::Unknown),
            ("GET", "/metadata/identity/oauth2/token".to_owned(), Route::Metadata),
            ("GET", GROUPS.to_owned(), Route::List),
            ("GET", "/subscriptions/S/providers/Microsoft.ContainerInstance/containerGroups".to_owned(), Route::List),
            ("PUT", group.clone(), Route::Put),
            ("GET", group.clone(), Route::Get),
            ("DELETE", group.clone(), Route::Delete),
            ("POST", format!("{group}/restart"), Route::Action),
            ("POST", format!("{group}/burn"), Route::Unknown),
            ("GET", format!("{group}/containers/app/logs"), Route::Logs),
            ("POST", format!("{group}/containers/app/exec"), Route::Exec),
            ("POST", format!("{group}/containers/app/attach"), Route::Attach),
            ("GET", format!("{group}/providers/microsoft.Insights/metrics"), Route::Metrics),
            ("GET", "/realtime/10.0.0.4/v1/stats".to_owned(), Route::Realtime),
        ];
        for (method, path, route) in cases {
            assert_eq!(target(method, &path).route, route, "{method} {path}");
        }
    }

    #[test]
    fn what_nobody_throttles_has_no_class() {
        for route in [Route::Stream, Route::Realtime, Route::Discovery, Route::Unknown] {
            assert_eq!(route.class(), None, "{route:?}");
        }
        assert_eq!((Route::Logs.class(), Route::Exec.class()), (Some(Class::Read), Some(Class::Write)));
    }

    #[test]
    fn ids_are_compared_without_case_and_names_are_decoded_and_kept() {
        let found = target("GET", &format!("{}/We%20b/Containers/App/LOGS", GROUPS.to_lowercase()));
        assert_eq!(
            found,
            Target {
                route: Route::Logs,
                subscription: Some("s".into()),
                resource_group: Some("rg".into()),
                name: Some("We b".into()),
                part: Some("App".into()),
            }
        );
    }
}
