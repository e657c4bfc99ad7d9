//! A small model of the service for tests: groups that start, end and lag behind, over HTTP, in time that tests move.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use vk_sdk::{
    OperatingSystem, PodId,
    status::timestamp,
    testing::{self, Request, Response, now},
};

use crate::{
    arm::Arm,
    group::{ContainerGroup, Secret},
    identity,
    pods::Pods,
    settings::{Capacity, Endpoints, Identity, Settings, TokenVersion},
};

pub(crate) const OWNER: &str = "abc";
const GROUPS: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups";

/// The answer of a fault; `None` lets the request through.
type Fault = Box<dyn Fn(&Request, &mut State) -> Option<Response>>;

#[derive(Clone, Default)]
pub(crate) struct Model(Rc<RefCell<State>>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) groups: BTreeMap<String, Group>,
    /// Groups of a page.
    pub(crate) page: usize,
    pub(crate) starts_after: Duration,
    /// How long each request takes.
    pub(crate) latency: Duration,
    /// Names that listings do not show, although the groups are there.
    pub(crate) unlisted: Vec<String>,
    /// Groups that listings show, although they are gone.
    pub(crate) ghosts: Vec<Value>,
}

pub(crate) struct Group {
    body: Value,
    made: SystemTime,
    starts_after: Duration,
    ended: Option<(SystemTime, i32)>,
    /// Until then the service does not show it.
    pub(crate) shows_from: SystemTime,
    /// Goes away that long after it was deleted.
    pub(crate) lingers: Option<Duration>,
    deleted: Option<SystemTime>,
    pub(crate) events: Value,
    /// In place of what it is.
    pub(crate) provisioning: Option<&'static str>,
}

impl Group {
    fn state(&self, now: SystemTime) -> (&'static str, &'static str, Value) {
        let started = self.made + self.starts_after;
        if let Some(word) = self.provisioning {
            return (word, "Pending", json!({"currentState": {"state": "Waiting"}}));
        }
        if now < started {
            return ("Creating", "Pending", json!({"currentState": {"state": "Waiting"}}));
        }
        match self.ended {
            Some((at, code)) => {
                let end = json!({"state": "Terminated", "exitCode": code, "startTime": timestamp(started), "finishTime": timestamp(at)});
                ("Succeeded", if code == 0 { "Succeeded" } else { "Failed" }, json!({"currentState": end}))
            }
            None => {
                ("Succeeded", "Running", json!({"currentState": {"state": "Running", "startTime": timestamp(started)}}))
            }
        }
    }

    fn written(&self, name: &str, with_views: bool, now: SystemTime) -> Value {
        let (provisioning, state, view) = self.state(now);
        let mut written = self.body.clone();
        written["id"] = json!(format!("{GROUPS}/{name}"));
        written["name"] = json!(name);
        written["properties"]["provisioningState"] = json!(provisioning);
        if with_views {
            written["properties"]["instanceView"] = json!({"state": state, "events": self.events});
            for container in written["properties"]["containers"].as_array_mut().unwrap() {
                container["properties"]["instanceView"] = view.clone();
            }
        }
        written
    }
}

impl Model {
    /// A service without groups, that answers this thread's requests.
    pub(crate) fn serve() -> Self {
        Self::serve_with(|_, _| None)
    }

    /// The same, with a fault.
    pub(crate) fn serve_with(fault: impl Fn(&Request, &mut State) -> Option<Response> + 'static) -> Self {
        let model = Self::default();
        model.edit(|state| (state.page, state.latency) = (100, Duration::from_millis(10)));
        let (served, fault): (_, Fault) = (model.clone(), Box::new(fault));
        testing::serve(move |request| {
            let mut state = served.0.borrow_mut();
            testing::advance(state.latency);
            fault(request, &mut state).unwrap_or_else(|| state.answer(request))
        });
        model
    }

    pub(crate) fn edit<R>(&self, edit: impl FnOnce(&mut State) -> R) -> R {
        edit(&mut self.0.borrow_mut())
    }

