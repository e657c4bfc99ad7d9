//! What the service refuses, and with which code.
//!
//! The codes of Azure are known for the common mistakes; for others they are made after those. Clients are to go by the
//! status: 400 is the request's own fault.

mod containers;
mod volumes;

use std::collections::HashSet;

use crate::{
    body::{Body, IpAddress, Port, RegistryCredential},
    error::ArmError,
    group, network,
    options::Options,
    world::{Key, World},
};

/// The most ports that an address has.
const MOST_PORTS: usize = 5;
/// The most tags that a resource has, and the longest values in characters.
const MOST_TAGS: usize = 50;
const LONGEST_TAG: usize = 256;

/// What every part of a body is checked with.
struct Check<'a> {
    options: &'a Options,
    /// Name of the group.
    name: &'a str,
    body: &'a Body,
}

/// Checks a body against all rules that do not depend on what else is there, and then against what is there.
pub(crate) fn check(options: &Options, world: &World, key: &Key, name: &str, body: &Body) -> Result<(), ArmError> {
    let check = Check { options, name, body };
    check.group()?;
    check.containers()?;
    check.volumes()?;
    check.address()?;
    check.surroundings(world, key)
}

/// Checks that a group that is there can become another.
pub(crate) fn check_update(before: &Body, after: &Body, name: &str) -> Result<(), ArmError> {
    let fixed = |body: &Body| {
        let properties = &body.properties;
        let subnets: Vec<String> = properties.subnet_ids.iter().map(|subnet| subnet.id.to_ascii_lowercase()).collect();
        (properties.os_type.clone(), properties.restart_policy, subnets)
    };
    let is_as_large = (before.cores() - after.cores()).abs() < f64::EPSILON
        && (before.memory() - after.memory()).abs() < f64::EPSILON;
    if fixed(before) == fixed(after) && is_as_large {
        return Ok(());
    }
    let message = format!(
        "The updates on container group '{name}' are invalid: operating system, restart policy, network, cores and memory \
         cannot be changed. Delete the group first."
    );
    Err(ArmError::bad_request("InvalidContainerGroupUpdate", message))
}

