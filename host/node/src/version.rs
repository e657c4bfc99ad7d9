//! The order of an object's versions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether one version of an object is older than another. The API server's versions are numbers that grow; what is no
/// number is older than nothing.
pub(crate) fn is_older(object: &ObjectMeta, than: &ObjectMeta) -> bool {
    let version =
        |object: &ObjectMeta| object.resource_version.as_ref().and_then(|version| version.parse::<u64>().ok());
    matches!((version(object), version(than)), (Some(one), Some(other)) if one < other)
}
