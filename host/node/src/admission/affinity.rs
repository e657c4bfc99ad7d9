//! Whether a node is one of those that a pod asks for: `nodeSelector` and the required node affinity.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod};

use crate::registration::NodeFacts;

/// Whether the pod may be on the node. What the API server would have refused matches no node, as in the kubelet.
pub(super) fn matches(pod: &Pod, node: &NodeFacts) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| node.labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// All of a term holds; an empty one matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &NodeFacts) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|wanted| holds(wanted, node.labels.get(&wanted.key).map(String::as_str)))
        && fields.iter().all(|wanted| field_holds(wanted, node))
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let is_listed = |value: &str| values.iter().any(|listed| listed == value);
    match wanted.operator.as_str() {
        "In" => value.is_some_and(is_listed),
        "NotIn" => !values.is_empty() && !value.is_some_and(is_listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers(value, values).is_some_and(|(own, bound)| own > bound),
        "Lt" => numbers(value, values).is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

/// The label and the one value that it is compared with.
fn numbers(value: Option<&str>, values: &[String]) -> Option<(i64, i64)> {
    let [bound] = values else { return None };
    Some((value?.parse().ok()?, bound.parse().ok()?))
}

/// The name is the only field there is, and one value is all that can be given.
fn field_holds(wanted: &NodeSelectorRequirement, node: &NodeFacts) -> bool {
    let Some([name]) = wanted.values.as_deref() else { return false };
    let is_own = wanted.key == "metadata.name" && *name == node.name;
    match wanted.operator.as_str() {
        "In" => is_own,
        "NotIn" => !is_own,
        _ => false,
    }
}
