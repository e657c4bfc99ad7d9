//! What a pod asks for as a container group, and what of it cannot be had.
//!
//! ```text
//!   fields: every field of the pod's spec: mapped, of no effect, passed over with a warning, or refused
//!   volumes (files, shares) ─> containers (environment, ports, probes, security) ─> resources: limits within the total
//!   registry, network, dns, ports: the public address
//! ```
//!
//! Nothing is dropped in silence that changes what runs. A field that the service cannot honour is refused by its name,
//! unless the pod's annotation `vk-host.dev/ignore` lists it; where a pod runs well without it, one event says so.
//! Equal pods give equal groups, byte for byte, so that a repeated request changes nothing.
//!
//! Groups in a subnet do not get the service's extension for kube-proxy: it would put credentials for the cluster's API
//! beside every workload. Services are reached by way of the cluster's name server, as far as the network leads there.

mod annotations;
mod containers;
mod dns;
mod environment;
mod fields;
mod files;
mod network;
mod ports;
mod probes;
mod registry;
mod resources;
mod security;
mod shares;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;

use vk_sdk::{
    OperatingSystem, Pod, Result,
    manifest::{Manifest, Refusals},
};

use crate::{
    group::{ConfidentialComputeProperties, ContainerGroup, Diagnostics, GroupProperties},
    identity,
    settings::Settings,
};

/// A group that runs a pod.
pub(crate) struct Mapped {
    pub(crate) group: ContainerGroup,
    /// What the pod's user is to be told, each as one event.
    pub(crate) warnings: Vec<Warning>,
}

/// Something that the group does otherwise than its pod has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What a group is made from.
struct Context<'a> {
    pod: &'a Pod,
    manifest: &'a Manifest,
    settings: &'a Settings,
}

impl Context<'_> {
    fn windows(&self) -> bool {
        matches!(self.settings.operating_system, OperatingSystem::Windows)
    }
}

/// What is to be said of a pod.
struct Notes {
    refusals: Refusals,
    warnings: Vec<Warning>,
    /// Fields that are passed over, by the reason why.
    ignored: BTreeMap<&'static str, Vec<String>>,
}

impl Notes {
    fn refuse(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.refusals.refuse(field, why);
    }

    fn ignore(&mut self, field: String, why: &'static str) {
        self.ignored.entry(why).or_default().push(field);
    }

    /// Adds a warning. Of each reason there is one: of several events at the same time the host keeps one by reason.
    fn warn(&mut self, reason: &'static str, message: String) {
        match self.warnings.iter_mut().find(|warning| warning.reason == reason) {
            Some(warning) => {
                warning.message.push_str("; ");
                warning.message.push_str(&message);
            }
            None => self.warnings.push(Warning { reason, message }),
        }
    }

    /// What the user is told, if nothing is refused.
    fn finish(mut self) -> Result<Vec<Warning>> {
        let passed_over = self.refusals.finish()?;
        if !self.ignored.is_empty() {
            let fields: Vec<_> =
                self.ignored.iter().map(|(why, fields)| format!("{}: {why}", fields.join(", "))).collect();
            self.warnings.push(Warning { reason: "FieldsIgnored", message: fields.join("; ") });
        }
        if !passed_over.is_empty() {
            let message = format!("passed over as the pod's annotation has it: {}", passed_over.join(", "));
            self.warnings.push(Warning { reason: "FieldsPassedOver", message });
        }
        Ok(self.warnings)
    }
}

/// The group that runs a pod.
///
/// # Errors
///
/// `unsupported`, naming all fields that the service cannot honour, and `invalid` for what makes no sense.
pub(crate) fn container_group(pod: &Pod, settings: &Settings) -> Result<Mapped> {
    let manifest = &Manifest::parse(&pod.manifest)?;
    let context = &Context { pod, manifest, settings };
    let mut notes = Notes { refusals: Refusals::new(manifest), warnings: Vec::new(), ignored: BTreeMap::new() };

    let confidential = security::confidential(manifest);
    fields::check(context, confidential.is_some(), &mut notes)?;
    let volumes = volumes::volumes(context, &mut notes)?;
    let containers = containers::containers(context, &volumes, confidential.is_some(), &mut notes)?;
    let init_containers = containers::init_containers(context, &volumes, confidential.is_some(), &mut notes)?;
    let ip_address = ports::address(context, &containers, &mut notes)?;

    let properties = GroupProperties {
        ip_address,
        containers,
        init_containers,
        volumes: volumes.list,
        image_registry_credentials: registry::credentials(&pod.logins, &mut notes),
        restart_policy: Some(manifest.spec.restart_policy.as_str().to_owned()),
        os_type: Some(if context.windows() { "Windows" } else { "Linux" }.to_owned()),
        diagnostics: diagnostics(context),
        subnet_ids: settings.network.iter().map(network::subnet_id).collect(),
        dns_config: dns::config(context, &mut notes),
        sku: confidential.as_ref().map(|_| "Confidential".to_owned()),
        priority: annotations::priority(manifest)?,
        confidential_compute_properties: confidential
            .flatten()
            .map(|cce_policy| ConfidentialComputeProperties { cce_policy }),
        extensions: network::extensions(context),
        ..GroupProperties::default()
    };
    let group = ContainerGroup {
        name: Some(identity::group_name(&settings.owner, &pod.id)),
        location: Some(settings.region.clone()),
        tags: Some(tags(context)),
        properties: Some(properties),
        ..ContainerGroup::default()
    };
    Ok(Mapped { group, warnings: notes.finish()? })
}

fn tags(context: &Context<'_>) -> BTreeMap<String, String> {
    let Context { pod, manifest, settings } = context;
    let created = manifest.metadata.creation_timestamp.as_deref().and_then(classic_time);
    let tags = [
        (identity::OWNER, Some(settings.owner.clone())),
        (identity::NODE_NAME, Some(settings.node_name.clone())),
        (identity::NAMESPACE, Some(pod.id.namespace.clone())),
        (identity::POD_NAME, Some(pod.id.name.clone())),
        (identity::UID, Some(pod.id.uid.clone())),
        (identity::CREATION_TIMESTAMP, created),
    ];
    tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A time of the API server, such as `2023-04-12T12:00:00Z`, as Go prints it: `2023-04-12 12:00:00 +0000 UTC`.
fn classic_time(time: &str) -> Option<String> {
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    Some(format!("{date} {time} +0000 UTC"))
}

/// With what the service's own monitoring needs to tell pods apart.
fn diagnostics(context: &Context<'_>) -> Option<Diagnostics> {
    let mut log_analytics = context.settings.log_analytics.clone()?;
    if log_analytics.log_type.as_deref() == Some("ContainerInsights") {
        log_analytics.metadata.insert("pod-uuid".to_owned(), context.pod.id.uid.clone());
    }
    Some(Diagnostics { log_analytics: Some(log_analytics) })
}
