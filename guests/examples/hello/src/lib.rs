//! A first provider: its pods run at once, and all that is known of them is in the host's cache.
use std::time::{Duration, SystemTime};
use vk_sdk::{cache, manifest::Manifest, status::PodStatus, *};

struct Hello;

impl Provider for Hello {
    const NAME: &str = "hello";
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    fn configure(_: Startup) -> Result<Self> {
        Ok(Hello)
    }
    fn describe(&self) -> Result<Description> {
        Ok(Description::new(OperatingSystem::Linux, "amd64", [("cpu", "4"), ("memory", "8Gi"), ("pods", "10")]))
    }
    fn create(&self, pod: Pod) -> Result<Observation> {
        if let Ok(there) = self.get(pod.id.clone()) {
            return Ok(there);
        }
        let status = PodStatus::running(&Manifest::parse(&pod.manifest)?, SystemTime::now());
        let created = Observation::new(pod.id, &status);
        cache::set_json(&created.pod.uid, &created, cache::LONGEST)?;
        Ok(created)
    }
    fn delete(&self, pod: PodId, _grace: Duration) -> Result<Deletion> {
        cache::remove(&pod.uid);
        Ok(Deletion::Gone)
    }
    fn get(&self, pod: PodId) -> Result<Observation> {
        cache::get_json(&pod.uid).ok_or_else(|| Error::not_found(format!("no pod {}", pod.full_name())))
    }
    fn poll(&self, _since: Option<Cursor>) -> Result<Changes> {
        Ok(Changes::last(cache::keys("").iter().filter_map(|uid| cache::get_json(uid)).collect(), None))
    }
}

vk_sdk::export!(Hello);
