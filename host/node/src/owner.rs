//! The name under which a provider's backend knows this node of this cluster.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::time;

use crate::pods::Backoff;

/// The longest wait for an API server that cannot be reached.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why the owner cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The namespace whose uid stands for the cluster cannot be read.
    #[error("the cluster cannot be told from others: namespace kube-system cannot be read; allow that, or set --owner")]
    Unreadable(#[source] Box<kube::Error>),
    /// The API server sent it without a uid.
    #[error("namespace kube-system has no uid; set --owner")]
    NoUid,
}

/// A hash of the cluster and the node's name: 32 characters of `[0-9a-f]`.
///
/// A cluster is told by the uid of its namespace `kube-system`, which lives as long as the cluster does. So two clusters
/// on one account with equal node names never touch each other's pods.
///
/// Waits for an API server that cannot be reached.
///
/// # Errors
///
/// If the API server does not let the namespace be read.
pub async fn owner(client: &Client, node_name: &str) -> Result<String, OwnerError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut backoff = Backoff::capped(LONGEST_WAIT);
    loop {
        match namespaces.get_metadata("kube-system").await {
            Ok(namespace) => return Ok(hash(&namespace.uid().ok_or(OwnerError::NoUid)?, node_name)),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
                return Err(OwnerError::Unreadable(Box::new(kube::Error::Api(status))));
            }
            Err(error) => {
                let wait = backoff.next();
                tracing::warn!(%error, retry_in = ?wait, "the API server cannot be reached");
                time::sleep(wait).await;
            }
        }
    }
}

fn hash(cluster: &str, node_name: &str) -> String {
    let digest = Sha256::new().chain_update(cluster).chain_update([0]).chain_update(node_name).finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn an_owner_is_unique_to_cluster_and_node_and_fits_the_contract() {
        let owner = hash("0d8f1b9c-cluster", "virtual-kubelet");
        assert_eq!(owner.len(), 32);
        assert!(owner.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(owner, hash("0d8f1b9c-cluster", "virtual-kubelet"));
        assert_ne!(owner, hash("0d8f1b9c-cluster", "virtual-kubelet-2"));
        assert_ne!(owner, hash("another-cluster", "virtual-kubelet"));
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
