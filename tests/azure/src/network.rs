//! Subnets of virtual networks.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use crate::{
    Shared,
    answer::Call,
    body::invalid,
    clock::after,
    error::{ArmError, json_response},
    group::set,
    groups::follow,
    world::{Work, World},
};

/// Whom a subnet has to be delegated to.
const CONTAINER_GROUPS: &str = "Microsoft.ContainerInstance/containerGroups";

pub(crate) fn get(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let world = shared.world();
    let properties = world.subnets.get(&call.path.to_ascii_lowercase()).ok_or_else(|| {
        let name = call.target.name.as_deref().unwrap_or_default();
        ArmError::not_found("NotFound", format!("The subnet '{name}' was not found."))
    })?;
    Ok(json_response(StatusCode::OK, &shown(call, properties)))
}

pub(crate) fn put(shared: &Arc<Shared>, call: &Call) -> Result<Response, ArmError> {
    let sent: Value = serde_json::from_slice(&call.body).map_err(|problem| invalid(&problem))?;
    let mut properties = sent.get("properties").cloned().unwrap_or(Value::Null);
    let has_prefix = ["/addressPrefix", "/addressPrefixes/0"].iter().any(|path| properties.pointer(path).is_some());
    if !has_prefix {
        let message = "The subnet has neither the property 'addressPrefix' nor 'addressPrefixes'.";
        return Err(ArmError::bad_request("InvalidRequestFormat", message));
    }
    let done = after(shared.clock.now(), shared.options.delays.subnet);
    let id = call.path.to_ascii_lowercase();
    let mut world = shared.world();
    set(&mut properties, "", "provisioningState", json!("Updating"));
    let before = world.subnets.insert(id.clone(), properties.clone());
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = json_response(status, &shown(call, &properties));
    follow(shared, &mut world, &mut response, Work::Subnet(done));
    drop(world);
    let shared = shared.clone();
    tokio::spawn(async move {
        shared.clock.reach(done).await;
        if let Some(properties) = shared.world().subnets.get_mut(&id) {
            set(properties, "", "provisioningState", json!("Succeeded"));
        }
    });
    Ok(response)
}

fn shown(call: &Call, properties: &Value) -> Value {
    json!({
        "name": call.target.name,
        "id": call.path,
        "etag": "W/\"0\"",
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "properties": properties,
    })
}

/// Checks that container groups can be in a subnet.
pub(crate) fn check(world: &World, id: &str) -> Result<(), ArmError> {
    let id = id.to_ascii_lowercase();
    let parts: Vec<&str> = id.split('/').collect();
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let network = format!("{}/", id.split("/subnets/").next().unwrap_or_default());
    if part(7) != "virtualnetworks" || !world.subnets.keys().any(|known| known.starts_with(&network)) {
        let message = format!("The virtual network '{}' was not found.", part(8));
        return Err(ArmError::bad_request("VirtualNetworkNotFound", message));
    }
    let Some(properties) = world.subnets.get(&id) else {
        let message = format!("The subnet '{}' in virtual network '{}' was not found.", part(10), part(8));
        return Err(ArmError::bad_request("SubnetNotFound", message));
    };
    let delegations = properties.get("delegations").and_then(Value::as_array);
    let is_delegated = delegations.into_iter().flatten().any(|delegation| {
        let service = delegation.pointer("/properties/serviceName").and_then(Value::as_str);
        service.is_some_and(|service| service.eq_ignore_ascii_case(CONTAINER_GROUPS))
    });
    if is_delegated {
        return Ok(());
    }
    let message = format!("The subnet '{}' is not delegated to '{CONTAINER_GROUPS}'.", part(10));
    Err(ArmError::bad_request("SubnetNotDelegatedToService", message))
}
