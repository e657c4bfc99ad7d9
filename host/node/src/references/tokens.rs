//! Service-account tokens bound to a pod: asked for, kept, renewed in time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Client, Resource, api::PostParams};
use tokio::time::Instant;

use super::{
    Unresolved,
    api::{self, Failure},
};

/// A token is renewed at the latest when it is so old, however long it is valid.
const LONGEST_USE: Duration = Duration::from_secs(24 * 60 * 60);
/// Renewals are moved forward by up to this much, so that pods that started together do not renew together.
const JITTER: Duration = Duration::from_secs(10);
/// When a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Reason of the event, as the kubelet has it.
const REASON: &str = "FailedMount";

/// Which token of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TokenKey {
    /// Empty: the API server's own.
    pub(super) audience: String,
    /// Seconds.
    pub(super) expiration: i64,
}

/// The tokens of one pod.
#[derive(Default)]
pub(super) struct Tokens {
    /// Tokens are bound to it.
    uid: String,
    tokens: HashMap<TokenKey, Token>,
}

struct Token {
    value: Arc<str>,
    renew_at: Instant,
    expires_at: Instant,
}

impl Tokens {
    /// Makes sure that these tokens are there and none is due for renewal. One that cannot be renewed is used as long as
    /// it is valid.
    pub(super) async fn provide(
        &mut self,
        client: &Client,
        pod: &Pod,
        namespace: &str,
        keys: &BTreeSet<TokenKey>,
    ) -> Result<(), Unresolved> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if self.uid != uid {
            *self = Tokens { uid: uid.to_owned(), tokens: HashMap::new() };
        }
        self.tokens.retain(|key, _| keys.contains(key));
        for key in keys {
            let now = Instant::now();
            let old = self.tokens.get_mut(key);
            if old.as_ref().is_some_and(|token| token.renew_at > now) {
                continue;
            }
            match request(client, pod, namespace, key).await {
                Ok(token) => _ = self.tokens.insert(key.clone(), token),
                Err(error) => match old {
                    Some(token) if token.expires_at > Instant::now() => {
                        tracing::warn!(namespace, uid, %error, "a token could not be renewed; the old one is used");
                        token.renew_at = Instant::now() + RETRY.mul_f64(rand::random_range(0.75..=1.25));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// The tokens themselves.
    pub(super) fn values(&self) -> HashMap<TokenKey, Arc<str>> {
        self.tokens.iter().map(|(key, token)| (key.clone(), token.value.clone())).collect()
    }

    /// When the first of them is to be renewed.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.tokens.values().map(|token| token.renew_at).min()
    }
}

async fn request(client: &Client, pod: &Pod, namespace: &str, key: &TokenKey) -> Result<Token, Unresolved> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
    let failed = |failure: Failure| match failure {
        Failure::Missing => {
            Unresolved::held(REASON, format!("serviceaccount {account:?} not found, wanted for a token"))
        }
        Failure::Denied(words) => {
            Unresolved::held(REASON, format!("the node may not create a token of serviceaccount {account:?}: {words}"))
        }
        Failure::Unavailable(words) => {
            Unresolved::transient(REASON, format!("failed to get a token of serviceaccount {account:?}: {words}"))
        }
    };
    let unavailable = |words: String| failed(Failure::Unavailable(words));

    let wanted = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
            expiration_seconds: Some(key.expiration),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let body = serde_json::to_vec(&wanted).map_err(|error| unavailable(error.to_string()))?;
    let path = kube::core::Request::new(ServiceAccount::url_path(&(), Some(namespace)));
    let asked_at = Instant::now();
    let text = api::ask(async || {
        let request = path
            .create_subresource("token", account, &PostParams::default(), body.clone())
            .map_err(kube::Error::BuildRequest)?;
        client.request_text(request).await
    })
    .await
    .map_err(failed)?;
    let answer: TokenRequest = serde_json::from_str(&text).map_err(|error| unavailable(api::malformed(&error)))?;
    let Some(value) =
        answer.status.as_ref().and_then(|status| status.token.as_deref()).filter(|value| !value.is_empty())
    else {
        return Err(unavailable("the API server's answer has no token".to_owned()));
    };

    // The server may choose another lifetime. It is counted from the request on: clocks of the two may differ.
    let granted = answer.spec.as_ref().and_then(|spec| spec.expiration_seconds).unwrap_or(key.expiration);
    let lifetime = Duration::from_secs(u64::try_from(granted).unwrap_or_default());
    let jitter = JITTER.mul_f64(rand::random_range(0.0..=1.0));
    let use_time = lifetime.mul_f64(0.8).min(LONGEST_USE).saturating_sub(jitter).max(Duration::from_secs(1));
    Ok(Token { value: value.into(), renew_at: asked_at + use_time, expires_at: asked_at + lifetime })
}
