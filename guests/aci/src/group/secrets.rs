//! The secrets of a group.

use super::{Container, ContainerGroup, Secret, Volume};

impl ContainerGroup {
    /// All values that must not be shown.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let Some(properties) = &self.properties else { return Vec::new() };
        let containers = properties.init_containers.iter().chain(&properties.containers);
        let registries = properties.image_registry_credentials.iter();
        let workspace = properties.diagnostics.iter().filter_map(|diagnostics| diagnostics.log_analytics.as_ref());
        containers
            .flat_map(of_container)
            .chain(registries.filter_map(|registry| registry.password.as_ref()))
            .chain(properties.volumes.iter().flat_map(of_volume))
            .chain(workspace.filter_map(|workspace| workspace.workspace_key.as_ref()))
            .cloned()
            .collect()
    }
}

fn of_container(container: &Container) -> impl Iterator<Item = &Secret> {
    container.properties.environment_variables.iter().filter_map(|variable| variable.secure_value.as_ref())
}

fn of_volume(volume: &Volume) -> impl Iterator<Item = &Secret> {
    let share = volume.azure_file.iter().filter_map(|share| share.storage_account_key.as_ref());
    share.chain(volume.secret.iter().flat_map(|files| files.values()))
}
