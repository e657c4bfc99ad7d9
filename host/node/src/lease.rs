//! The node's Lease: it says that the host lives, whatever the provider does.
//!
//! A lease that lapses makes the controller manager set every pod of the node NotReady, so nothing but the API server
//! itself may hold up its renewal: it has a client of its own, and each request is short.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::registration::NodeFacts;

/// Where the controller manager looks for the leases of nodes.
const NAMESPACE: &str = "kube-node-lease";
/// After what time without renewal the node counts as gone, in seconds: a kubelet's value.
const DURATION: i32 = 40;
/// A quarter of it.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Below the interval, so that a request that hangs costs one renewal at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts of one renewal.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(7);

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl LeaseError {
    fn is(&self, check: fn(&kube::core::Status) -> bool) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if check(status))
    }
}

/// Keeps the lease of `node_name` until `shutdown`, then leaves it to lapse: the node has posted NotReady by then.
/// `client` should not retry by itself.
pub(crate) async fn run(
    client: Client,
    node_name: String,
    node: watch::Receiver<Option<Arc<NodeFacts>>>,
    shutdown: CancellationToken,
) {
    let mut keeper =
        Keeper { api: Api::namespaced(client, NAMESPACE), node_name, node, annotations: BTreeMap::new(), known: None };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeper.keep() => {}
    }
}

struct Keeper {
    api: Api<Lease>,
    node_name: String,
    node: watch::Receiver<Option<Arc<NodeFacts>>>,
    /// What the lease says beside its spec, such as which process renews it.
    annotations: BTreeMap<String, String>,
    /// The lease as the API had it last.
    known: Option<Lease>,
}

impl Keeper {
    async fn keep(&mut self) {
        // The owner must exist: a lease without one would outlive its node.
        if self.node.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut uid = self.uid();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = self.node.changed() => match changed {
                    // A node that was made again is another owner: the garbage collector would take the lease.
                    Ok(()) if self.uid() != uid => uid = self.uid(),
                    Ok(()) => continue,
                    // The node's task has ended; the host lives as long as nobody stops it.
                    Err(_) => drop(ticks.tick().await),
                },
            }
            self.renew().await;
        }
    }

    fn uid(&self) -> String {
        self.node.borrow().as_ref().map(|facts| facts.uid.clone()).unwrap_or_default()
    }

    /// Renews until it has worked.
    async fn renew(&mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            match self.try_renew().await {
                Ok(()) => return,
                Err(error) if error.is(kube::core::Status::is_conflict) => {
                    debug!("the lease of node {} was changed by somebody: reading it again", self.node_name);
                }
                Err(error) => warn!("could not renew the lease of node {}: {error}", self.node_name),
            }
            self.known = None;
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn try_renew(&mut self) -> Result<(), LeaseError> {
        let known = match self.known.take() {
            Some(lease) => Some(lease),
            None => request(self.api.get_opt(&self.node_name)).await?,
        };
        let renewed = match known {
            Some(known) => {
                let lease = self.lease(known);
                match request(self.api.replace(&self.node_name, &PostParams::default(), &lease)).await {
                    Err(error) if error.is(kube::core::Status::is_not_found) => self.create().await?,
                    renewed => renewed?,
                }
            }
            None => self.create().await?,
        };
        self.known = Some(renewed);
        Ok(())
    }

    async fn create(&self) -> Result<Lease, LeaseError> {
        let lease = self.lease(Lease {
            metadata: ObjectMeta {
                name: Some(self.node_name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        request(self.api.create(&PostParams::default(), &lease)).await
    }

    /// A lease with all that this host says, on top of what others have written.
    fn lease(&self, mut lease: Lease) -> Lease {
        lease.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node_name.clone(),
            uid: self.uid(),
            ..OwnerReference::default()
        }]);
        if !self.annotations.is_empty() {
            lease.metadata.annotations.get_or_insert_default().extend(self.annotations.clone());
        }
        let spec = lease.spec.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.node_name.clone()),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..spec
        });
        lease
    }
}

