//! The Lease object as this host writes and reads it. Pure.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
    jiff::Timestamp,
};

use super::NAMESPACE;

/// The annotation that names the process which holds the lease.
pub(super) const INSTANCE: &str = "vk-host.dev/instance";
/// After what time without renewal the node counts as gone, in seconds: a kubelet's value.
const DURATION: i32 = 40;

/// The process that holds a lease; `None` where none does, or none that can be told.
pub(super) fn instance(lease: &Lease) -> Option<&str> {
    let instance = lease.metadata.annotations.as_ref()?.get(INSTANCE)?;
    Some(instance.as_str()).filter(|instance| !instance.is_empty())
}

/// Whether the lease has run out, as far as clocks agree.
pub(super) fn has_lapsed(lease: &Lease) -> bool {
    let Some(spec) = &lease.spec else { return true };
    let (Some(MicroTime(renewed)), Some(seconds)) = (&spec.renew_time, spec.lease_duration_seconds) else {
        return true;
    };
    let lasts = Duration::from_secs(u64::from(seconds.unsigned_abs()));
    Timestamp::now().duration_since(*renewed).try_into().is_ok_and(|age: Duration| age > lasts)
}

/// The lease with all that this host says, on top of what others have written. Without `owner` there is no node.
pub(super) fn held(mut lease: Lease, node_name: &str, instance: &str, owner: Option<&str>) -> Lease {
    lease.metadata.name = Some(node_name.to_owned());
    lease.metadata.namespace = Some(NAMESPACE.to_owned());
    lease.metadata.annotations.get_or_insert_default().insert(INSTANCE.to_owned(), instance.to_owned());
    if let Some(uid) = owner {
        lease.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node_name.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }]);
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(node_name.to_owned()),
        lease_duration_seconds: Some(DURATION),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..lease.spec.unwrap_or_default()
    });
    lease
}

/// The lease that nobody holds. Its times stay: it is left to lapse, as the node has posted NotReady.
pub(super) fn given_up(mut lease: Lease) -> Lease {
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(INSTANCE);
    }
    lease
}
