//! Confidential groups, and security contexts, which only those have.

use serde_json::{Map, Value};
use vk_sdk::manifest::{Container, Manifest};

use super::annotations;

/// What a confidential group honours of a container's security context.
pub(super) const OF_CONTAINER: [&str; 5] =
    ["privileged", "allowPrivilegeEscalation", "capabilities", "runAsUser", "runAsGroup"];
/// What it honours of the pod's, for containers that do not say otherwise.
pub(super) const OF_POD: [&str; 2] = ["runAsUser", "runAsGroup"];

/// Whether the pod is to run in a confidential group, and with which policy.
pub(super) fn confidential(manifest: &Manifest) -> Option<Option<String>> {
    if let Some(policy) = manifest.annotation(annotations::CCE_POLICY).filter(|policy| !policy.is_empty()) {
        return Some(Some(policy.to_owned()));
    }
    let sku = manifest.annotation(annotations::CONTAINER_SKU)?;
    sku.eq_ignore_ascii_case("confidential").then_some(None)
}

/// The security context of a container of a confidential group.
pub(super) fn context(manifest: &Manifest, container: &Container) -> Option<Value> {
    let of_pod = manifest.spec.security_context.as_ref();
    let of_container = container.security_context.as_ref();
    let set = |context: Option<&Value>, name| context?.get(name).filter(|value| !value.is_null()).cloned();
    let members: Map<String, Value> = OF_CONTAINER
        .into_iter()
        .filter_map(|name| {
            let inherited = || set(of_pod.filter(|_| OF_POD.contains(&name)), name);
            Some((name.to_owned(), set(of_container, name).or_else(inherited)?))
        })
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}
