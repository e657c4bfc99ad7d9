//! Every field of a pod's spec, and what becomes of it.
//!
//! A field that is in no table is newer than this provider: it is passed over with a warning.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};
use vk_sdk::{Result, manifest};

use super::{Context, Notes, security};
use Treatment::{Fine, Refused, Warned};

/// A field of an object of the manifest.
pub(super) struct Rule {
    pub(super) name: &'static str,
    treatment: Treatment,
    /// Which values ask for nothing that the service does not do anyway.
    harmless: fn(&Value) -> bool,
    why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Mapped elsewhere, seen to by Kubernetes or the host, or of no effect on what runs.
    Fine,
    /// Passed over, with one event.
    Warned,
    Refused,
}

const fn mapped(name: &'static str) -> Rule {
    Rule { name, treatment: Fine, harmless: |_| true, why: "" }
}

/// Has no effect on what runs; the reason is for readers.
const fn of_no_effect(name: &'static str, why: &'static str) -> Rule {
    Rule { name, treatment: Fine, harmless: |_| true, why }
}

const fn warned(name: &'static str, harmless: fn(&Value) -> bool, why: &'static str) -> Rule {
    Rule { name, treatment: Warned, harmless, why }
}

const fn refused(name: &'static str, harmless: fn(&Value) -> bool, why: &'static str) -> Rule {
    Rule { name, treatment: Refused, harmless, why }
}

const SCHEDULING: &str = "the scheduler's";
const RESOLVED: &str = "the host or the API server has seen to it";
const NO_NODE: &str = "a group has a machine of its own, and no node to share with";
const IMAGE_USER: &str = "ACI runs containers as the user that the image names, save in confidential groups";
const NO_OWNER: &str = "ACI mounts volumes as root's";
const OWN_MACHINE: &str =
    "ACI has no such setting; what is left is that a group has a machine of its own, which it shares with no other pod";
const PROFILE: &str = "ACI has its runtime's own profile alone";
const HOST_NAME: &str = "ACI chooses the host name";
const NO_INPUT: &str = "ACI gives containers neither an input nor a terminal; kubectl exec has both";

fn never(_: &Value) -> bool {
    false
}

fn if_false(value: &Value) -> bool {
    value == false
}

fn if_true(value: &Value) -> bool {
    value == true
}

/// A profile's type.
fn if_runtime_default(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "RuntimeDefault")
}

pub(super) const SPEC: &[Rule] = &[
    mapped("volumes"),
    mapped("restartPolicy"),
    mapped("imagePullSecrets"),
    mapped("dnsPolicy"),
    mapped("dnsConfig"),
    mapped("securityContext"),
    mapped("os"),
    of_no_effect("nodeName", SCHEDULING),
    of_no_effect("nodeSelector", SCHEDULING),
    of_no_effect("affinity", SCHEDULING),
    of_no_effect("tolerations", SCHEDULING),
    of_no_effect("topologySpreadConstraints", SCHEDULING),
    of_no_effect("schedulerName", SCHEDULING),
    of_no_effect("schedulingGates", SCHEDULING),
    of_no_effect("priority", SCHEDULING),
    of_no_effect("priorityClassName", SCHEDULING),
    of_no_effect("preemptionPolicy", SCHEDULING),
    of_no_effect("overhead", SCHEDULING),
    of_no_effect("readinessGates", RESOLVED),
    of_no_effect("activeDeadlineSeconds", RESOLVED),
    of_no_effect("enableServiceLinks", RESOLVED),
    of_no_effect("serviceAccountName", RESOLVED),
    of_no_effect("serviceAccount", RESOLVED),
    of_no_effect("automountServiceAccountToken", RESOLVED),
    warned("hostname", never, HOST_NAME),
    warned("subdomain", never, HOST_NAME),
    warned("setHostnameAsFQDN", if_false, HOST_NAME),
    warned("hostnameOverride", never, HOST_NAME),
    warned(
        "terminationGracePeriodSeconds",
        |value| value.as_u64().is_some_and(|seconds| seconds <= 30),
        "ACI decides how long containers may take to stop",
    ),
    warned("ephemeralContainers", never, "a group's containers do not change while it runs"),
    refused("hostNetwork", if_false, NO_NODE),
    refused("hostPID", if_false, NO_NODE),
    refused("hostIPC", if_false, NO_NODE),
    refused("hostUsers", if_true, "ACI has no user namespaces"),
    refused("shareProcessNamespace", if_false, "containers of a group do not see each other's processes"),
    refused("hostAliases", never, "ACI lets nobody add to /etc/hosts"),
    refused("runtimeClassName", never, "ACI has one runtime"),
    refused("resourceClaims", never, "ACI has no devices but GPUs"),
    refused("resources", never, "ACI gives resources to containers, not to pods"),
];

