//! Who asks: a client certificate, else a bearer token, else nobody.

mod client_certificate;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

pub(crate) use client_certificate::AnyCertificate;
pub use client_certificate::{ClientAuthorities, ClientCa};

use crate::{
    cache::Cache,
    metrics::{Authentication, Metrics},
    reviews::{ReviewError, Reviews, User},
};

/// As the kubelet's cacheTTL: a token that was revoked is believed for no longer.
const KNOWN_FOR: Duration = Duration::from_secs(120);
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// Tokens whose owner, or that none, is remembered.
const KEPT: usize = 4_096;

/// What every authenticated user is a member of.
const AUTHENTICATED: &str = "system:authenticated";

/// Finds out who asks.
pub(crate) struct Authenticator {
    reviews: Arc<dyn Reviews>,
    client_ca: Arc<ClientCa>,
    anonymous: bool,
    /// By the token's SHA-256, so that no token is kept.
    tokens: Cache<[u8; 32], Option<User>, ReviewError>,
    metrics: Metrics,
}

impl Authenticator {
    pub(crate) fn new(reviews: Arc<dyn Reviews>, client_ca: Arc<ClientCa>, anonymous: bool, metrics: Metrics) -> Self {
        Self { reviews, client_ca, anonymous, tokens: Cache::new(KEPT), metrics }
    }

    /// Who sent a request; `None`: nobody who is let in. Takes the credentials out of the headers, so that nothing that
    /// comes after can pass them on.
    pub(crate) async fn authenticate(
        &self,
        certificates: &[CertificateDer<'static>],
        headers: &mut HeaderMap,
    ) -> Option<User> {
        let authorization = headers.remove(AUTHORIZATION);
        let (user, outcome) = self.identify(certificates, authorization.as_ref().map(|value| value.as_bytes())).await;
        self.metrics.authenticated(outcome);
        user
    }

    async fn identify(
        &self,
        certificates: &[CertificateDer<'static>],
        authorization: Option<&[u8]>,
    ) -> (Option<User>, Authentication) {
        if let Some(user) = self.client_ca.user(certificates) {
            return (Some(user), Authentication::Certificate);
        }
        if let Some(token) = authorization.and_then(bearer) {
            return match self.owner(token).await {
                Ok(Some(user)) => (Some(user), Authentication::Token),
                Ok(None) => (None, Authentication::Refused),
                Err(error) => {
                    tracing::warn!(%error, "a request with a token was refused: it could not be reviewed");
                    (None, Authentication::Failed)
                }
            };
        }
        // Credentials that are not valid do not make one anonymous.
        if self.anonymous && certificates.is_empty() && authorization.is_none() {
            return (Some(anonymous()), Authentication::Anonymous);
        }
        (None, Authentication::Refused)
    }

    async fn owner(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let ask = || {
            let (reviews, token) = (self.reviews.clone(), token.to_owned());
            async move {
                let owner = reviews.token(&token).await?.map(with_authenticated);
                let holds = if owner.is_some() { KNOWN_FOR } else { UNKNOWN_FOR };
                Ok((owner, holds))
            }
        };
        self.tokens.get(&key, ReviewError("the review ended abnormally".into()), ask).await
    }
}

/// The token of `Bearer TOKEN`, whose first word may be in any case.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = str::from_utf8(authorization).ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

fn with_authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

fn anonymous() -> User {
    User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..User::default() }
}
