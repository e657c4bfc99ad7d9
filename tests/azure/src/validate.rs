//! What the service refuses, and with which code.

use crate::{
    body::Body,
    error::ArmError,
    network,
    options::Options,
    world::{Key, World},
};

/// Checks a body against all rules.
pub(crate) fn check(options: &Options, world: &World, _key: &Key, name: &str, body: &Body) -> Result<(), ArmError> {
    if body.properties.containers.is_empty() {
        return Err(ArmError::bad_request(
            "InvalidContainers",
            format!("The container group '{name}' has no containers."),
        ));
    }
    let region = crate::group::region(&body.location);
    if !options.regions.contains(&region) {
        return Err(ArmError::bad_request(
            "LocationNotAvailableForResourceType",
            format!("The location '{region}' is not available."),
        ));
    }
    body.properties.subnet_ids.iter().try_for_each(|subnet| network::check(world, &subnet.id))
}

pub(crate) fn check_update(_before: &Body, _after: &Body, _name: &str) -> Result<(), ArmError> {
    Ok(())
}
