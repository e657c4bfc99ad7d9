//! Who somebody is and what they may do, as the API server says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::Semaphore, time};

/// How long a review may take, waiting for others included.
const REVIEW_WITHIN: Duration = Duration::from_secs(10);
/// Reviews under way at once: whoever has no credentials can make the node ask for theirs to be reviewed.
const REVIEWS_AT_ONCE: usize = 32;

/// Somebody who is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The uid; may be empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else authorizers look at.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody wants to do with the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// Who.
    pub user: User,
    /// The verb of the API; empty for methods that have none.
    pub verb: &'static str,
    /// Of the resource `nodes`.
    pub subresource: &'static str,
}

/// The API server could not be asked, or answered with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub Arc<str>);

/// Decides about credentials and rights.
///
/// # Errors
///
/// If it cannot be decided. That is never a yes.
#[async_trait]
pub trait Reviews: Send + Sync {
    /// Whose token this is; `None`: nobody's.
    async fn token(&self, token: &str) -> Result<Option<User>, ReviewError>;

    /// Whether it is allowed.
    async fn access(&self, access: &Access) -> Result<bool, ReviewError>;
}

/// Asks the API server: TokenReview and SubjectAccessReview.
pub struct ApiServer {
    client: Client,
    node_name: String,
    places: Semaphore,
}

impl ApiServer {
    /// Reviews for one node, by a client that may create both kinds of review (ClusterRole system:auth-delegator, or a
    /// node's identity).
    pub fn new(client: Client, node_name: impl Into<String>) -> Self {
        Self { client, node_name: node_name.into(), places: Semaphore::new(REVIEWS_AT_ONCE) }
    }

    async fn review<T>(&self, what: &str, asking: impl Future<Output = kube::Result<T>>) -> Result<T, ReviewError> {
        let asked = time::timeout(REVIEW_WITHIN, async {
            // Never closed.
            let _place = self.places.acquire().await;
            asking.await
        });
        let problem = match asked.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", REVIEW_WITHIN.as_secs()),
        };
        Err(ReviewError(format!("cannot create a {what}: {problem}").into()))
    }
}

#[async_trait]
impl Reviews for ApiServer {
    async fn token(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let spec = TokenReviewSpec { token: token.into(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::all(self.client.clone());
        let params = PostParams::default();
        let reviewed: TokenReview = self.review("TokenReview", api.create(&params, &review)).await?;
        let status = reviewed.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Ok(None);
        }
        let user = status.user.unwrap_or_default();
        Ok(user.username.filter(|name| !name.is_empty()).map(|name| User {
            name,
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    async fn access(&self, access: &Access) -> Result<bool, ReviewError> {
        let Access { user, verb, subresource } = access.clone();
        let resource = ResourceAttributes {
            name: Some(self.node_name.clone()),
            resource: Some("nodes".into()),
            subresource: Some(subresource.into()),
            verb: Some(verb.into()),
            version: Some("v1".into()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name),
            uid: Some(user.uid).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups),
            extra: Some(user.extra),
            resource_attributes: Some(resource),
            non_resource_attributes: None,
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::all(self.client.clone());
        let params = PostParams::default();
        let reviewed: SubjectAccessReview = self.review("SubjectAccessReview", api.create(&params, &review)).await?;
        let status = reviewed.status.unwrap_or_default();
        Ok(status.allowed && status.denied != Some(true))
    }
}