pub(super) const CONTAINER: &[Rule] = &[
    mapped("image"),
    mapped("command"),
    mapped("args"),
    mapped("envFrom"),
    mapped("ports"),
    mapped("resources"),
    mapped("volumeMounts"),
    mapped("livenessProbe"),
    mapped("readinessProbe"),
    mapped("startupProbe"),
    mapped("lifecycle"),
    mapped("restartPolicy"),
    mapped("securityContext"),
    of_no_effect("terminationMessagePath", "the status has no such message"),
    of_no_effect("terminationMessagePolicy", "the status has no such message"),
    of_no_effect("resizePolicy", "a group's resources do not change while it runs"),
    refused("imagePullPolicy", |value| value != "Never", "ACI always pulls images"),
    refused("workingDir", never, "ACI starts containers in the directory that the image names"),
    refused("volumeDevices", never, "ACI has no block devices"),
    refused("restartPolicyRules", never, "ACI restarts all containers of a group alike"),
    warned("stdin", if_false, NO_INPUT),
    warned("stdinOnce", if_false, NO_INPUT),
    warned("tty", if_false, NO_INPUT),
];

pub(super) const RESOURCES: &[Rule] =
    &[mapped("requests"), mapped("limits"), refused("claims", never, "ACI has no devices but GPUs")];

pub(super) const PORT: &[Rule] = &[
    mapped("containerPort"),
    mapped("protocol"),
    mapped("hostPort"),
    of_no_effect("name", "for probes and Services"),
    refused("hostIP", |value| value == "0.0.0.0" || value == "::", NO_NODE),
];

pub(super) const MOUNT: &[Rule] = &[
    mapped("name"),
    mapped("mountPath"),
    mapped("readOnly"),
    mapped("subPath"),
    mapped("subPathExpr"),
    refused("mountPropagation", |value| value == "None", NO_NODE),
    refused("recursiveReadOnly", |value| value != "Enabled", "ACI has no such mounts"),
];

pub(super) const PROBE: &[Rule] = &[
    mapped("exec"),
    mapped("httpGet"),
    mapped("tcpSocket"),
    mapped("grpc"),
    mapped("initialDelaySeconds"),
    mapped("periodSeconds"),
    mapped("timeoutSeconds"),
    mapped("successThreshold"),
    mapped("failureThreshold"),
    warned("terminationGracePeriodSeconds", never, "ACI decides how long containers may take to stop"),
];

/// What asks for a user, a right or a restriction that the service does not give is refused: the pod would run as
/// somebody else than it says, or be less safe than it says. Restrictions that only keep a container from the machine
/// below it are passed over with a warning, since charts set them everywhere and the machine is the pod's own.
pub(super) const POD_SECURITY: &[Rule] = &[
    refused("runAsUser", never, IMAGE_USER),
    refused("runAsGroup", never, IMAGE_USER),
    refused("runAsNonRoot", if_false, "ACI does not check which user an image runs as"),
    refused("supplementalGroups", never, IMAGE_USER),
    refused("fsGroup", never, NO_OWNER),
    of_no_effect("fsGroupChangePolicy", "means nothing without fsGroup"),
    of_no_effect("supplementalGroupsPolicy", "means nothing without supplementalGroups"),
    of_no_effect("seLinuxChangePolicy", "means nothing without seLinuxOptions"),
    refused("seLinuxOptions", never, "ACI has no SELinux"),
    refused("sysctls", never, "ACI lets nobody set kernel parameters"),
    refused("windowsOptions", never, IMAGE_USER),
    refused("seccompProfile", if_runtime_default, PROFILE),
    refused("appArmorProfile", if_runtime_default, PROFILE),
];

pub(super) const CONTAINER_SECURITY: &[Rule] = &[
    refused("privileged", if_false, "ACI has privileged containers only in confidential groups"),
    warned("allowPrivilegeEscalation", if_true, OWN_MACHINE),
    mapped("capabilities"),
    refused("runAsUser", never, IMAGE_USER),
    refused("runAsGroup", never, IMAGE_USER),
    refused("runAsNonRoot", if_false, "ACI does not check which user an image runs as"),
    refused("readOnlyRootFilesystem", if_false, "ACI has no read-only root file systems"),
    refused("procMount", |value| value == "Default", "ACI mounts /proc in one way"),
    refused("seLinuxOptions", never, "ACI has no SELinux"),
    refused("windowsOptions", never, IMAGE_USER),
    refused("seccompProfile", if_runtime_default, PROFILE),
    refused("appArmorProfile", if_runtime_default, PROFILE),
];

