//! Who somebody is and what they may do, as the API server says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus},
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::Semaphore, time};
use zeroize::Zeroize as _;

/// How long a review may take, waiting for others included.
const REVIEW_WITHIN: Duration = Duration::from_secs(10);
/// Reviews of one kind under way at once: whoever has no credentials can make the node ask for theirs to be reviewed.
const REVIEWS_AT_ONCE: usize = 32;
/// Those of one kind that are under way or wait. They outlive the connections that they are for.
const REVIEWS: usize = 512;

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
    /// A flood of tokens, which everybody can send, leaves the places of those who are known alone.
    tokens: Places,
    accesses: Places,
}

/// Reviews of one kind.
struct Places {
    all: Semaphore,
    at_once: Semaphore,
}

impl Places {
    fn new() -> Self {
        Self { all: Semaphore::new(REVIEWS), at_once: Semaphore::new(REVIEWS_AT_ONCE) }
    }

    async fn review<T>(&self, what: &str, asking: impl Future<Output = kube::Result<T>>) -> Result<T, ReviewError> {
        let failed = |problem: String| ReviewError(format!("cannot create a {what}: {problem}").into());
        let _waiting = self.all.try_acquire().map_err(|_| failed(format!("{REVIEWS} others wait already")))?;
        let asked = time::timeout(REVIEW_WITHIN, async {
            // Never closed.
            let _place = self.at_once.acquire().await;
            asking.await
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", REVIEW_WITHIN.as_secs()))),
        }
    }
}

/// A review whose token is wiped when it is done with.
struct Wiped(TokenReview);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.spec.token.zeroize();
    }
}

impl ApiServer {
    /// Reviews for one node, by a client that may create both kinds of review (ClusterRole system:auth-delegator, or a
    /// node's identity).
    pub fn new(client: Client, node_name: impl Into<String>) -> Self {
        Self { client, node_name: node_name.into(), tokens: Places::new(), accesses: Places::new() }
    }
}

#[async_trait]
impl Reviews for ApiServer {
    async fn token(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let spec = TokenReviewSpec { token: token.into(), audiences: None };
        let review = Wiped(TokenReview { spec, ..TokenReview::default() });
        let api = Api::all(self.client.clone());
        let params = PostParams::default();
        let mut reviewed = Wiped(self.tokens.review("TokenReview", api.create(&params, &review.0)).await?);
        let status = reviewed.0.status.take().unwrap_or_default();
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
        let reviewed = self.accesses.review("SubjectAccessReview", api.create(&params, &review)).await?;
        let status: SubjectAccessReviewStatus = reviewed.status.unwrap_or_default();
        Ok(status.allowed && status.denied != Some(true))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::fakes::{NEVER, fake_api};

    /// Paths and bodies.
    type Sent = Arc<Mutex<Vec<(String, Value)>>>;

    /// Reviews by an API server that answers every review with this status, and what it was sent.
    fn answering(code: u16, status: Value) -> (ApiServer, Sent) {
        let sent = Sent::default();
        let noted = sent.clone();
        let client = fake_api(move |method, path, mut body| {
            assert_eq!(method, Method::POST);
            noted.lock().unwrap().push((path.to_owned(), body.clone()));
            if code >= 400 {
                return (code, json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" }));
            }
            body["status"] = status.clone();
            (code, body)
        });
        (ApiServer::new(client, "node"), sent)
    }

    #[tokio::test]
    async fn a_token_belongs_to_whom_the_api_server_says() {
        let status = json!({
            "authenticated": true,
            "user": { "username": "alice", "uid": "1", "groups": ["g"], "extra": { "k": ["v"] } },
        });
        let (reviews, sent) = answering(201, status);
        let alice = User {
            name: "alice".into(),
            uid: "1".into(),
            groups: vec!["g".into()],
            extra: [("k".to_owned(), vec!["v".to_owned()])].into(),
        };
        assert_eq!(reviews.token("secret").await, Ok(Some(alice)));
        let (path, body) = sent.lock().unwrap().remove(0);
        assert_eq!(path, "/apis/authentication.k8s.io/v1/tokenreviews");
        assert_eq!(body["spec"], json!({ "token": "secret" }));
    }

    #[tokio::test]
    async fn a_token_without_a_clear_yes_and_a_name_is_nobodys() {
        for status in [
            json!({}),
            json!({ "authenticated": false, "user": { "username": "alice" } }),
            json!({ "error": "bad", "user": { "username": "alice" } }),
            json!({ "authenticated": true }),
            json!({ "authenticated": true, "user": { "username": "" } }),
        ] {
            assert_eq!(answering(201, status.clone()).0.token("t").await, Ok(None), "{status}");
        }
    }

    #[tokio::test]
    async fn rights_are_asked_for_on_the_node_and_only_a_clear_yes_is_one() {
        let access = Access {
            user: User { name: "alice".into(), groups: vec!["g".into()], ..User::default() },
            verb: "create",
            subresource: "proxy",
        };
        for (status, allowed) in [
            (json!({ "allowed": true }), true),
            (json!({ "allowed": true, "denied": true }), false),
            (json!({ "allowed": false }), false),
        ] {
            let (reviews, sent) = answering(201, status);
            assert_eq!(reviews.access(&access).await, Ok(allowed));
            let (path, body) = sent.lock().unwrap().remove(0);
            assert_eq!(path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
            let resource = json!({
                "resource": "nodes", "name": "node", "version": "v1", "subresource": "proxy", "verb": "create",
            });
            assert_eq!(body["spec"]["resourceAttributes"], resource);
            assert_eq!((&body["spec"]["user"], &body["spec"]["groups"]), (&json!("alice"), &json!(["g"])));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_is_bounded_and_does_not_hold_up_who_is_known() {
        let client = fake_api(|_, path, mut body| {
            if path.ends_with("tokenreviews") {
                return (NEVER, Value::Null);
            }
            body["status"] = json!({ "allowed": true });
            (201, body)
        });
        let reviews = Arc::new(ApiServer::new(client, "node"));
        let ask = |number: usize| {
            let reviews = reviews.clone();
            async move { reviews.token(&number.to_string()).await.unwrap_err().to_string() }
        };
        let began = time::Instant::now();
        let flood: Vec<_> = (0..REVIEWS).map(|number| tokio::spawn(ask(number))).collect();
        while reviews.tokens.all.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let access = Access { user: User::default(), verb: "get", subresource: "pods" };
        assert_eq!(reviews.access(&access).await, Ok(true));
        assert_eq!(ask(REVIEWS).await, "cannot create a TokenReview: 512 others wait already");
        assert_eq!(began.elapsed(), Duration::ZERO);
        for one in flood {
            assert_eq!(one.await.unwrap(), "cannot create a TokenReview: no answer within 10 s");
        }
        assert!(began.elapsed() < REVIEW_WITHIN + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_refusal_of_the_api_server_is_an_error_that_names_the_review_and_not_the_token() {
        let (reviews, _) = answering(403, Value::Null);
        let error = reviews.token("secret").await.unwrap_err().to_string();
        assert!(error.starts_with("cannot create a TokenReview: ") && !error.contains("secret"), "{error}");
        let access = Access { user: User::default(), verb: "get", subresource: "pods" };
        let error = reviews.access(&access).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot create a SubjectAccessReview: "), "{error}");
    }
}
