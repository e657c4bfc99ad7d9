//! The claims that a pod's volumes name, and the volumes that they are bound to.
//!
//! They are read whenever the pod is resolved, not watched: a node identity may get them by name only.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Client, Resource, api::GetParams};
use serde_json::Value;
use vk_provider::Json;

use super::{
    Notice, Unresolved,
    api::{self, Failure},
};

/// Reason of the event, as the kubelet has it.
const REASON: &str = "FailedMount";

/// Reads them all, in the order of the pod's volumes, each claim before its volume.
pub(super) async fn read(
    client: &Client,
    pod: &Pod,
    namespace: &str,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Json>, Unresolved> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let found = try_join_all(volumes.map(|volume| read_one(client, pod, namespace, volume))).await?;
    let mut objects: Vec<Json> = Vec::new();
    for (json, notice) in found.into_iter().flatten() {
        notices.extend(notice);
        for object in json {
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
    }
    Ok(objects)
}

async fn read_one(
    client: &Client,
    pod: &Pod,
    namespace: &str,
    volume: &Volume,
) -> Result<Option<(Vec<Json>, Option<Notice>)>, Unresolved> {
    let (name, owned) = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => (claim.claim_name.clone(), false),
        (None, Some(_)) => (format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name), true),
        (None, None) => return Ok(None),
    };
    let claim = match get::<PersistentVolumeClaim>(client, Some(namespace), &name).await {
        Ok(claim) => claim,
        Err(failure) => {
            let what = format!("persistentvolumeclaim {name:?}, wanted by volume {:?}", volume.name);
            return Err(match failure {
                Failure::Missing => Unresolved::held(REASON, format!("not found: {what}")),
                Failure::Denied(_) => Unresolved::held(REASON, format!("the node may not read {what}; grant it get")),
                Failure::Unavailable(words) => Unresolved::transient(REASON, format!("failed to read {what}: {words}")),
            });
        }
    };
    if owned && !is_owned_by(&claim, pod) {
        let message = format!(
            "persistentvolumeclaim {name:?} was not made for this pod, but its volume {:?} has that name",
            volume.name
        );
        return Err(Unresolved::held(REASON, message));
    }
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let bound_to = text(&claim, "/spec/volumeName");
    if bound_to.is_empty() || text(&claim, "/status/phase") != "Bound" {
        return Err(Unresolved::held(REASON, format!("persistentvolumeclaim {name:?} is not bound")));
    }
    match get::<PersistentVolume>(client, None, &bound_to).await {
        Ok(bound) => Ok(Some((vec![claim.to_string(), bound.to_string()], None))),
        // A provider may do without it.
        Err(Failure::Denied(_)) => {
            let message = format!("the node may not read persistentvolume {bound_to:?} of volume {:?}", volume.name);
            Ok(Some((vec![claim.to_string()], Some(Notice { reason: "FailedToReadPersistentVolume", message }))))
        }
        Err(Failure::Missing) => Err(Unresolved::held(
            REASON,
            format!("persistentvolume {bound_to:?}, which claim {name:?} is bound to, not found"),
        )),
        Err(Failure::Unavailable(words)) => {
            Err(Unresolved::transient(REASON, format!("failed to read persistentvolume {bound_to:?}: {words}")))
        }
    }
}

/// The object as the API server writes it, without its managed fields.
async fn get<K>(client: &Client, namespace: Option<&str>, name: &str) -> Result<Value, Failure>
where
    K: Resource<DynamicType = ()>,
{
    let path = kube::core::Request::new(K::url_path(&(), namespace));
    let text = api::ask(async || {
        let request = path.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        client.request_text(request).await
    })
    .await?;
    let mut object: Value =
        serde_json::from_str(&text).map_err(|error| Failure::Unavailable(api::malformed(&error)))?;
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(object)
}

fn is_owned_by(claim: &Value, pod: &Pod) -> bool {
    let owners = claim.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        let field = |name: &str| owner.get(name).and_then(Value::as_str);
        owner.get("controller").and_then(Value::as_bool) == Some(true)
            && field("kind") == Some("Pod")
            && field("uid") == pod.metadata.uid.as_deref()
    })
}
