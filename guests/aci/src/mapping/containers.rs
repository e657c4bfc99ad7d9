//! Containers and init containers.

use vk_sdk::{Result, manifest};

use super::{Context, Notes, environment, ports, probes, resources, security, volumes::Volumes};
use crate::group::{Container, ContainerProperties};

/// How many containers a group has at most.
const MOST: usize = 60;

/// The containers, in the order of the pod.
pub(super) fn containers(
    context: &Context<'_>,
    volumes: &Volumes,
    confidential: bool,
    notes: &mut Notes,
) -> Result<Vec<Container>> {
    let asked = &context.manifest.spec.containers;
    if asked.len() > MOST {
        notes
            .refuse("spec.containers", format!("a group has at most {MOST} containers, and these are {}", asked.len()));
    }
    if context.windows() && asked.len() > 1 {
        notes.refuse("spec.containers", "ACI has groups of several containers for Linux only");
    }
    let mut needs = Vec::with_capacity(asked.len());
    for container in asked {
        let field = format!("spec.containers[{}]", container.name);
        needs.push((container.name.as_str(), resources::needs(context, container, &field, notes)?));
    }
    resources::clamp_limits(&mut needs, notes);

    let mut containers = Vec::with_capacity(asked.len());
    for (container, (_, needs)) in asked.iter().zip(needs) {
        let field = format!("spec.containers[{}]", container.name);
        if container.restart_policy.is_some() {
            notes.refuse(format!("{field}.restartPolicy"), "ACI restarts all containers of a group alike");
        }
        if container.lifecycle.as_ref().is_some_and(is_set) {
            notes.refuse(format!("{field}.lifecycle"), "ACI does not support lifecycle hooks");
        }
        if container.startup_probe.is_some() {
            notes.refuse(format!("{field}.startupProbe"), "ACI does not support startupProbe");
        }
        let mut probe = |name, probe: &Option<manifest::Probe>| {
            probes::probe(probe.as_ref(), container, &format!("{field}.{name}"), notes)
        };
        let liveness_probe = probe("livenessProbe", &container.liveness_probe);
        let readiness_probe = probe("readinessProbe", &container.readiness_probe);
        let mut properties = common(context, container, &field, volumes, confidential, notes)?;
        properties.ports = ports::ports(container, &field, notes);
        properties.resources = Some(needs.resources());
        properties.liveness_probe = liveness_probe;
        properties.readiness_probe = readiness_probe;
        containers.push(Container { name: container.name.clone(), properties });
    }
    Ok(containers)
}

/// The init containers, in the order of the pod. The service gives them what the group has, and knows little of them.
pub(super) fn init_containers(
    context: &Context<'_>,
    volumes: &Volumes,
    confidential: bool,
    notes: &mut Notes,
) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for container in &context.manifest.spec.init_containers {
        let field = format!("spec.initContainers[{}]", container.name);
        if container.restart_policy.is_some() {
            let why = "azure container instances initContainers do not support restart policies: a group waits for each to \
                       end, so a sidecar would hold it up for ever";
            notes.refuse(format!("{field}.restartPolicy"), why);
            // One that never ends must not get in, even if the field is passed over.
            if container.is_sidecar() {
                continue;
            }
        }
        let properties = common(context, container, &field, volumes, confidential, notes)?;
        let unsupported = [
            ("ports", "ports", !container.ports.is_empty()),
            ("resources.requests", "resources requests", !container.resources.requests.is_empty()),
            ("resources.limits", "resources limits", !container.resources.limits.is_empty()),
            ("livenessProbe", "livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", "readinessProbe", container.readiness_probe.is_some()),
            ("lifecycle", "lifecycle hooks", container.lifecycle.as_ref().is_some_and(is_set)),
            ("startupProbe", "startupProbe", container.startup_probe.is_some()),
        ];
        for (name, what, _) in unsupported.into_iter().filter(|(_, _, is_set)| *is_set) {
            let why = format!("azure container instances initContainers do not support {what}");
            notes.refuse(format!("{field}.{name}"), why);
        }
        containers.push(Container { name: container.name.clone(), properties });
    }
    Ok(containers)
}

/// What containers and init containers have in common.
fn common(
    context: &Context<'_>,
    container: &manifest::Container,
    field: &str,
    volumes: &Volumes,
    confidential: bool,
    notes: &mut Notes,
) -> Result<ContainerProperties> {
    Ok(ContainerProperties {
        image: Some(container.image.clone()),
        command: command(container, field, notes),
        environment_variables: environment::variables(&container.env, field, notes),
        volume_mounts: volumes.mounts(context, container, field, notes)?,
        security_context: confidential.then(|| security::context(context.manifest, container)).flatten(),
        ..ContainerProperties::default()
    })
}

/// The service has one list for both, which takes the place of the image's entry point and arguments.
fn command(container: &manifest::Container, field: &str, notes: &mut Notes) -> Vec<String> {
    if container.command.is_empty() {
        if !container.args.is_empty() {
            let why = "ACI does not support providing args without specifying the command. Please supply both command and \
                       args to the pod spec.";
            notes.refuse(format!("{field}.args"), why);
        }
        return Vec::new();
    }
    let command: Vec<_> = container.command.iter().chain(&container.args).cloned().collect();
    let secrets = environment::secrets(&container.env);
    if command.iter().any(|word| secrets.iter().any(|secret| word.contains(secret))) {
        let message = format!(
            "{field}.command has the value of a secret, which Azure shows to whoever may read the group; let the command \
             read the variable instead"
        );
        notes.warn("SecretInCommand", message);
    }
    command
}

fn is_set(lifecycle: &serde_json::Value) -> bool {
    lifecycle.as_object().is_some_and(|hooks| hooks.values().any(|hook| !hook.is_null()))
}
