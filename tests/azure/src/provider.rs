//! What the resource provider and its regions offer.

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use crate::{Shared, answer::Call, error::json_response};

pub(crate) fn usages(shared: &Shared) -> Response {
    let world = shared.world();
    let cores: f64 = world.groups.values().map(|held| held.body.cores()).sum();
    let limits = &shared.options.limits;
    let usage = |name: &str, localized: &str, current: Value, limit: Value| {
        json!({
            "unit": "Count",
            "currentValue": current,
            "limit": limit,
            "name": { "value": name, "localizedValue": localized },
        })
    };
    let value = [
        usage("ContainerGroups", "Container Groups", json!(world.groups.len()), json!(limits.groups.unwrap_or(2000))),
        usage("StandardCores", "Standard Cores", json!(cores), json!(limits.cores.unwrap_or(2000.0))),
    ];
    json_response(StatusCode::OK, &json!({ "value": value }))
}

pub(crate) fn capabilities(shared: &Shared, call: &Call) -> Response {
    let limits = &shared.options.limits;
    let region = call.target.name.as_deref().unwrap_or_default();
    let gpus = shared.options.gpu_skus.iter().map(|sku| ("Linux", sku.as_str(), 4));
    let offered = [("Linux", "None", 0), ("Windows", "None", 0)].into_iter().chain(gpus);
    let capability = |(system, gpu, most)| {
        json!({
            "resourceType": "containerGroups",
            "osType": system,
            "location": region,
            "ipAddressType": "Public",
            "gpu": gpu,
            "capabilities": { "maxMemoryInGB": limits.memory, "maxCpu": limits.cpu, "maxGpuCount": most },
        })
    };
    json_response(StatusCode::OK, &json!({ "value": offered.map(capability).collect::<Vec<_>>() }))
}

pub(crate) fn manifest(shared: &Shared) -> Response {
    let options = &shared.options;
    let skus = options.regions.iter().map(|region| json!({ "location": region, "skus": options.gpu_skus }));
    let metadata = json!({
        "vnetSupportRegions": options.regions,
        "gpuRegionalSkus": skus.collect::<Vec<_>>(),
    });
    json_response(StatusCode::OK, &json!({ "metadata": metadata }))
}

/// Registers the subscription (`POST`), or says whether it is registered (`GET`).
pub(crate) fn register(shared: &Shared, call: &Call) -> Response {
    let name = call.target.name.as_deref().unwrap_or_default();
    let mut world = shared.world();
    if call.is_post {
        world.registered |= name.eq_ignore_ascii_case("Microsoft.ContainerInstance");
    }
    let state = if world.registered { "Registered" } else { "NotRegistered" };
    json_response(StatusCode::OK, &json!({ "namespace": name, "registrationState": state }))
}
