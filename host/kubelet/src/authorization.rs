//! What somebody may do: a SubjectAccessReview for each subresource of the path, until one allows it.

use std::{sync::Arc, time::Duration};

use crate::{
    cache::Cache,
    metrics::{Authorization, Metrics},
    reviews::{Access, ReviewError, Reviews, User},
};

/// As the kubelet's cacheAuthorizedTTL and cacheUnauthorizedTTL.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);
/// Decisions that are kept.
const KEPT: usize = 4_096;
/// Users who take more bytes are asked about each time.
const LARGEST_KEPT: usize = 10_000;

/// Asks, and remembers the answers.
pub(crate) struct Authorizer {
    reviews: Arc<dyn Reviews>,
    decisions: Cache<Access, bool, ReviewError>,
    metrics: Metrics,
}

impl Authorizer {
    pub(crate) fn new(reviews: Arc<dyn Reviews>, metrics: Metrics) -> Self {
        Self { reviews, decisions: Cache::new(KEPT), metrics }
    }

    /// Whether `user` may do this with any of the subresources, in their order.
    ///
    /// # Errors
    ///
    /// If the first that does not deny cannot be decided.
    pub(crate) async fn is_allowed(
        &self,
        user: &User,
        verb: &'static str,
        subresources: &[&'static str],
    ) -> Result<bool, ReviewError> {
        let decision = self.decide(user, verb, subresources).await;
        self.metrics.authorized(match &decision {
            Ok(true) => Authorization::Allowed,
            Ok(false) => Authorization::Denied,
            Err(_) => Authorization::Failed,
        });
        decision
    }

    async fn decide(
        &self,
        user: &User,
        verb: &'static str,
        subresources: &[&'static str],
    ) -> Result<bool, ReviewError> {
        for subresource in subresources {
            if self.review(Access { user: user.clone(), verb, subresource }).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn review(&self, access: Access) -> Result<bool, ReviewError> {
        if size(&access.user) > LARGEST_KEPT {
            return self.reviews.access(&access).await;
        }
        let ask = || {
            let (reviews, access) = (self.reviews.clone(), access.clone());
            async move {
                let allowed = reviews.access(&access).await?;
                Ok((allowed, if allowed { ALLOWED_FOR } else { DENIED_FOR }))
            }
        };
        self.decisions.get(&access, ReviewError("the review ended abnormally".into()), ask).await
    }
}

fn size(user: &User) -> usize {
    let extra = user.extra.iter().map(|(name, values)| name.len() + values.iter().map(String::len).sum::<usize>());
    user.name.len() + user.uid.len() + user.groups.iter().map(String::len).sum::<usize>() + extra.sum::<usize>()
}
