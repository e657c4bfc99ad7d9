//! From the plain types to what the guest takes, by reference.

use std::time::Duration;

use vk_provider::{Aspects, Pod, PodId};

use crate::{
    Startup,
    bindings::{
        exports::vk::provider::{node, pods},
        vk::provider::types::PodIdParam,
    },
};

pub(crate) fn startup(startup: &Startup) -> node::Startup<'_> {
    node::Startup {
        owner: &startup.owner,
        node_name: &startup.node_name,
        operating_system: startup.operating_system.map(|system| match system {
            vk_provider::OperatingSystem::Linux => node::OperatingSystem::Linux,
            vk_provider::OperatingSystem::Windows => node::OperatingSystem::Windows,
        }),
        settings: &startup.settings,
    }
}

pub(crate) fn pod_id(id: &PodId) -> PodIdParam<'_> {
    PodIdParam { namespace: &id.namespace, name: &id.name, uid: &id.uid, handle: id.handle.as_deref() }
}

/// The lists inside of a pod, whose elements borrow from it.
pub(crate) struct PodLists<'a> {
    files: Vec<Vec<pods::File<'a>>>,
    logins: Vec<pods::Login<'a>>,
    objects: Vec<&'a str>,
}

impl<'a> PodLists<'a> {
    pub(crate) fn new(pod: &'a Pod) -> Self {
        let file = |file: &'a vk_provider::File| pods::File { path: &file.path, mode: file.mode, data: &file.data };
        let login = |login: &'a vk_provider::Login| pods::Login {
            server: &login.server,
            username: &login.username,
            password: &login.password,
            identity_token: login.identity_token.as_deref(),
        };
        Self {
            files: pod.volumes.iter().map(|volume| volume.files.iter().map(file).collect()).collect(),
            logins: pod.logins.iter().map(login).collect(),
            objects: pod.objects.iter().map(String::as_str).collect(),
        }
    }

    pub(crate) fn volumes(&'a self, pod: &'a Pod) -> Vec<pods::Volume<'a>> {
        pod.volumes.iter().zip(&self.files).map(|(volume, files)| pods::Volume { name: &volume.name, files }).collect()
    }

    pub(crate) fn pod(&'a self, pod: &'a Pod, volumes: &'a [pods::Volume<'a>]) -> pods::Pod<'a> {
        pods::Pod {
            id: pod_id(&pod.id),
            manifest: &pod.manifest,
            volumes,
            logins: &self.logins,
            objects: &self.objects,
        }
    }
}

pub(crate) fn aspects(changed: Aspects) -> pods::Aspects {
    [
        (changed.metadata, pods::Aspects::METADATA),
        (changed.spec, pods::Aspects::SPEC),
        (changed.volumes, pods::Aspects::VOLUMES),
        (changed.logins, pods::Aspects::LOGINS),
    ]
    .into_iter()
    .filter(|(changed, _)| *changed)
    .fold(pods::Aspects::empty(), |all, (_, aspect)| all | aspect)
}

/// What is longer than the contract's type can say becomes the longest that it can.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_clamped_to_what_the_contract_can_say() {
        assert_eq!(milliseconds(Duration::from_secs(30)), 30_000);
        assert_eq!(milliseconds(Duration::from_secs(u64::MAX)), u32::MAX);
    }

    #[test]
    fn aspects_keep_their_meaning() {
        let changed = Aspects { spec: true, logins: true, ..Aspects::default() };
        assert_eq!(aspects(changed), pods::Aspects::SPEC | pods::Aspects::LOGINS);
        assert_eq!(aspects(Aspects::default()), pods::Aspects::empty());
    }
}
