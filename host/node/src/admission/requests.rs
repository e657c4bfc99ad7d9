//! What a pod requests, by the kubelet's sums.
//!
//! The containers and sidecars run at the same time; each init container runs beside the sidecars before it. The pod
//! needs the larger of the two, resource by resource. What it states for the pod as a whole goes before, and its
//! overhead comes on top.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus},
    apimachinery::pkg::api::resource::Quantity as Text,
};

use crate::{quantity::Quantity, status::is_resize_refused};

/// Amounts of resources in the kubelet's units: thousandths of a CPU, else whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    cpu: i64,
    memory: i64,
    storage: i64,
    others: BTreeMap<String, i64>,
}

impl Requests {
    /// What the pod requests as it is written.
    pub(crate) fn of_spec(pod: &Pod) -> Self {
        Self::of(pod, None)
    }

    /// What a pod that runs has: the larger of what is asked for and what its status says that it has. A change that
    /// was refused does not count.
    pub(crate) fn in_use(pod: &Pod) -> Self {
        Self::of(pod, pod.status.as_ref())
    }

    /// What the node offers, with its `pods`.
    pub(super) fn of_allocatable(allocatable: &BTreeMap<String, Text>) -> Self {
        let mut all = Self::default();
        for (name, amount) in &Amounts::of(Some(allocatable)).0 {
            all.insert(name, *amount);
        }
        all
    }

    fn of(pod: &Pod, status: Option<&PodStatus>) -> Self {
        let mut requests = Self::default();
        let Some(spec) = &pod.spec else { return requests };
        let mut amounts = of_containers(spec, status);
        let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let whole = Amounts::of(whole).0.into_iter().filter(|(name, _)| is_of_whole_pods(name));
        amounts.0.extend(whole);
        amounts.add(&Amounts::of(spec.overhead.as_ref()));
        for (name, amount) in &amounts.0 {
            requests.insert(name, *amount);
        }
        requests
    }

    fn insert(&mut self, name: &str, amount: Quantity) {
        match name {
            "cpu" => self.cpu = amount.millis(),
            "memory" => self.memory = amount.units(),
            "ephemeral-storage" => self.storage = amount.units(),
            _ => drop(self.others.insert(name.to_owned(), amount.units())),
        }
    }

    /// In the order in which they are checked.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let usual = [("cpu", self.cpu), ("memory", self.memory), ("ephemeral-storage", self.storage)];
        usual.into_iter().chain(self.others.iter().map(|(name, amount)| (name.as_str(), *amount)))
    }

    pub(super) fn get(&self, name: &str) -> i64 {
        self.known(name).unwrap_or(0)
    }

    /// `None` for a resource that is not mentioned.
    pub(super) fn known(&self, name: &str) -> Option<i64> {
        match name {
            "cpu" => Some(self.cpu),
            "memory" => Some(self.memory),
            "ephemeral-storage" => Some(self.storage),
            _ => self.others.get(name).copied(),
        }
    }

    /// Whether it is more of any resource.
    pub(super) fn exceeds(&self, other: &Self) -> bool {
        self.iter().any(|(name, amount)| amount > other.get(name))
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.combine(more, i64::saturating_add);
    }

    pub(super) fn subtract(&mut self, less: &Self) {
        self.combine(less, i64::saturating_sub);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.storage = with(self.storage, other.storage);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }
}

/// Exact amounts by resource, while they are summed up.
#[derive(Default)]
struct Amounts<'a>(BTreeMap<&'a str, Quantity>);

impl<'a> Amounts<'a> {
    fn of(list: Option<&'a BTreeMap<String, Text>>) -> Self {
        let amounts = list.into_iter().flatten();
        // The API server takes nothing that is no quantity.
        Self(amounts.filter_map(|(name, amount)| Some((name.as_str(), Quantity::try_from(amount).ok()?))).collect())
    }

    fn add(&mut self, more: &Self) {
        for (name, amount) in &more.0 {
            let own = self.0.entry(name).or_insert(Quantity::ZERO);
            *own = *own + *amount;
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name).or_insert(Quantity::ZERO);
            *own = (*own).max(*amount);
        }
    }
}

fn of_containers<'a>(spec: &'a PodSpec, status: Option<&'a PodStatus>) -> Amounts<'a> {
    let mut together = Amounts::default();
    for container in &spec.containers {
        together.add(&of_container(container, status, |status| &status.container_statuses));
    }
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            let amounts = of_container(container, status, |status| &status.init_container_statuses);
            together.add(&amounts);
            sidecars.add(&amounts);
            starting.raise_to(&sidecars);
        } else {
            let mut amounts = of_container(container, None, |status| &status.init_container_statuses);
            amounts.add(&sidecars);
            starting.raise_to(&amounts);
        }
    }
    together.raise_to(&starting);
    together
}

fn of_container<'a>(
    container: &'a Container,
    status: Option<&'a PodStatus>,
    list: fn(&PodStatus) -> &Option<Vec<ContainerStatus>>,
) -> Amounts<'a> {
    let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let own = status.and_then(|status| list(status).as_ref()?.iter().find(|own| own.name == container.name));
    let Some((own, resources)) = own.and_then(|own| Some((own, own.resources.as_ref()?))) else {
        return Amounts::of(asked);
    };
    let mut amounts = Amounts::of(asked.filter(|_| !status.is_some_and(is_resize_refused)));
    amounts.raise_to(&Amounts::of(resources.requests.as_ref()));
    amounts.raise_to(&Amounts::of(own.allocated_resources.as_ref()));
    amounts
}

/// Whether a resource can be stated for a pod as a whole.
fn is_of_whole_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}