impl Check<'_> {
    fn group(&self) -> Result<(), ArmError> {
        let Self { options, name, body } = *self;
        let properties = &body.properties;
        if !is_label(name, 1, 63) {
            return refuse(
                "InvalidContainerGroupName",
                format!("The container group name '{name}' is not a valid name."),
            );
        }
        let region = group::region(&body.location);
        if !options.regions.contains(&region) {
            let message = format!(
                "The provided location '{}' is not available for resource type \
                 'Microsoft.ContainerInstance/containerGroups'.",
                body.location
            );
            return refuse("LocationNotAvailableForResourceType", message);
        }
        if body.tags.len() > MOST_TAGS || body.tags.values().any(|value| value.chars().count() > LONGEST_TAG) {
            let message = format!("A resource has at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters.");
            return refuse("InvalidTags", message);
        }
        one_of("osType", Some(&properties.os_type), &["Linux", "Windows"])?;
        one_of("sku", properties.sku.as_ref(), &["Standard", "Dedicated", "Confidential"])?;
        one_of("priority", properties.priority.as_ref(), &["Regular", "Spot"])?;
        one_of(
            "identity.type",
            body.identity.as_ref().map(|identity| &identity.kind),
            &["SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None"],
        )?;
        self.confidential()?;
        properties.image_registry_credentials.iter().try_for_each(credential)?;
        self.analytics()?;
        if self.is_windows() && !(properties.dns_config.is_none() && properties.extensions.is_empty()) {
            let message = format!("Windows container group '{name}' can have neither dnsConfig nor extensions.");
            return refuse("WindowsContainersNotSupported", message);
        }
        if properties.dns_config.as_ref().is_some_and(|dns| dns.name_servers.is_empty()) {
            return refuse("DnsConfigNameServersNotSpecified", "dnsConfig has no name servers.".to_owned());
        }
        for extension in &properties.extensions {
            if extension.name.is_empty() || extension.properties.extension_type.is_empty() {
                return refuse("InvalidExtension", "An extension has no name or no type.".to_owned());
            }
        }
        Ok(())
    }

    fn confidential(&self) -> Result<(), ArmError> {
        let properties = &self.body.properties;
        let policy = properties
            .confidential_compute_properties
            .as_ref()
            .and_then(|confidential| confidential.cce_policy.as_ref());
        if policy.is_some() && properties.sku.as_deref() != Some("Confidential") {
            let message = "A policy for confidential computing needs the SKU 'Confidential'.";
            return refuse("InvalidConfidentialComputeProperties", message.to_owned());
        }
        if policy.is_some_and(|policy| !volumes::is_base64(policy)) {
            return refuse("InvalidConfidentialComputeProperties", "The policy is not base64.".to_owned());
        }
        Ok(())
    }

    fn analytics(&self) -> Result<(), ArmError> {
        let analytics = self.body.properties.diagnostics.as_ref().and_then(|all| all.log_analytics.as_ref());
        let Some(analytics) = analytics else { return Ok(()) };
        if analytics.workspace_id.is_empty() || analytics.workspace_key.as_ref().is_none_or(String::is_empty) {
            let message = "Log analytics needs both a workspace id and a workspace key.".to_owned();
            return refuse("InvalidLogAnalyticsWorkspace", message);
        }
        let known = ["ContainerInsights", "ContainerInstanceLogs"];
        one_of("logType", analytics.log_type.as_ref(), &known)
    }

    fn is_windows(&self) -> bool {
        self.body.properties.os_type == "Windows"
    }

    fn address(&self) -> Result<(), ArmError> {
        let properties = &self.body.properties;
        let name = self.name;
        let Some(address) = &properties.ip_address else { return Ok(()) };
        one_of("ipAddress.type", Some(&address.kind), &["Public", "Private"])?;
        let has_subnet = !properties.subnet_ids.is_empty();
        if has_subnet && address.kind == "Public" {
            let message = format!("Container group '{name}' in a subnet cannot have a public IP address.");
            return refuse("PublicIPAddressNotSupportedInVirtualNetwork", message);
        }
        if !has_subnet && address.kind == "Private" {
            let message = format!("Container group '{name}' has a private IP address, but no subnet.");
            return refuse("PrivateIPAddressNeedsVirtualNetwork", message);
        }
        self.address_ports(address)?;
        match &address.dns_name_label {
            Some(label) if !is_label(label, 5, 63) => {
                refuse("InvalidDnsNameLabel", format!("The DNS name label '{label}' is not a valid name."))
            }
            Some(_) if has_subnet => {
                refuse("DnsNameLabelNotSupported", "A DNS name label needs a public IP address.".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn address_ports(&self, address: &IpAddress) -> Result<(), ArmError> {
        let name = self.name;
        if address.ports.is_empty() {
            let message = format!("The ports in the 'ipAddress' of container group '{name}' cannot be empty.");
            return refuse("MissingIpAddressPorts", message);
        }
        if address.ports.len() > MOST_PORTS {
            let message = format!("The IP address of container group '{name}' has more than {MOST_PORTS} ports.");
            return refuse("TooManyIpAddressPorts", message);
        }
        ports(&address.ports, name)?;
        let containers = &self.body.properties.containers;
        let exposed: Vec<&Port> = containers.iter().flat_map(|container| &container.properties.ports).collect();
        match address.ports.iter().find(|port| !exposed.contains(port)) {
            Some(port) => {
                let message = format!(
                    "The port '{}' ({:?}) in the 'ipAddress' of container group '{name}' is not exposed by a container.",
                    port.port, port.protocol
                );
                refuse("IpAddressPortNotExposed", message)
            }
            None => Ok(()),
        }
    }

    /// Checks against what else is there: subnets, labels of other groups, quotas.
    fn surroundings(&self, world: &World, key: &Key) -> Result<(), ArmError> {
        let properties = &self.body.properties;
        properties.subnet_ids.iter().try_for_each(|subnet| network::check(world, &subnet.id))?;
        let region = group::region(&self.body.location);
        let others = || world.groups.iter().filter(|(other, _)| *other != key).map(|(_, held)| held);
        let label = properties.ip_address.as_ref().and_then(|address| address.dns_name_label.as_ref());
        if let Some(label) = label {
            let is_taken = others().any(|held| {
                let other =
                    held.body.properties.ip_address.as_ref().and_then(|address| address.dns_name_label.as_ref());
                other == Some(label) && group::region(&held.body.location) == region
            });
            if is_taken {
                let message = format!("The DNS name label '{label}' in region '{region}' not available.");
                return Err(ArmError::conflict("DnsNameLabelNotAvailable", message));
            }
        }
        let exceeded = |quota: &str, limit: f64, usage: f64, requested: f64| {
            let message = format!(
                "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{quota}' exceeded in \
                 region '{region}'. Limit: '{limit}', Usage: '{usage}' Requested: '{requested}'."
            );
            Err(ArmError::conflict("ServiceUnavailable", message))
        };
        let count = others().count();
        if let Some(limit) = self.options.limits.groups.filter(|limit| count >= *limit) {
            let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
            return exceeded("ContainerGroups", number(limit), number(count), 1.0);
        }
        let used: f64 = others().map(|held| held.body.cores()).sum();
        match self.options.limits.cores {
            Some(limit) if used + self.body.cores() > limit => {
                exceeded("StandardCores", limit, used, self.body.cores())
            }
            _ => Ok(()),
        }
    }
}

fn credential(credential: &RegistryCredential) -> Result<(), ArmError> {
    let is_given = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let has_password = is_given(&credential.username) && is_given(&credential.password);
    if credential.server.is_empty() || !(has_password || is_given(&credential.identity)) {
        let message = format!(
            "The image registry credential for '{}' has neither a user name and a password nor an identity.",
            credential.server
        );
        return refuse("InvalidImageRegistryCredentialType", message);
    }
    Ok(())
}

/// Checks numbers, and that none is there twice.
fn ports(ports: &[Port], of: &str) -> Result<(), ArmError> {
    let mut seen = HashSet::new();
    for Port { port, protocol } in ports {
        if !(1..=65535).contains(port) {
            return refuse("InvalidPort", format!("The port '{port}' of '{of}' is not from 1 to 65535."));
        }
        if !seen.insert((port, protocol)) {
            return refuse("DuplicatePorts", format!("Duplicate ports '{port}' are found in '{of}'."));
        }
    }
    Ok(())
}

fn refuse(code: &'static str, message: String) -> Result<(), ArmError> {
    Err(ArmError::bad_request(code, message))
}

fn one_of(member: &str, value: Option<&String>, known: &[&str]) -> Result<(), ArmError> {
    match value {
        Some(value) if !known.contains(&value.as_str()) => {
            let value = if value.is_empty() { "nothing" } else { value };
            Err(crate::body::invalid(format!("{member} is {value}, and not one of {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Whether a name is of lower-case letters, digits and, within, hyphens.
fn is_label(name: &str, shortest: usize, longest: usize) -> bool {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    (shortest..=longest).contains(&name.len())
        && name.starts_with(fits)
        && name.ends_with(fits)
        && name.chars().all(|char| fits(char) || char == '-')
}
