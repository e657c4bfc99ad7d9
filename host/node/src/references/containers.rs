//! Init, regular and ephemeral containers seen alike.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, Probe, ResourceRequirements, VolumeMount};

/// What references live in, of a container of any kind.
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) init: bool,
    pub(super) ephemeral: bool,
    pub(super) env: &'a [EnvVar],
    pub(super) env_from: &'a [EnvFromSource],
    pub(super) resources: Option<&'a ResourceRequirements>,
    pub(super) volume_mounts: &'a [VolumeMount],
}

/// The same to be changed.
pub(super) struct ContainerMut<'a> {
    pub(super) name: &'a str,
    pub(super) env: &'a mut Option<Vec<EnvVar>>,
    pub(super) env_from: &'a mut Option<Vec<EnvFromSource>>,
    pub(super) command: &'a mut Option<Vec<String>>,
    pub(super) args: &'a mut Option<Vec<String>>,
    pub(super) volume_mounts: &'a mut Option<Vec<VolumeMount>>,
    pub(super) probes: [&'a mut Option<Probe>; 3],
}

macro_rules! view {
    ($container:ident, $init:literal, $ephemeral:literal) => {
        Container {
            name: &$container.name,
            init: $init,
            ephemeral: $ephemeral,
            env: $container.env.as_deref().unwrap_or_default(),
            env_from: $container.env_from.as_deref().unwrap_or_default(),
            resources: $container.resources.as_ref(),
            volume_mounts: $container.volume_mounts.as_deref().unwrap_or_default(),
        }
    };
}

macro_rules! view_mut {
    ($container:ident) => {
        ContainerMut {
            name: &$container.name,
            env: &mut $container.env,
            env_from: &mut $container.env_from,
            command: &mut $container.command,
            args: &mut $container.args,
            volume_mounts: &mut $container.volume_mounts,
            probes: [&mut $container.liveness_probe, &mut $container.readiness_probe, &mut $container.startup_probe],
        }
    };
}

/// All containers: init, regular, ephemeral.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = Container<'_>> {
    let init = spec.init_containers.iter().flatten().map(|container| view!(container, true, false));
    let regular = spec.containers.iter().map(|container| view!(container, false, false));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| view!(container, false, true));
    init.chain(regular).chain(ephemeral)
}

/// All containers, in the same order, to be changed.
pub(super) fn containers_mut(spec: &mut PodSpec) -> impl Iterator<Item = ContainerMut<'_>> {
    let init = spec.init_containers.iter_mut().flatten().map(|container| view_mut!(container));
    let regular = spec.containers.iter_mut().map(|container| view_mut!(container));
    let ephemeral = spec.ephemeral_containers.iter_mut().flatten().map(|container| view_mut!(container));
    init.chain(regular).chain(ephemeral)
}
