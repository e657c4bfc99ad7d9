//! How many streams there may be at once, and what each holds for as long as it is open.

use std::sync::Arc;

use http::StatusCode;

use crate::{
    metrics::Counted,
    path::PodPath,
    refusal::Refusal,
    server::{Limits, Peer, Slot, Slots},
};

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PodName {
    namespace: String,
    name: String,
}

impl From<PodPath<'_>> for PodName {
    fn from(path: PodPath<'_>) -> Self {
        Self { namespace: path.namespace.into(), name: path.name.into() }
    }
}

/// Places for streams. Those of a user say little where the API server is in between, as it is the only user then; hence
/// those of a namespace and of a pod, so that one tenant leaves something for the others.
pub(crate) struct StreamPlaces {
    limits: Limits,
    users: Slots<String>,
    namespaces: Slots<String>,
    pods: Slots<PodName>,
}

impl StreamPlaces {
    pub(crate) fn new(limits: Limits) -> Self {
        let slots = |each| Slots::new(each, usize::MAX);
        Self {
            limits,
            users: slots(limits.streams_per_user),
            namespaces: slots(limits.streams_per_namespace),
            pods: Slots::new(limits.streams_per_pod, usize::MAX),
        }
    }

    pub(super) fn take(&self, user: &str, pod: Option<&PodName>) -> Result<Places, Refusal> {
        let Limits { streams_per_user, streams_per_namespace, streams_per_pod, .. } = self.limits;
        let user = self.users.take(&user.to_owned()).ok_or_else(|| too_many(streams_per_user, "user"))?;
        let Some(pod) = pod else { return Ok(Places { _user: user, _pod: None }) };
        let of_pod = self.pods.take(pod).ok_or_else(|| too_many(streams_per_pod, "pod"))?;
        let namespace = self.namespaces.take(&pod.namespace);
        let namespace = namespace.ok_or_else(|| too_many(streams_per_namespace, "namespace"))?;
        Ok(Places { _user: user, _pod: Some((of_pod, namespace)) })
    }
}

fn too_many(limit: usize, of: &str) -> Refusal {
    let message = format!("too many sessions and logs are open: one {of} may have {limit} at once on this node");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
}

/// One stream's places.
#[derive(Debug)]
pub(super) struct Places {
    _user: Slot<String>,
    _pod: Option<(Slot<PodName>, Slot<String>)>,
}

/// What a stream holds for as long as it is open: its places, its count, and its connection's place.
pub(crate) struct Held {
    _places: Places,
    _counted: Counted,
    _peer: Arc<Peer>,
}

impl Held {
    pub(super) fn new(places: Places, counted: Counted, peer: Arc<Peer>) -> Self {
        Self { _places: places, _counted: counted, _peer: peer }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn one_pod_and_one_namespace_leave_something_for_others() {
        let places = StreamPlaces::new(Limits {
            streams_per_user: 4,
            streams_per_namespace: 3,
            streams_per_pod: 2,
            ..Limits::default()
        });
        let pod = |namespace, name| PodName::from(PodPath { namespace, name, uid: None });
        let take = |user: &str, pod: &PodName| places.take(user, Some(pod));
        let (web, db, other) = (pod("a", "web"), pod("a", "db"), pod("b", "web"));
        let mut held = vec![take("u", &web).unwrap(), take("u", &web).unwrap()];
        let mut refusals = vec![take("u", &web).unwrap_err()];
        held.push(take("u", &db).unwrap());
        refusals.push(take("u", &db).unwrap_err());
        held.push(take("u", &other).unwrap());
        refusals.push(take("u", &other).unwrap_err());
        assert!(take("v", &other).is_ok());
        for (refusal, wanted) in refusals.into_iter().zip(["pod may have 2", "namespace may have 3", "user may have 4"])
        {
            let response = refusal.response();
            assert_eq!(response.status(), 429);
            let text = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(text.to_vec()).unwrap();
            assert!(text.contains(wanted), "{text}");
        }
        held.clear();
        assert!(take("u", &web).is_ok(), "what was refused left nothing behind");
    }
}
