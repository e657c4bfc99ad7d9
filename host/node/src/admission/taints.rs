//! Whether a pod tolerates the taints that end pods; those that only keep the scheduler away are the scheduler's.

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

const NO_EXECUTE: &str = "NoExecute";

pub(super) fn tolerates(pod: &Pod, taints: &[Taint]) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut ending = taints.iter().filter(|taint| taint.effect == NO_EXECUTE);
    ending.all(|taint| tolerations.iter().any(|toleration| covers(toleration, taint)))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    // What is left out covers everything.
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || given(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    let (wanted, value) = (toleration.value.as_deref().unwrap_or_default(), taint.value.as_deref().unwrap_or_default());
    let numbers = || Some((value.parse::<i64>().ok()?, wanted.parse::<i64>().ok()?));
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => value == wanted,
        "Exists" => true,
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        _ => false,
    }
}
