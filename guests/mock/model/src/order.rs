//! What a pod asks of the mock, by the annotations `mock.vk-host.dev/*`.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::{
    life::{Container, Kind, Plan, RestartPolicy},
    workload::Workload,
};

/// What the mock's annotations begin with.
pub const PREFIX: &str = "mock.vk-host.dev/";

/// How long a container runs that is to exit, and how long it waits to be started again, where the pod does not say.
const DEFAULT_MILLISECONDS: u64 = 1000;

/// Everything that a pod asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// How it is to live.
    pub plan: Plan,
    /// What its containers are seen to do.
    pub workload: Workload,
    /// How the provider is to behave towards it.
    pub conduct: Conduct,
}

/// How the provider is to behave towards a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conduct {
    /// `reject`: what creation answers.
    pub reject: Option<Rejection>,
    /// `reject-update`: what a change answers.
    pub reject_update: Option<Rejection>,
    /// `trap`, `spin`, `hang`, `eat-memory`: what the provider does instead of answering a call.
    pub misdeeds: Vec<(Call, Misdeed)>,
    /// `report-event`, `report-warning`: what is reported about the pod when it is created.
    pub reports: Vec<Report>,
}

/// An error to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The error's kind, by its name in the contract.
    pub kind: String,
    /// `reject-message`.
    pub message: String,
    /// `retry-after`, in milliseconds.
    pub retry_after: Option<u64>,
    /// `reject-times`: how often; without it, every time.
    pub times: Option<u32>,
}

/// A call that a pod can ask to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the contract")]
pub enum Call {
    Create,
    Update,
    Delete,
    Get,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Ends the program.
    Trap,
    /// Computes without end.
    Spin,
    /// Waits without end.
    Hang,
    /// Allocates without end.
    EatMemory,
}

/// An event to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether something went wrong.
    pub warning: bool,
    /// One word in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Why a manifest or its annotations make no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

const KINDS: [&str; 9] = [
    "invalid",
    "unsupported",
    "not-found",
    "conflict",
    "unauthenticated",
    "permission-denied",
    "exhausted",
    "unavailable",
    "internal",
];

impl Call {
    /// Its name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Get => "get",
        }
    }

    /// The call of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete, Self::Get].into_iter().find(|call| call.as_str() == name)
    }
}

impl Misdeed {
    /// The name of its annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Spin => "spin",
            Self::Hang => "hang",
            Self::EatMemory => "eat-memory",
        }
    }

    /// The misdeed whose annotation has that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Trap, Self::Spin, Self::Hang, Self::EatMemory].into_iter().find(|misdeed| misdeed.as_str() == name)
    }
}

// Only what is needed of a pod, borrowed where possible: the manifest is read once for each call that carries it.
#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    annotations: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow, default)]
    init_containers: Vec<ContainerSpec<'a>>,
    #[serde(borrow, default)]
    containers: Vec<ContainerSpec<'a>>,
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerSpec<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    image: Cow<'a, str>,
    #[serde(default)]
    restart_policy: Option<RestartPolicy>,
    #[serde(borrow, default)]
    env: Vec<Variable<'a>>,
}

#[derive(Deserialize)]
struct Variable<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// Without one it is the pod's address, which only the provider knows.
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

impl ContainerSpec<'_> {
    fn as_kind(&self, kind: Kind) -> Container {
        Container { name: self.name.clone().into_owned(), image: self.image.clone().into_owned(), kind }
    }

    fn variables(&self, ip: &str) -> Vec<(String, String)> {
        let value = |variable: &Variable<'_>| variable.value.as_deref().unwrap_or(ip).to_owned();
        self.env.iter().map(|variable| (variable.name.clone().into_owned(), value(variable))).collect()
    }
}

impl Order {
    /// Reads a pod's manifest.
    ///
    /// # Errors
    ///
    /// One line that names what is wrong: the manifest is no Pod, or an annotation of the mock's is unknown, malformed or
    /// contradicts the pod's restart policy.
    pub fn parse(manifest: &str) -> Result<Self, Problem> {
        let pod: Manifest<'_> =
            serde_json::from_str(manifest).map_err(|error| Problem(format!("the manifest is not a pod: {error}")))?;
        let init = pod.spec.init_containers.iter().map(|container| {
            container.as_kind(match container.restart_policy {
                Some(RestartPolicy::Always) => Kind::Sidecar,
                _ => Kind::Init,
            })
        });
        let apps = pod.spec.containers.iter().map(|container| container.as_kind(Kind::App));
        let mut plan = Plan {
            restart_policy: pod.spec.restart_policy,
            containers: init.chain(apps).collect(),
            ip: address(&pod.metadata.uid),
            start_after: 0,
            run_for: None,
            exit_code: 0,
            restarts: None,
            restart_after: DEFAULT_MILLISECONDS,
            fail: None,
            stop_after: 0,
        };
        let mut workload = Workload::default();
        let conduct = read(&pod.metadata.annotations, &mut plan, &mut workload)?;
        let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
        workload.env = containers
            .filter(|container| !container.env.is_empty())
            .map(|container| (container.name.clone().into_owned(), container.variables(&plan.ip)))
            .collect();
        Ok(Self { plan, workload, conduct })
    }
}

