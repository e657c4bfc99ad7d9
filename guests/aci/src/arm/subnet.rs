//! Hands a subnet to the service, so that groups can be in it.

use std::time::Duration;

use serde_json::{Value, json};
use vk_sdk::{Error, Result, cache, info};

use super::{Arm, Call, Class, segment};
use crate::settings::Network;

const API_VERSION: &str = "2023-04-01";
const SERVICE: &str = "Microsoft.ContainerInstance/containerGroups";
/// How long a subnet that was found fit is not looked at again.
const FIT_FOR: Duration = Duration::from_secs(3_600);
/// When to look again at a subnet that is being changed.
const LOOK_AFTER: Duration = Duration::from_secs(5);

impl Arm {
    /// Makes the subnet fit for groups: delegates it to the service, and makes it first if it is missing and its range of
    /// addresses is set. May be repeated.
    ///
    /// # Errors
    ///
    /// `invalid` if the subnet cannot be made fit, and `unavailable` while it is being changed.
    pub(crate) fn prepare_subnet(&self, network: &Network) -> Result<()> {
        let path = subnet_path(network);
        let key = format!("subnet{path}");
        if cache::get(&key).is_some() {
            return Ok(());
        }
        let found =
            self.subnet(&path).map_err(|error| error.context(format!("looking up the subnet {}", network.subnet)))?;
        let wanted = match found {
            None => Some(new_subnet(network)?),
            Some(subnet) => {
                settled(&subnet, network)?;
                changed_subnet(subnet, network)?
            }
        };
        if let Some(subnet) = wanted {
            info!(subnet = network.subnet, vnet = network.vnet, "delegating the subnet to {SERVICE}");
            let call = Call::put(Class::Action, path, &subnet).api_version(API_VERSION);
            let answer = self.request(&call).and_then(|answer| answer.json::<Value>());
            let subnet = answer
                .map_err(|error| error.context(format!("delegating the subnet {} to {SERVICE}", network.subnet)))?;
            settled(&subnet, network)?;
        }
        cache::set(&key, b"fit", FIT_FOR);
        Ok(())
    }

    fn subnet(&self, path: &str) -> Result<Option<Value>> {
        match self.send(&Call::get(Class::Read, path.to_owned()).api_version(API_VERSION)) {
            Ok(answer) => answer.json().map(Some),
            Err(refusal) if refusal.is_missing_resource() => Ok(None),
            Err(refusal) => Err(refusal.error),
        }
    }
}

fn subnet_path(network: &Network) -> String {
    format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/virtualNetworks/{}/subnets/{}",
        segment(&network.subscription),
        segment(&network.resource_group),
        segment(&network.vnet),
        segment(&network.subnet),
    )
}

/// Whether the last change of the subnet is done.
fn settled(subnet: &Value, network: &Network) -> Result<()> {
    match subnet.pointer("/properties/provisioningState").and_then(Value::as_str) {
        Some("Updating" | "Deleting") => {
            Err(Error::unavailable(format!("the subnet {} is being changed", network.subnet)).after(LOOK_AFTER))
        }
        _ => Ok(()),
    }
}

fn delegation() -> Value {
    json!({
        "name": "aciDelegation",
        "properties": {"serviceName": SERVICE, "actions": ["Microsoft.Network/virtualNetworks/subnets/action"]},
    })
}

fn new_subnet(network: &Network) -> Result<Value> {
    let Network { subscription, resource_group, vnet, subnet, cidr, .. } = network;
    let Some(cidr) = cidr else {
        return Err(Error::invalid(format!(
            "the subnet {subnet} is not in the virtual network {vnet} of the resource group {resource_group} in the \
             subscription {subscription}: make it, or set ACI_SUBNET_CIDR or SubnetCIDR to have it made"
        )));
    };
    Ok(json!({"name": subnet, "properties": {"addressPrefix": cidr, "delegations": [delegation()]}}))
}

/// The subnet as it must be, with everything else that it has; `None` if it is so already.
fn changed_subnet(mut found: Value, network: &Network) -> Result<Option<Value>> {
    let name = &network.subnet;
    let refused = |problem: String| Err(Error::invalid(format!("the subnet {name} {problem}")));
    let Some(properties) = found.get_mut("properties").and_then(Value::as_object_mut) else {
        return Err(Error::unavailable(format!("the subnet {name} came without its properties")));
    };
    let list = |name: &str| properties.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);

    let prefixes: Vec<&str> =
        properties.get("addressPrefix").into_iter().chain(list("addressPrefixes")).filter_map(Value::as_str).collect();
    match network.cidr.as_deref() {
        _ if prefixes.is_empty() => return refused("has no range of addresses".to_owned()),
        Some(cidr) if !prefixes.contains(&cidr) => {
            return refused(format!(
                "has the addresses {}, not {cidr} as set: correct SubnetCIDR or ACI_SUBNET_CIDR",
                prefixes.join(", ")
            ));
        }
        _ => {}
    }
    if let Some(table) = properties.get("routeTable").and_then(|table| text(table, "/id")) {
        return refused(format!("has the route table {table}, with which it cannot be delegated to {SERVICE}"));
    }
    let links: Vec<String> = list("serviceAssociationLinks")
        .iter()
        .filter_map(|link| text(link, "/properties/linkedResourceType"))
        .collect();
    if links.iter().any(|kind| kind.eq_ignore_ascii_case(SERVICE)) {
        return Ok(None);
    }
    if let Some(kind) = links.first() {
        return refused(format!(
            "is in use by {kind} and cannot be delegated to {SERVICE}: give pods a subnet of their own"
        ));
    }
    let services = list("delegations").iter().filter_map(|delegation| text(delegation, "/properties/serviceName"));
    if services.into_iter().any(|service| service.eq_ignore_ascii_case(SERVICE)) {
        return Ok(None);
    }
    match properties.entry("delegations").or_insert_with(|| json!([])) {
        Value::Array(delegations) => delegations.push(delegation()),
        other => *other = json!([delegation()]),
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests;
