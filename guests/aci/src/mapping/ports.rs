//! Ports of containers, and the public address that they are reached at.

use vk_sdk::{Result, manifest::Container};

use super::{Context, Notes, annotations};
use crate::group::{self, IpAddress, Port};

/// How many ports a public address has at most.
const MOST_PUBLIC: usize = 5;

/// The ports of a container, each once.
pub(super) fn ports(container: &Container, field: &str, notes: &mut Notes) -> Vec<Port> {
    let mut ports = Vec::new();
    for asked in &container.ports {
        let number = asked.container_port;
        let field = format!("{field}.ports[{number}]");
        let protocol = match asked.protocol.as_deref() {
            None | Some("" | "TCP") => "TCP",
            Some("UDP") => "UDP",
            Some(other) => {
                notes.refuse(format!("{field}.protocol"), format!("ACI carries TCP and UDP, not {other}"));
                continue;
            }
        };
        if asked.host_port.is_some_and(|port| port != 0 && port != number) {
            notes.refuse(format!("{field}.hostPort"), "ACI does not map ports: it must be the containerPort");
        }
        let port = Port { port: number, protocol: Some(protocol.to_owned()) };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

/// The public address of a group that has ports, is in no subnet, and is to have one.
pub(super) fn address(
    context: &Context<'_>,
    containers: &[group::Container],
    notes: &mut Notes,
) -> Result<Option<IpAddress>> {
    let Context { manifest, settings, .. } = context;
    let asked = annotations::public_ip(manifest)?;
    let label = annotations::dns_name_label(manifest)?;
    let mut ports: Vec<Port> = Vec::new();
    for port in containers.iter().flat_map(|container| &container.properties.ports) {
        if !ports.contains(port) {
            ports.push(port.clone());
        }
    }
    let without = if settings.network.is_some() {
        Some("in a subnet, pods have private addresses only")
    } else if ports.is_empty() {
        Some("no container has a port")
    } else if !asked.unwrap_or(settings.public_ip) {
        Some("the pod gets no public address")
    } else {
        None
    };
    if let Some(why) = without {
        if asked == Some(true) {
            notes.refuse(format!("metadata.annotations[{}]", annotations::PUBLIC_IP), why);
        }
        if let Some((name, _)) = label {
            notes.refuse(format!("metadata.annotations[{name}]"), why);
        }
        return Ok(None);
    }
    if ports.len() > MOST_PUBLIC {
        let why = format!(
            "a public address has at most {MOST_PUBLIC} ports, and these are {}; annotate the pod with {}: \"false\" to \
             have none",
            ports.len(),
            annotations::PUBLIC_IP
        );
        notes.refuse("spec.containers.ports", why);
        ports.truncate(MOST_PUBLIC);
    }
    let dns_name_label = label.map(|(_, label)| label.to_owned());
    Ok(Some(IpAddress { ports, kind: Some("Public".to_owned()), dns_name_label, ..IpAddress::default() }))
}