fn read(
    annotations: &BTreeMap<Cow<'_, str>, Cow<'_, str>>,
    plan: &mut Plan,
    workload: &mut Workload,
) -> Result<Conduct, Problem> {
    let mut conduct = Conduct::default();
    let mut message = None;
    let mut retry_after = None;
    let mut times = None;
    let mut exit_code = None;
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let value = value.as_ref();
        match name {
            "start-after" => plan.start_after = duration(name, value)?,
            "run-for" => plan.run_for = Some(duration(name, value)?),
            "exit-code" => exit_code = Some(number(name, value)?),
            "restarts" => plan.restarts = Some(number(name, value)?),
            "restart-after" => plan.restart_after = duration(name, value)?,
            "fail" => plan.fail = Some(value.to_owned()),
            "stop-after" => plan.stop_after = duration(name, value)?,
            "pod-ip" => plan.ip = value.to_owned(),
            "reject" => conduct.reject = Some(rejection(name, value)?),
            "reject-update" => conduct.reject_update = Some(rejection(name, value)?),
            "reject-message" => message = Some(value.to_owned()),
            "retry-after" => retry_after = Some(duration(name, value)?),
            "reject-times" => times = Some(number(name, value)?),
            "report-event" => conduct.reports.push(report(name, value, false)?),
            "report-warning" => conduct.reports.push(report(name, value, true)?),
            _ if workload.annotate(name, value)? => {}
            _ => {
                let misdeed = Misdeed::from_name(name)
                    .ok_or_else(|| Problem(format!("unknown annotation {PREFIX}{name}: see the mock's mock.toml")))?;
                for call in value.split(',') {
                    let call = Call::from_name(call.trim())
                        .ok_or_else(|| wrong(name, value, "a list of create, update, delete, get"))?;
                    conduct.misdeeds.push((call, misdeed));
                }
            }
        }
    }
    for rejection in [&mut conduct.reject, &mut conduct.reject_update].into_iter().flatten() {
        rejection.message = message.clone().unwrap_or_else(|| format!("the pod asks for {}", rejection.kind));
        rejection.retry_after = retry_after;
        rejection.times = times;
    }
    finish(plan, exit_code)?;
    Ok(conduct)
}

/// Fills in what follows from what was said about the ends of the containers' runs.
fn finish(plan: &mut Plan, exit_code: Option<i32>) -> Result<(), Problem> {
    if plan.restarts.is_some() {
        if plan.restart_policy == RestartPolicy::Never {
            return Err(Problem(format!("{PREFIX}restarts contradicts restartPolicy Never")));
        }
        if plan.restart_policy == RestartPolicy::OnFailure && exit_code == Some(0) {
            return Err(Problem(format!(
                "{PREFIX}restarts contradicts {PREFIX}exit-code 0 with restartPolicy OnFailure"
            )));
        }
    }
    let default_code = i32::from(plan.restarts.is_some() || plan.fail.is_some());
    if plan.restarts.is_some() || plan.fail.is_some() || exit_code.is_some() {
        plan.run_for.get_or_insert(DEFAULT_MILLISECONDS);
    }
    plan.exit_code = exit_code.unwrap_or(default_code);
    Ok(())
}

pub(crate) fn wrong(name: &str, value: &str, expected: &str) -> Problem {
    Problem(format!("annotation {PREFIX}{name} is {value:?}, not {expected}"))
}

pub(crate) fn duration(name: &str, value: &str) -> Result<u64, Problem> {
    humantime::parse_duration(value)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
        // A hundred years: sums of times stay far from overflow.
        .filter(|milliseconds| *milliseconds <= 100 * 365 * 86_400_000)
        .ok_or_else(|| wrong(name, value, "a duration such as 500ms or 2s"))
}

pub(crate) fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| wrong(name, value, "a number"))
}

