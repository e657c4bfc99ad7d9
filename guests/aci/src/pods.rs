//! Pods in a service: made, adopted, looked at, removed.
//!
//! A group's name follows from its pod, and its tags say whose it is. So whatever became of an earlier call, the next
//! one finds the group by its name, and acts on it only if the tags name this node and this pod.

use std::time::Duration;

use vk_sdk::{Deletion, Error, ErrorKind, Observation, PodId, Result, events, warn};

use crate::{
    arm::{Arm, Removal},
    clock::now,
    events::untold,
    group::ContainerGroup,
    identity::{group_name, pod_of},
    memory::{self, Memory},
    status::pod_status,
};

/// The pods of this node.
pub(crate) struct Pods {
    pub(crate) arm: Arm,
    /// The mark of what is this node's.
    pub(crate) owner: String,
}

impl Pods {
    /// Makes a pod's group, or adopts the one that is there.
    pub(crate) fn create(&self, pod: PodId, group: &ContainerGroup) -> Result<Observation> {
        let name = group_name(&self.owner, &pod);
        if let Some(found) = self.arm.get(&name)? {
            return self.adopt(pod, &name, &found);
        }
        // Before the request: whatever becomes of its answer, there may be a group from now on.
        let mut memory = Memory::made(&pod, now());
        memory::keep(&pod.uid, &memory);
        match self.arm.put(&name, group) {
            Ok(made) => {
                let status = pod_status(&made);
                memory.begun(&made, &status, now());
                memory::keep(&pod.uid, &memory);
                Ok(Observation::new(pod, &status))
            }
            // It may have been made all the same.
            Err(error) if error.kind == ErrorKind::Unavailable => match self.arm.get(&name) {
                Ok(Some(found)) => self.adopt(pod, &name, &found),
                _ => Err(error),
            },
            Err(error) => {
                memory::forget(&pod.uid);
                Err(error)
            }
        }
    }

    fn adopt(&self, pod: PodId, name: &str, found: &ContainerGroup) -> Result<Observation> {
        if self.is_of(found, &pod) {
            return Ok(self.observe(pod, found));
        }
        Err(Error::conflict(format!(
            "container group {name} is there and its tags do not name this node and this pod: it is left alone, delete it"
        )))
    }

    /// The state of a pod.
    pub(crate) fn get(&self, pod: PodId) -> Result<Observation> {
        let name = group_name(&self.owner, &pod);
        match self.arm.get(&name)? {
            Some(group) if self.is_of(&group, &pod) => Ok(self.observe(pod, &group)),
            None if self.may_be_late(&pod) => {
                let message = format!("container group {name} was made just now and does not show yet");
                Err(Error::unavailable(message).after(Duration::from_secs(1)))
            }
            _ => Err(Error::not_found(format!("container group {name} is not there"))),
        }
    }

    /// Removes a pod's group. The service ends containers as it sees fit, so no grace is waited for.
    pub(crate) fn delete(&self, pod: &PodId) -> Result<Deletion> {
        let name = group_name(&self.owner, pod);
        match self.arm.get(&name)? {
            Some(group) if self.is_of(&group, pod) => {}
            Some(_) => {
                warn!(group = name, "not removed: its tags do not name this node and this pod");
                return Ok(Deletion::Gone);
            }
            // What does not show yet would be left behind.
            None if self.may_be_late(pod) => return Ok(Deletion::Stopping),
            None => return Ok(self.gone(pod)),
        }
        let now = now();
        let mut memory = memory::of(&pod.uid).map_or_else(|| Memory::new(pod, now), |kept| kept.memory);
        if memory.is_removing(now) {
            return Ok(Deletion::Stopping);
        }
        Ok(match self.arm.delete(&name)? {
            Removal::Gone => self.gone(pod),
            Removal::Removing => {
                memory.removing(now);
                memory::keep(&pod.uid, &memory);
                Deletion::Stopping
            }
        })
    }

    fn gone(&self, pod: &PodId) -> Deletion {
        memory::bury(pod, now());
        Deletion::Gone
    }

    fn may_be_late(&self, pod: &PodId) -> bool {
        memory::of(&pod.uid).is_some_and(|kept| kept.memory.may_be_late(now()))
    }

    /// Takes in a group that was read.
    fn observe(&self, pod: PodId, group: &ContainerGroup) -> Observation {
        let memory = memory::of(&pod.uid).map_or_else(|| Memory::new(&pod, now()), |kept| kept.memory);
        let (observation, memory) = self.look(pod, group, memory);
        memory::keep(&observation.pod.uid, &memory);
        observation
    }

    /// What a group that was read says of its pod. Its events are told.
    pub(crate) fn look(&self, pod: PodId, group: &ContainerGroup, mut memory: Memory) -> (Observation, Memory) {
        let now = now();
        let status = pod_status(group);
        let (untold, told) = untold(group, memory.told(), now);
        for event in &untold {
            events::report(&pod, event);
        }
        memory.seen(group, &status, told, now);
        (Observation::new(pod, &status), memory)
    }

    pub(crate) fn is_of(&self, group: &ContainerGroup, pod: &PodId) -> bool {
        pod_of(group, &self.owner).is_some_and(|of| of.uid == pod.uid)
    }
}

#[cfg(test)]
mod tests;
