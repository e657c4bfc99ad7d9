//! The container that a log, a command or a connection is about.

use vk_sdk::{Error, PodId, Result};

use crate::{
    group::{Container, ContainerGroup, State},
    identity,
    logs::Phase,
    pods::Pods,
};

/// A pod's group, as it was when it was asked for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) group: ContainerGroup,
}

impl Target {
    /// Finds a pod's group.
    ///
    /// # Errors
    ///
    /// [`Error::not_found`] if there is none, or if it is another's.
    pub(crate) fn find(pods: &Pods, pod: &PodId) -> Result<Self> {
        let name = identity::group_name(&pods.owner, pod);
        let group = pods.arm.get(&name)?.filter(|group| pods.is_of(group, pod));
        match group {
            Some(group) => Ok(Self { name, group }),
            None => Err(Error::not_found(format!("pod {} has no container group {name} in Azure", pod.full_name()))),
        }
    }

    /// One of its containers, init containers included.
    ///
    /// # Errors
    ///
    /// [`Error::not_found`] if it has none of this name.
    pub(crate) fn container(&self, name: &str) -> Result<&Container> {
        let missing = || Error::not_found(format!("container group {} has no container {name:?}", self.name));
        self.containers().find(|container| container.name == name).ok_or_else(missing)
    }

    /// How far a container is.
    ///
    /// # Errors
    ///
    /// [`Error::not_found`] if there is none of this name.
    pub(crate) fn phase(&self, container: &str) -> Result<Phase> {
        let Some(view) = &self.container(container)?.properties.instance_view else { return Ok(Phase::Waiting) };
        Ok(match view.current_state.as_ref().and_then(|state| state.state.as_deref()) {
            Some("Running") => Phase::Running,
            Some("Terminated" | "Succeeded" | "Failed" | "Canceled") => Phase::Ended,
            // Between two runs there is something to read.
            _ if view.previous_state.as_ref().is_some_and(has_run) => Phase::Running,
            _ => Phase::Waiting,
        })
    }

    /// Sees to it that a container runs.
    ///
    /// # Errors
    ///
    /// [`Error::conflict`] if it does not; [`Error::not_found`] if there is none of this name.
    pub(crate) fn running(&self, container: &str) -> Result<()> {
        let what = match self.phase(container)? {
            Phase::Running => return Ok(()),
            Phase::Waiting => "is waiting to start",
            Phase::Ended => "has ended",
        };
        Err(Error::conflict(format!("container {container:?} of container group {} {what}", self.name)))
    }

    pub(crate) fn is_windows(&self) -> bool {
        let properties = self.group.properties.as_ref();
        let os = properties.and_then(|properties| properties.os_type.as_deref());
        os.is_some_and(|os| os.eq_ignore_ascii_case("windows"))
    }

    /// Where the group is reached from outside of it: its name or address, and its ports.
    pub(crate) fn address(&self) -> Option<(&str, Vec<u16>)> {
        let address = self.group.properties.as_ref()?.ip_address.as_ref()?;
        let host = address.fqdn.as_deref().or(address.ip.as_deref())?;
        Some((host, address.ports.iter().map(|port| port.port).collect()))
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        let properties = self.group.properties.iter();
        properties.flat_map(|properties| properties.containers.iter().chain(&properties.init_containers))
    }
}

fn has_run(state: &State) -> bool {
    state.start_time.is_some() || state.finish_time.is_some() || state.exit_code.is_some()
}
