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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tokio::time;

    use super::*;
    use crate::fakes::{FakeReviews, metrics, user};

    fn somebody() -> User {
        User {
            uid: "1".into(),
            groups: vec!["g".into()],
            extra: [("k".to_owned(), vec!["v".to_owned()])].into(),
            ..user("a")
        }
    }

    #[tokio::test]
    async fn a_decision_is_remembered_for_exactly_who_and_what_it_was_about() {
        let reviews = FakeReviews::allowing(&["a get pods"]);
        let authorizer = Authorizer::new(reviews.clone(), metrics());
        let asked = async |user: &User, verb, subresource| {
            let allowed = authorizer.is_allowed(user, verb, &[subresource]).await.unwrap();
            (allowed, reviews.asked().len())
        };
        assert_eq!(asked(&somebody(), "get", "pods").await, (true, 1));
        assert_eq!(asked(&somebody(), "get", "pods").await, (true, 0));
        let others = [
            User { name: "b".into(), ..somebody() },
            User { uid: "2".into(), ..somebody() },
            User { groups: vec![], ..somebody() },
            User { groups: vec!["g".into(), "h".into()], ..somebody() },
            User { groups: vec!["gh".into()], ..somebody() },
            User { extra: [("k".to_owned(), vec!["w".to_owned()])].into(), ..somebody() },
            User { extra: [("l".to_owned(), vec!["v".to_owned()])].into(), ..somebody() },
            User { extra: [("k".to_owned(), vec![])].into(), ..somebody() },
        ];
        for other in others {
            assert_eq!(asked(&other, "get", "pods").await.1, 1, "{other:?}");
        }
        assert_eq!(asked(&somebody(), "create", "pods").await, (false, 1));
        assert_eq!(asked(&somebody(), "get", "proxy").await, (false, 1));
        assert_eq!(asked(&somebody(), "get", "pods").await, (true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn yes_holds_for_five_minutes_and_no_for_half_a_minute() {
        let reviews = FakeReviews::allowing(&["* get pods"]);
        let authorizer = Authorizer::new(reviews.clone(), metrics());
        for (verb, seconds, is_asked) in [
            ("get", 0, true),
            ("get", 299, false),
            ("get", 1, true),
            ("list", 0, true),
            ("list", 29, false),
            ("list", 1, true),
        ] {
            time::advance(Duration::from_secs(seconds)).await;
            authorizer.is_allowed(&somebody(), verb, &["pods"]).await.unwrap();
            assert_eq!(!reviews.asked().is_empty(), is_asked, "{verb} after {seconds} s");
        }
    }

    #[tokio::test]
    async fn an_error_is_no_yes_and_not_remembered_even_if_a_later_subresource_would_be_allowed() {
        let reviews = FakeReviews::allowing(&["* * *"]);
        let authorizer = Authorizer::new(reviews.clone(), metrics());
        reviews.is_down.store(true, Ordering::SeqCst);
        assert!(authorizer.is_allowed(&somebody(), "get", &["pods", "proxy"]).await.is_err());
        assert_eq!(reviews.asked(), ["a get pods"]);
        reviews.is_down.store(false, Ordering::SeqCst);
        assert_eq!(authorizer.is_allowed(&somebody(), "get", &["pods", "proxy"]).await, Ok(true));
    }

    #[tokio::test]
    async fn a_user_of_many_bytes_is_not_kept() {
        let reviews = FakeReviews::allowing(&["* * *"]);
        let authorizer = Authorizer::new(reviews.clone(), metrics());
        let large = User { groups: vec!["g".repeat(LARGEST_KEPT)], ..somebody() };
        for _ in 0..2 {
            assert_eq!(authorizer.is_allowed(&large, "get", &["pods"]).await, Ok(true));
            assert_eq!(reviews.asked().len(), 1);
        }
        assert_eq!(authorizer.decisions.len(), 0);
    }
}
