//! Rules for containers.

use std::collections::HashSet;

use super::{Check, is_label, ports, refuse};
use crate::{
    body::{Amounts, ContainerProperties, Probe, Resources, Variable},
    error::ArmError,
};

/// The most containers that a group has, those of its initialisation included.
const MOST_CONTAINERS: usize = 60;
/// The longest name of a variable.
const LONGEST_VARIABLE: usize = 63;

impl Check<'_> {
    pub(super) fn containers(&self) -> Result<(), ArmError> {
        let properties = &self.body.properties;
        let group = self.name;
        let count = properties.containers.len() + properties.init_containers.len();
        if properties.containers.is_empty() || count > MOST_CONTAINERS {
            let message = format!("Container group '{group}' must have from 1 to {MOST_CONTAINERS} containers.");
            return refuse("InvalidContainers", message);
        }
        if self.is_windows() && count > 1 {
            let message = format!("Windows container group '{group}' can have one container only.");
            return refuse("MultipleContainersNotSupportedOnWindows", message);
        }
        let mut names = HashSet::new();
        let main = properties.containers.iter().map(|container| {
            let ContainerProperties { image, environment_variables, .. } = &container.properties;
            (&container.name, image, environment_variables)
        });
        let init = properties.init_containers.iter().map(|container| {
            let properties = &container.properties;
            (&container.name, &properties.image, &properties.environment_variables)
        });
        for (name, image, variables) in main.chain(init) {
            if !is_label(name, 1, 63) {
                return refuse("InvalidContainerName", format!("The container name '{name}' is not a valid name."));
            }
            if !names.insert(name) {
                return refuse("DuplicateContainerNames", format!("Duplicate container names '{name}' are found."));
            }
            if image.trim().is_empty() {
                let message = format!("The image of container '{name}' in container group '{group}' is not specified.");
                return refuse("InvalidImage", message);
            }
            variables.iter().try_for_each(|variable| check_variable(variable, name))?;
        }
        for container in &properties.containers {
            self.resources(&container.name, &container.properties.resources)?;
            ports(&container.properties.ports, &container.name)?;
            for probe in [&container.properties.liveness_probe, &container.properties.readiness_probe] {
                probe.iter().try_for_each(|probe| check_probe(probe, &container.name))?;
            }
        }
        self.total()
    }

    fn resources(&self, name: &str, resources: &Resources) -> Result<(), ArmError> {
        let group = self.name;
        let Some(requests) = &resources.requests else {
            let message =
                format!("The resource requests are not specified in container '{name}' in container group '{group}'.");
            return refuse("ResourceRequestsNotSpecified", message);
        };
        let (Some(cpu), Some(memory)) = (requests.cpu, requests.memory) else {
            let message = format!(
                "Some of the resource requests are not specified in container '{name}' in container group '{group}'."
            );
            return refuse("ResourceSomeRequestsNotSpecified", message);
        };
        if !(cpu > 0.0 && memory > 0.0) {
            let message = format!("The resource requests of container '{name}' must be more than 0.");
            return refuse("InvalidResourceRequests", message);
        }
        self.gpu(name, requests)?;
        let Some(limits) = &resources.limits else { return Ok(()) };
        self.gpu(name, limits)?;
        let total = (self.body.cores(), self.body.memory());
        let amounts = [("Cpu", cpu, limits.cpu, total.0), ("MemoryInGB", memory, limits.memory, total.1)];
        for (what, request, limit, total) in amounts {
            let Some(limit) = limit else { continue };
            if limit < request {
                let message =
                    format!("The '{what}' limit '{limit}' in container '{name}' is less than the request '{request}'.");
                return refuse("ResourceLimitsLessThanRequests", message);
            }
            // Sums of decimal fractions are not exact.
            if limit > total + 1e-9 {
                let message = format!(
                    "The '{what}' limit '{limit}' in container '{name}' is greater than the total request '{total}' of \
                     container group '{group}'."
                );
                return refuse("ContainerLimitGreaterThanContainerGroupTotalRequest", message);
            }
        }
        Ok(())
    }

    fn gpu(&self, name: &str, amounts: &Amounts) -> Result<(), ArmError> {
        let Some(gpu) = &amounts.gpu else { return Ok(()) };
        let is_sold = self.options.gpu_skus.contains(&gpu.sku);
        if !is_sold
            || !matches!(gpu.count, 1 | 2 | 4)
            || self.is_windows()
            || !self.body.properties.subnet_ids.is_empty()
        {
            let message = format!("Container '{name}' cannot have {} GPUs of SKU '{}' here.", gpu.count, gpu.sku);
            return refuse("GpuNotSupported", message);
        }
        Ok(())
    }

    fn total(&self) -> Result<(), ArmError> {
        let (cpu, memory) = (self.body.cores(), self.body.memory());
        let has_gpu = self.body.properties.containers.iter().any(|container| {
            container.properties.resources.requests.as_ref().is_some_and(|requests| requests.gpu.is_some())
        });
        let limits = self.options.limits;
        // Groups with GPUs are of other machines, with more of everything.
        let (most_cpu, most_memory) = if has_gpu { (24.0, 448.0) } else { (limits.cpu, limits.memory) };
        if cpu > most_cpu + 1e-9 || memory > most_memory + 1e-9 {
            let message = format!(
                "The resource requests '{cpu}' CPU and '{memory}' GB of container group '{}' exceed the limits '{most_cpu}' \
                 and '{most_memory}'.",
                self.name
            );
            return refuse("ContainerGroupRequestExceedsLimits", message);
        }
        Ok(())
    }
}

fn check_variable(variable: &Variable, container: &str) -> Result<(), ArmError> {
    let name = &variable.name;
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if name.is_empty()
        || name.len() > LONGEST_VARIABLE
        || !name.chars().all(fits)
        || name.starts_with(|char: char| char.is_ascii_digit())
    {
        let message = format!("The environment variable name '{name}' in container '{container}' is not a valid name.");
        return refuse("InvalidEnvironmentVariableName", message);
    }
    if variable.value.is_some() && variable.secure_value.is_some() {
        let message = format!("The environment variable '{name}' in container '{container}' has two values.");
        return refuse("InvalidEnvironmentVariable", message);
    }
    Ok(())
}

fn check_probe(probe: &Probe, container: &str) -> Result<(), ArmError> {
    let invalid = |problem: &str| refuse("InvalidProbe", format!("A probe of container '{container}' {problem}."));
    match (&probe.exec, &probe.http_get) {
        (Some(_), Some(_)) | (None, None) => return invalid("must have one of 'exec' and 'httpGet'"),
        (Some(exec), None) if exec.command.is_empty() => return invalid("has no command"),
        (None, Some(get)) => {
            if !get.port.is_some_and(|port| (1..=65535).contains(&port)) {
                return invalid("has no port from 1 to 65535");
            }
            let scheme = get.scheme.as_deref().unwrap_or("http").to_ascii_lowercase();
            if !matches!(scheme.as_str(), "http" | "https") {
                return invalid("has a scheme that is neither http nor https");
            }
        }
        _ => {}
    }
    let times = [
        probe.initial_delay_seconds,
        probe.period_seconds,
        probe.failure_threshold,
        probe.success_threshold,
        probe.timeout_seconds,
    ];
    if times.into_iter().flatten().any(|time| time < 0) { invalid("has a number below 0") } else { Ok(()) }
}