pub(super) const CAPABILITIES: &[Rule] =
    &[refused("add", never, "ACI gives capabilities only in confidential groups"), warned("drop", never, OWN_MACHINE)];

/// A pod as far as its fields are looked at: variables, of which a pod may have thousands, are not read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    spec: SpecShape,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecShape {
    containers: Option<Vec<ContainerShape>>,
    init_containers: Option<Vec<ContainerShape>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerShape {
    name: String,
    #[serde(rename = "env")]
    _env: IgnoredAny,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Goes through the whole spec.
pub(super) fn check(context: &Context<'_>, confidential: bool, notes: &mut Notes) -> Result<()> {
    let Shape { spec } = manifest::parse(&context.pod.manifest)?;
    walk([&spec.rest], "spec", SPEC, &[], notes);
    operating_system(context, &spec.rest, notes);
    let honoured: &[&str] = if confidential { &security::OF_POD } else { &[] };
    walk(object(&spec.rest, "securityContext"), "spec.securityContext", POD_SECURITY, honoured, notes);
    for (list, containers) in [("containers", spec.containers), ("initContainers", spec.init_containers)] {
        for container in containers.unwrap_or_default() {
            let path = format!("spec.{list}[{}]", container.name);
            check_container(&container.rest, &path, confidential, notes);
        }
    }
    Ok(())
}

fn check_container(container: &Map<String, Value>, path: &str, confidential: bool, notes: &mut Notes) {
    walk([container], path, CONTAINER, &[], notes);
    walk(object(container, "resources"), &format!("{path}.resources"), RESOURCES, &[], notes);
    for port in each(container, "ports") {
        let number = port.get("containerPort").and_then(Value::as_u64).unwrap_or_default();
        walk([port], &format!("{path}.ports[{number}]"), PORT, &[], notes);
    }
    for mount in each(container, "volumeMounts") {
        walk([mount], &format!("{path}.volumeMounts[{}]", text(mount, "name")), MOUNT, &[], notes);
    }
    for probe in ["livenessProbe", "readinessProbe"] {
        walk(object(container, probe), &format!("{path}.{probe}"), PROBE, &[], notes);
    }
    let path = format!("{path}.securityContext");
    let security = object(container, "securityContext");
    let honoured: &[&str] = if confidential { &security::OF_CONTAINER } else { &[] };
    walk(security, &path, CONTAINER_SECURITY, honoured, notes);
    if !confidential {
        let capabilities = security.into_iter().flat_map(|security| object(security, "capabilities"));
        walk(capabilities, &format!("{path}.capabilities"), CAPABILITIES, &[], notes);
    }
}

/// Treats the members of an object by their rules, but for those that are `honoured`.
fn walk<'v>(
    object: impl IntoIterator<Item = &'v Map<String, Value>>,
    path: &str,
    rules: &[Rule],
    honoured: &[&str],
    notes: &mut Notes,
) {
    for (name, value) in object.into_iter().flatten() {
        if is_unset(value) || honoured.contains(&name.as_str()) {
            continue;
        }
        let (treatment, why) = match rules.iter().find(|rule| rule.name == name) {
            Some(rule) if (rule.harmless)(value) => (Fine, rule.why),
            Some(rule) => (rule.treatment, rule.why),
            None => (Warned, "not known to this provider"),
        };
        match treatment {
            Fine => {}
            Warned => notes.ignore(format!("{path}.{name}"), why),
            Refused => notes.refuse(format!("{path}.{name}"), why),
        }
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn operating_system(context: &Context<'_>, spec: &Map<String, Value>, notes: &mut Notes) {
    let here = if context.windows() { "windows" } else { "linux" };
    let asked = object(spec, "os").map(|os| text(os, "name")).unwrap_or_default();
    if !asked.is_empty() && asked != here {
        notes.refuse("spec.os", format!("this node's containers are for {here}, not {asked}"));
    }
}

fn object<'v>(parent: &'v Map<String, Value>, name: &str) -> Option<&'v Map<String, Value>> {
    parent.get(name)?.as_object()
}

fn each<'v>(parent: &'v Map<String, Value>, name: &str) -> impl Iterator<Item = &'v Map<String, Value>> {
    parent.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn text<'v>(object: &'v Map<String, Value>, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