async fn request<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    Ok(timeout(REQUEST_TIMEOUT, call).await.map_err(|_| LeaseError::Timeout)??)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;
    use crate::fake_api::{FakeApi, Instead};

    const PATH: &str = "namespaces/kube-node-lease/leases/vk";

    fn facts(uid: &str) -> Option<Arc<NodeFacts>> {
        Some(Arc::new(NodeFacts { uid: uid.into(), ..NodeFacts::default() }))
    }

    fn start(api: &FakeApi, node: &watch::Sender<Option<Arc<NodeFacts>>>) -> CancellationToken {
        let stop = CancellationToken::new();
        tokio::spawn(run(api.client(), "vk".into(), node.subscribe(), stop.clone()));
        stop
    }

    fn renewals(api: &FakeApi) -> usize {
        api.calls(&Method::PUT).len()
    }

    fn owner(api: &FakeApi) -> Value {
        api.get(PATH).unwrap()["metadata"]["ownerReferences"][0]["uid"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_made_once_there_is_a_node_and_renewed_every_ten_seconds() {
        let api = FakeApi::default();
        let node = watch::Sender::new(None);
        let stop = start(&api, &node);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(api.get(PATH), None);
        node.send_replace(facts("u-1"));
        sleep(Duration::from_secs(1)).await;
        let lease = api.get(PATH).unwrap();
        assert_eq!(lease["spec"]["holderIdentity"], "vk");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
        assert_eq!(
            lease["metadata"]["ownerReferences"],
            json!([{ "apiVersion": "v1", "kind": "Node", "name": "vk", "uid": "u-1" }])
        );
        sleep(Duration::from_secs(60)).await;
        assert_eq!(renewals(&api), 6);
        assert_eq!(api.calls(&Method::GET).len(), 1, "renewing needs no reading");
        stop.cancel();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(renewals(&api), 6);
        assert!(api.get(PATH).is_some(), "it is left to lapse");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_made_again_owns_the_lease_at_once() {
        let api = FakeApi::default();
        let node = watch::Sender::new(facts("u-1"));
        start(&api, &node);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(owner(&api), "u-1");
        node.send_replace(facts("u-2"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(owner(&api), "u-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_others_change_is_read_again_and_keeps_what_they_wrote() {
        let api = FakeApi::default();
        let node = watch::Sender::new(facts("u-1"));
        start(&api, &node);
        sleep(Duration::from_secs(3)).await;
        let mut lease = api.get(PATH).unwrap();
        lease["metadata"]["annotations"] = json!({ "example.com/note": "kept" });
        lease["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z");
        api.put(PATH, lease);
        sleep(Duration::from_secs(9)).await;
        let lease = api.get(PATH).unwrap();
        assert_eq!(lease["metadata"]["annotations"]["example.com/note"], "kept");
        assert!(!lease["spec"]["renewTime"].as_str().unwrap().starts_with("2020"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_somebody_deletes_is_made_again() {
        let api = FakeApi::default();
        let node = watch::Sender::new(facts("u-1"));
        start(&api, &node);
        sleep(Duration::from_secs(3)).await;
        api.remove(PATH);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(owner(&api), "u-1");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_hang_are_given_up_in_time_for_the_next_renewal() {
        let api = FakeApi::default();
        let node = watch::Sender::new(facts("u-1"));
        start(&api, &node);
        sleep(Duration::from_secs(3)).await;
        let mut hanging = 2;
        api.rule(move |_| {
            hanging -= 1;
            (hanging >= 0).then_some(Instead::Hang)
        });
        let before = api.get(PATH).unwrap()["metadata"]["resourceVersion"].clone();
        let started = Instant::now();
        while api.get(PATH).unwrap()["metadata"]["resourceVersion"] == before {
            sleep(Duration::from_millis(100)).await;
            assert!(started.elapsed() < Duration::from_secs(30), "well before the lease lapses");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_refuses_is_asked_with_growing_pauses() {
        let api = FakeApi::default();
        api.rule(|_| Some(Instead::Refuse(503, "ServiceUnavailable", "starting")));
        let node = watch::Sender::new(facts("u-1"));
        start(&api, &node);
        sleep(Duration::from_secs(60)).await;
        let asked = api.calls(&Method::GET).len();
        assert!((8..=16).contains(&asked), "{asked}");
        api.rule(|_| None);
        sleep(Duration::from_secs(8)).await;
        assert!(api.get(PATH).is_some());
    }
}
