//! Which groups there are.

use std::{collections::HashMap, time::Duration};

use vk_sdk::{Changes, Observation, PodId, Result, cache, debug};

use super::LONGEST;
use crate::{
    clock::now,
    cursor::Cursor,
    group::ContainerGroup,
    identity::{group_name, pod_of},
    memory::{self, Kept, Memory, provisioning},
    pods::Pods,
};

/// Where the last complete listing is noted. Without this note the cache may have forgotten the groups too.
const LAST: &str = "listing";
/// The most pages of a listing that only says which groups have got further.
const MOST_PAGES: usize = 20;

/// Whether what a listing brought is still known.
pub(super) fn is_known(listing: u64) -> bool {
    cache::get_json::<u64>(LAST) == Some(listing)
}

impl Pods {
    /// A page of a listing.
    pub(super) fn list(&self, listing: u64, next: Option<&str>) -> Result<Changes> {
        let page = self.arm.list(next)?;
        self.reached();
        let mut observed = Vec::new();
        for group in &page.groups {
            let Some(pod) = self.pod_of(group) else { continue };
            let known = memory::read(&pod.uid);
            if known.as_ref().is_some_and(|kept| kept.memory.is_buried()) {
                continue;
            }
            self.note(&pod, group, known, listing);
            observed.push(Observation { pod, status: None });
        }
        if let Some(next) = page.next {
            return Ok(Changes::page(observed, Cursor::Page { listing, next }.write()));
        }
        observed.extend(self.unlisted(listing).into_iter().map(|pod| Observation { pod, status: None }));
        cache::set_json(LAST, &listing, cache::LONGEST)?;
        Ok(Changes::last(observed, Some(Cursor::Changes { listing }.write())).poll_after(Duration::ZERO))
    }

    /// Those that were there and are not listed: the listing may lag behind, so they are read before they are gone.
    fn unlisted(&self, listing: u64) -> Vec<PodId> {
        let unlisted = memory::all()
            .into_iter()
            .filter(|Kept { memory, .. }| !memory.is_buried() && !memory.is_unseen() && memory.listed < listing);
        unlisted
            .map(|mut kept| {
                kept.memory.urge();
                kept.write_back();
                kept.pod
            })
            .collect()
    }

    /// Makes those groups due that have got further, as far as a listing tells. It may fail: they are due anyway, only
    /// later.
    pub(super) fn survey(&self, groups: &mut [Kept]) {
        let places: HashMap<String, usize> =
            groups.iter().enumerate().map(|(place, kept)| (kept.pod.uid.clone(), place)).collect();
        let (mut next, began) = (None, now());
        for _ in 0..MOST_PAGES {
            if now() > began + LONGEST {
                return;
            }
            let page = match self.arm.list(next.as_deref()) {
                Ok(page) => page,
                Err(error) => return debug!("not listed: {}", error.message),
            };
            for group in &page.groups {
                let Some(pod) = self.pod_of(group) else { continue };
                match places.get(&pod.uid).and_then(|place| groups.get_mut(*place)) {
                    Some(kept) if kept.memory.is_provisioning() && kept.memory.provisioning != provisioning(group) => {
                        kept.memory.urge();
                    }
                    Some(_) => {}
                    None if memory::read(&pod.uid).is_none() => memory::keep(&pod.uid, &Memory::new(&pod, now())),
                    None => {}
                }
            }
            next = page.next;
            if next.is_none() {
                return;
            }
        }
    }

    /// Remembers that a listing named a group, and reads it soon if that is news.
    fn note(&self, pod: &PodId, group: &ContainerGroup, known: Option<Kept>, listing: u64) {
        let Some(mut kept) = known else {
            let mut memory = Memory::new(pod, now());
            memory.listed = listing;
            return memory::keep(&pod.uid, &memory);
        };
        kept.memory.listed = listing;
        if kept.memory.provisioning != provisioning(group) {
            kept.memory.urge();
        }
        kept.write_back();
    }

    /// The pod of a group of this node. One under another name, such as a copy of a group with its tags, is nobody's.
    fn pod_of(&self, group: &ContainerGroup) -> Option<PodId> {
        let pod = pod_of(group, &self.owner)?;
        let name = group.name.as_deref()?;
        name.eq_ignore_ascii_case(&group_name(&self.owner, &pod)).then_some(pod)
    }
}
