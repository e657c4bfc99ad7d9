//! The provider, as the host calls it.

use std::time::Duration;

use vk_sdk::{
    Aspects, Changes, Cursor, Deletion, Description, Error, Observation, Pod, PodId, Provider, Result, Startup, cache,
    events,
};

use crate::{arm::Arm, contents, mapping, pods::Pods, settings::Settings};

/// Set once the subnet has been prepared.
const SUBNET: &str = "subnet";

pub(crate) struct Aci {
    pub(crate) settings: Settings,
    pub(crate) pods: Pods,
}

impl Provider for Aci {
    const NAME: &'static str = "azure";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(startup: Startup) -> Result<Self> {
        let settings = Settings::read(&startup)?;
        let pods = Pods { arm: Arm::new(&settings), owner: settings.owner.clone() };
        Ok(Self { settings, pods })
    }

    fn describe(&self) -> Result<Description> {
        if let Some(network) = &self.settings.network
            && cache::get(SUBNET).is_none()
        {
            self.pods.arm.prepare_subnet(network)?;
            cache::set(SUBNET, &[], cache::LONGEST);
        }
        self.pods.check()?;
        Ok(description(&self.settings))
    }

    fn create(&self, pod: Pod) -> Result<Observation> {
        // First what cannot be had: it costs no request.
        let mapped = mapping::container_group(&pod, &self.settings)?;
        let observation = self.pods.create(pod.id.clone(), &mapped.group)?;
        contents::remember(&pod)?;
        for warning in mapped.warnings {
            events::warning(&observation.pod, warning.reason, warning.message);
        }
        Ok(observation)
    }

    /// A group keeps what it was made with: another PUT would start its containers anew, and lose their state and
    /// perhaps their address. Labels and annotations are not part of it; logins were for the images that it has by now.
    fn update(&self, pod: Pod, changed: Aspects) -> Result<Observation> {
        if changed.contains(Aspects::SPEC) {
            return Err(Error::unsupported(
                "a container group cannot be changed while it runs: delete the pod and create it again",
            ));
        }
        if changed.contains(Aspects::VOLUMES) && contents::differ(&pod)? {
            return Err(Error::unsupported(
                "a container group keeps the contents of ConfigMaps and Secrets that it was created with: delete the pod \
                 and create it again to renew them",
            ));
        }
        Ok(Observation { pod: pod.id, status: None })
    }

    fn delete(&self, pod: PodId, _grace: Duration) -> Result<Deletion> {
        let deletion = self.pods.delete(&pod)?;
        if deletion == Deletion::Gone {
            contents::forget(&pod);
        }
        Ok(deletion)
    }

    fn get(&self, pod: PodId) -> Result<Observation> {
        self.pods.get(pod)
    }

    fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
        self.pods.poll(since)
    }
}

fn description(settings: &Settings) -> Description {
    let capacity = &settings.capacity;
    let resources = [("cpu", &capacity.cpu), ("memory", &capacity.memory), ("pods", &capacity.pods)];
    let gpu = capacity.gpu.iter().map(|gpu| ("nvidia.com/gpu", gpu));
    let resources = resources.into_iter().chain(gpu).map(|(name, amount)| (name, amount.as_str()));
    let mut description = Description::new(settings.operating_system, "amd64", resources);
    let region = settings.region.to_lowercase().replace(' ', "");
    description.labels =
        [("topology.kubernetes.io/region", region.as_str()), ("kubernetes.azure.com/managed", "false")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    description
}

#[cfg(test)]
mod tests;
