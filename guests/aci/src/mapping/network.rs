//! Groups in a subnet.

use serde_json::json;

use super::Context;
use crate::{
    group::{Extension, ExtensionProperties, SubnetId},
    settings::Network,
};

pub(super) fn subnet_id(network: &Network) -> SubnetId {
    let Network { subscription, resource_group, vnet, subnet, .. } = network;
    SubnetId {
        id: format!(
            "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Network\
             /virtualNetworks/{vnet}/subnets/{subnet}"
        ),
    }
}

/// The extension from which the provider reads what the group's containers use.
pub(super) fn extensions(context: &Context<'_>) -> Vec<Extension> {
    const NAME: &str = "realtime-metrics";
    let settings = context.settings;
    if settings.network.is_none() || context.windows() || !settings.realtime_metrics {
        return Vec::new();
    }
    let properties = ExtensionProperties {
        extension_type: NAME.to_owned(),
        version: "1.0".to_owned(),
        settings: json!({}),
        ..ExtensionProperties::default()
    };
    vec![Extension { name: NAME.to_owned(), properties }]
}