fn rejection(name: &str, value: &str) -> Result<Rejection, Problem> {
    if !KINDS.contains(&value) {
        return Err(wrong(name, value, &format!("one of {}", KINDS.join(", "))));
    }
    Ok(Rejection { kind: value.to_owned(), message: String::new(), retry_after: None, times: None })
}

fn report(name: &str, value: &str, warning: bool) -> Result<Report, Problem> {
    let (reason, message) = value.split_once(": ").ok_or_else(|| wrong(name, value, "REASON: MESSAGE"))?;
    Ok(Report { warning, reason: reason.to_owned(), message: message.to_owned() })
}

/// An address in 10.0.0.0/8 that follows from the uid (by 32-bit FNV-1a), so that nobody needs to hand addresses out.
/// Two of five thousand pods may share one.
fn address(uid: &str) -> String {
    let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    format!("10.{}.{}.{}", a ^ d, b, 1 + c % 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(policy: &str, annotations: &[(&str, &str)]) -> Result<Order, Problem> {
        let annotations: BTreeMap<_, _> =
            annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), *value)).collect();
        let pod = serde_json::json!({
            "metadata": {"uid": "u-1", "annotations": annotations},
            "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]},
        });
        Order::parse(&pod.to_string())
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line_that_names_it() {
        for (policy, name, value, problem) in [
            (
                "Always",
                "strat-after",
                "1s",
                "unknown annotation mock.vk-host.dev/strat-after: see the mock's mock.toml",
            ),
            (
                "Always",
                "run-for",
                "soon",
                "annotation mock.vk-host.dev/run-for is \"soon\", not a duration such as 500ms or 2s",
            ),
            (
                "Always",
                "log-bytes",
                "0",
                "annotation mock.vk-host.dev/log-bytes is \"0\", not a number from 1 to 65536",
            ),
            ("Always", "log-text", "a\nb", "annotation mock.vk-host.dev/log-text is \"a\\nb\", not one line"),
            ("Always", "port-forward", ":80", "annotation mock.vk-host.dev/port-forward is \":80\", not HOST:PORT"),
            (
                "Always",
                "exec-via",
                "ftp://h",
                "annotation mock.vk-host.dev/exec-via is \"ftp://h\", not a URL with ws, wss, http, https or tcp",
            ),
            ("Always", "exit-code", "x", "annotation mock.vk-host.dev/exit-code is \"x\", not a number"),
            (
                "Always",
                "trap",
                "poll",
                "annotation mock.vk-host.dev/trap is \"poll\", not a list of create, update, delete, get",
            ),
            ("Never", "restarts", "1", "mock.vk-host.dev/restarts contradicts restartPolicy Never"),
            ("Always", "report-event", "x", "annotation mock.vk-host.dev/report-event is \"x\", not REASON: MESSAGE"),
            (
                "Always",
                "reject",
                "never",
                "annotation mock.vk-host.dev/reject is \"never\", not one of invalid, unsupported, not-found, conflict, \
                 unauthenticated, permission-denied, exhausted, unavailable, internal",
            ),
        ] {
            assert_eq!(order(policy, &[(name, value)]).unwrap_err().to_string(), problem);
        }
        assert!(Order::parse("[]").unwrap_err().to_string().starts_with("the manifest is not a pod: "));
    }

    #[test]
    fn a_rejection_carries_its_message_and_its_wait_in_any_order_of_annotations() {
        let conduct =
            order("Always", &[("reject", "exhausted"), ("retry-after", "7s"), ("reject-times", "2")]).unwrap().conduct;
        let expected = Rejection {
            kind: "exhausted".into(),
            message: "the pod asks for exhausted".into(),
            retry_after: Some(7000),
            times: Some(2),
        };
        assert_eq!(conduct.reject, Some(expected));
    }

    #[test]
    fn a_misdeed_names_the_calls_that_it_strikes() {
        let conduct = order("Always", &[("trap", "create, get"), ("eat-memory", "delete")]).unwrap().conduct;
        assert_eq!(
            conduct.misdeeds,
            [(Call::Delete, Misdeed::EatMemory), (Call::Create, Misdeed::Trap), (Call::Get, Misdeed::Trap)]
        );
    }

    #[test]
    fn addresses_follow_from_the_uid_and_are_addresses_of_hosts() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..1000 {
            let ip = address(&format!("6f0c7b0a-2f0e-4c39-9d3e-{number:012}"));
            let octets = ip.parse::<std::net::Ipv4Addr>().unwrap().octets();
            assert_eq!(octets[0], 10);
            assert!((1..=254).contains(&octets[3]), "{ip}");
            seen.insert(ip);
        }
        assert!(seen.len() > 990, "{} different addresses of 1000", seen.len());
    }
}
