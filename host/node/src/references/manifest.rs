//! The pod as a provider reads it: core/v1 JSON with its variables filled in.

use std::{borrow::Cow, collections::HashMap};

use k8s_openapi::api::core::v1::{EnvVar, Pod};

use super::{Unresolved, containers::containers_mut, environment::Environment, expansion::expand};

/// Writes the pod without its status and managed fields, with `envFrom` and `$(VAR)` expanded.
pub(super) fn manifest(pod: &Pod, environment: &Environment) -> Result<String, Unresolved> {
    let mut pod = Pod { metadata: pod.metadata.clone(), spec: pod.spec.clone(), status: None };
    pod.metadata.managed_fields = None;
    for container in pod.spec.iter_mut().flat_map(containers_mut) {
        let variables = environment.of(container.name);

        // The kubelet runs probes with the variables that the manifest states, as they stand there.
        let stated: HashMap<String, String> = container
            .env
            .iter()
            .flatten()
            .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()))
            .collect();
        let probes = container.probes.into_iter().flatten().filter_map(|probe| probe.exec.as_mut());
        for word in probes.flat_map(|exec| exec.command.iter_mut().flatten()) {
            expand_in_place(word, |name| stated.get(name).map(|value| Cow::Borrowed(value.as_str())));
        }

        let values: HashMap<&str, Option<&str>> =
            variables.iter().map(|variable| (&*variable.name, variable.value.as_deref())).collect();
        for word in container.command.iter_mut().flatten().chain(container.args.iter_mut().flatten()) {
            expand_in_place(word, |name| values.get(name).copied().flatten().map(Cow::Borrowed));
        }

        for mount in container.volume_mounts.iter_mut().flatten() {
            let Some(expression) = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty()) else {
                continue;
            };
            let (mut missing, mut left_to_provider) = (Vec::new(), false);
            let sub_path = expand(expression, |name| match values.get(name) {
                Some(Some(value)) if !value.is_empty() => Some(Cow::Borrowed(*value)),
                Some(None) => {
                    left_to_provider = true;
                    None
                }
                _ => {
                    missing.push(name.to_owned());
                    None
                }
            });
            if !missing.is_empty() {
                let message = format!(
                    "subPathExpr {expression:?} of container {:?} uses {}, which has no value",
                    container.name,
                    missing.join(", ")
                );
                return Err(Unresolved::held("CreateContainerConfigError", message));
            }
            if !left_to_provider {
                mount.sub_path = Some(sub_path);
                mount.sub_path_expr = None;
            }
        }

        *container.env_from = None;
        let made = variables.iter().map(|variable| EnvVar {
            name: variable.name.to_string(),
            value: variable.value.as_deref().map(str::to_owned),
            value_from: variable.source.as_deref().cloned(),
        });
        *container.env = Some(made.collect()).filter(|variables: &Vec<_>| !variables.is_empty());
    }
    serde_json::to_string(&pod)
        .map_err(|error| Unresolved::held("CreateContainerConfigError", format!("the pod is not valid JSON: {error}")))
}

fn expand_in_place<'v>(word: &mut String, value_of: impl FnMut(&str) -> Option<Cow<'v, str>>) {
    if word.contains('$') {
        *word = expand(word, value_of);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::references::{NodeFacts, environment::Ingredients, objects::Objects};

    fn written(container: Value) -> Result<Value, Unresolved> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [container]},
            "status": {"phase": "Pending"},
        }))
        .unwrap();
        let ingredients = Ingredients {
            pod: &pod,
            namespace: "ns",
            node: &NodeFacts::default(),
            objects: &Objects::default(),
            services: &[("SVC".into(), "10.1.1.1".into())],
        };
        let environment = Environment::default().completed(&ingredients, &mut Vec::new()).unwrap();
        let manifest: Value = serde_json::from_str(&manifest(&pod, &environment)?).unwrap();
        assert_eq!(manifest["kind"], "Pod");
        assert!(manifest.get("status").is_none() && manifest["metadata"].get("managedFields").is_none());
        Ok(manifest["spec"]["containers"][0].clone())
    }

    #[test]
    fn commands_arguments_and_probes_expand_as_in_the_kubelet() {
        let probe = json!({"exec": {"command": ["$(STATED)", "$(NAME)", "$(SVC)", "$(NONE)"]}});
        let container = written(json!({
            "name": "c",
            "command": ["$(STATED)", "$$(STATED)"],
            "args": ["$(NAME)", "$(SVC)", "$(NONE)", "$(IP)"],
            "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe,
            "env": [
                {"name": "STATED", "value": "s$(SVC)"},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
        }))
        .unwrap();
        assert_eq!(container["command"], json!(["s10.1.1.1", "$(STATED)"]));
        assert_eq!(container["args"], json!(["p", "10.1.1.1", "$(NONE)", "$(IP)"]));
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            assert_eq!(container[probe]["exec"]["command"], json!(["s$(SVC)", "", "$(SVC)", "$(NONE)"]));
        }
        assert_eq!(
            container["env"],
            json!([
                {"name": "STATED", "value": "s10.1.1.1"},
                {"name": "NAME", "value": "p", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "SVC", "value": "10.1.1.1"},
            ])
        );
    }

    #[test]
    fn sub_path_expressions_become_sub_paths_unless_they_need_the_pods_address() {
        let container = written(json!({
            "name": "c",
            "env": [
                {"name": "NAME", "value": "n"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "volumeMounts": [
                {"name": "v", "mountPath": "/a", "subPathExpr": "x/$(NAME)"},
                {"name": "v", "mountPath": "/b", "subPathExpr": "$(NAME)/$(IP)"},
                {"name": "v", "mountPath": "/c", "subPath": "$(NAME)"},
            ],
        }))
        .unwrap();
        assert_eq!(
            container["volumeMounts"],
            json!([
                {"name": "v", "mountPath": "/a", "subPath": "x/n"},
                {"name": "v", "mountPath": "/b", "subPathExpr": "$(NAME)/$(IP)"},
                {"name": "v", "mountPath": "/c", "subPath": "$(NAME)"},
            ])
        );
    }

    #[test]
    fn a_sub_path_expression_without_a_value_holds_the_pod() {
        for env in [json!([]), json!([{"name": "NAME", "value": ""}])] {
            let mounts = json!([{"name": "v", "mountPath": "/a", "subPathExpr": "$(NAME)"}]);
            let error = written(json!({"name": "c", "env": env, "volumeMounts": mounts})).unwrap_err();
            assert_eq!(error.reason, "CreateContainerConfigError");
        }
    }
}