    pub(crate) fn end(&self, name: &str, code: i32) {
        self.edit(|state| state.groups.get_mut(name).unwrap().ended = Some((now(), code)));
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        let now = now();
        self.groups.retain(|_, group| match (group.deleted, group.lingers) {
            (Some(at), Some(lingers)) => now < at + lingers,
            _ => true,
        });
        if request.path().ends_with("/token") {
            return Response::new(200).json(&json!({"access_token": "t", "expires_in": 86400}));
        }
        assert_eq!(request.header("authorization"), Some("Bearer t"), "{request:?}");
        let rest = request.path().strip_prefix(GROUPS).unwrap_or_else(|| panic!("{request:?}"));
        let name = rest.trim_start_matches('/').to_owned();
        match request.method.as_str() {
            "GET" if name.is_empty() => self.list(request, now),
            "GET" => match self.groups.get(&name).filter(|group| group.shows_from <= now) {
                Some(group) => Response::new(200).json(&group.written(&name, true, now)),
                None => missing(),
            },
            "PUT" => {
                self.put(&name, request.json().unwrap());
                let mut made = self.groups[&name].written(&name, false, now);
                made["properties"]["instanceView"] = json!({"state": "Pending", "events": []});
                Response::new(201).json(&made)
            }
            "DELETE" => match self.groups.get_mut(&name) {
                Some(Group { lingers: Some(_), deleted, .. }) => {
                    deleted.get_or_insert(now);
                    Response::new(202)
                }
                Some(_) => {
                    self.groups.remove(&name);
                    Response::new(200).json(&json!({}))
                }
                None => Response::new(204),
            },
            method => panic!("{method} is not known"),
        }
    }

    pub(crate) fn put(&mut self, name: &str, body: Value) {
        let group = Group {
            body,
            made: now(),
            starts_after: self.starts_after,
            ended: None,
            shows_from: now(),
            lingers: None,
            deleted: None,
            events: json!([]),
            provisioning: None,
        };
        self.groups.insert(name.to_owned(), group);
    }

    fn list(&self, request: &Request, now: SystemTime) -> Response {
        let all: Vec<Value> = self
            .groups
            .iter()
            .filter(|(name, group)| !self.unlisted.contains(name) && group.shows_from <= now)
            .map(|(name, group)| group.written(name, false, now))
            .chain(self.ghosts.iter().cloned())
            .collect();
        let from: usize = request.query("skip").map_or(0, |skip| skip.parse().unwrap());
        let page: Vec<_> = all.iter().skip(from).take(self.page).collect();
        let to = from + page.len();
        let next = (to < all.len()).then(|| format!("https://arm.example{GROUPS}?api-version=v&skip={to}"));
        Response::new(200).json(&json!({"value": page, "nextLink": next}))
    }
}

fn missing() -> Response {
    refusal(404, "ResourceNotFound")
}

pub(crate) fn refusal(status: u16, code: &str) -> Response {
    Response::new(status).json(&json!({"error": {"code": code, "message": "no"}}))
}

pub(crate) fn settings() -> Settings {
    Settings {
        owner: OWNER.into(),
        node_name: "vk".into(),
        operating_system: OperatingSystem::Linux,
        subscription: "s".into(),
        resource_group: "rg".into(),
        region: "West Europe".into(),
        capacity: Capacity { cpu: "20".into(), memory: "100Gi".into(), pods: "200".into(), gpu: None },
        identity: Identity::ServicePrincipal {
            tenant: "t".into(),
            client_id: "c".into(),
            secret: Secret("s".into()),
            version: TokenVersion::V2,
        },
        endpoints: Endpoints {
            directory: "https://directory.example".into(),
            resource_manager: "https://arm.example".into(),
            metadata: "http://metadata.example".into(),
            realtime: "http://{ip}:18899".into(),
        },
        network: None,
        public_ip: false,
        log_analytics: None,
        realtime_metrics: false,
        monitor_metrics: false,
        gpu_skus: Vec::new(),
        api_version: "v".into(),
        user_agent: "test".into(),
    }
}

pub(crate) fn pods() -> Pods {
    Pods { arm: Arm::new(&settings()), owner: OWNER.into() }
}

pub(crate) fn pod(number: usize) -> PodId {
    PodId { namespace: "d".into(), name: format!("p{number}"), uid: format!("uid-{number}"), handle: None }
}

pub(crate) fn name(pod: &PodId) -> String {
    identity::group_name(OWNER, pod)
}

/// A group that runs a pod, as the mapping makes it.
pub(crate) fn group(pod: &PodId, owner: &str) -> ContainerGroup {
    serde_json::from_value(json!({
        "tags": {
            identity::OWNER: owner, identity::NAMESPACE: pod.namespace, identity::POD_NAME: pod.name, identity::UID: pod.uid,
        },
        "properties": {"containers": [{"name": "c", "properties": {"image": "x"}}]},
    }))
    .unwrap()
}

/// The requests so far but for those for tokens: method, and the group's name or nothing.
pub(crate) fn requests() -> Vec<(String, String)> {
    let to_arm = testing::requests().into_iter().filter(|request| !request.path().ends_with("/token"));
    to_arm
        .map(|request| {
            let name = request.path().strip_prefix(GROUPS).unwrap().trim_start_matches('/').to_owned();
            (request.method, name)
        })
        .collect()
}

/// The methods of the requests so far, in their order.
pub(crate) fn methods() -> String {
    let methods = requests().into_iter().map(|(method, name)| if name.is_empty() { "LIST".to_owned() } else { method });
    methods.collect::<Vec<_>>().join(" ")
}
