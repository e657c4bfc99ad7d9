//! Who asks: a client certificate, else a bearer token, else nobody.

mod client_certificate;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

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
        let credentials = headers.remove(AUTHORIZATION).map(|value| bearer(value.as_bytes()));
        let (user, outcome) = self.identify(certificates, credentials).await;
        self.metrics.authenticated(outcome);
        user
    }

    /// By credentials that may be there, and may be a token.
    async fn identify(
        &self,
        certificates: &[CertificateDer<'static>],
        credentials: Option<Option<Token>>,
    ) -> (Option<User>, Authentication) {
        if let Some(user) = self.client_ca.user(certificates) {
            return (Some(user), Authentication::Certificate);
        }
        let has_credentials = credentials.is_some();
        if let Some(token) = credentials.flatten() {
            return match self.owner(&token).await {
                Ok(Some(user)) => (Some(user), Authentication::Token),
                Ok(None) => (None, Authentication::Refused),
                Err(error) => {
                    tracing::warn!(%error, "a request with a token was refused: it could not be reviewed");
                    (None, Authentication::Failed)
                }
            };
        }
        // Credentials that are not valid do not make one anonymous.
        if self.anonymous && certificates.is_empty() && !has_credentials {
            return (Some(anonymous()), Authentication::Anonymous);
        }
        (None, Authentication::Refused)
    }

    async fn owner(&self, token: &Token) -> Result<Option<User>, ReviewError> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let ask = || {
            let (reviews, token) = (self.reviews.clone(), token.clone());
            async move {
                let owner = reviews.token(&token).await?.map(with_authenticated);
                let holds = if owner.is_some() { KNOWN_FOR } else { UNKNOWN_FOR };
                Ok((owner, holds))
            }
        };
        self.tokens.get(&key, ReviewError("the review ended abnormally".into()), ask).await
    }
}

/// A token, wiped when it is done with.
type Token = Zeroizing<String>;

/// The token of `Bearer TOKEN`, whose first word may be in any case.
fn bearer(authorization: &[u8]) -> Option<Token> {
    let (scheme, token) = str::from_utf8(authorization).ok()?.trim().split_once(' ')?;
    let token = token.trim();
    let is_token = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
    is_token.then(|| Zeroizing::new(token.to_owned()))
}

fn with_authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// Who is let in without credentials.
const ANONYMOUS: &str = "system:anonymous";

fn anonymous() -> User {
    User { name: ANONYMOUS.into(), groups: vec!["system:unauthenticated".into()], ..User::default() }
}

/// Whether this is nobody in particular.
pub(crate) fn is_anonymous(user: &User) -> bool {
    user.name == ANONYMOUS
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::time;

    use super::*;
    use crate::fakes::{FakeReviews, metrics, user};

    fn authenticator(reviews: &Arc<FakeReviews>) -> Authenticator {
        Authenticator::new(reviews.clone(), Arc::default(), false, metrics())
    }

    fn with_token(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        [(AUTHORIZATION, value.clone()), (AUTHORIZATION, value)].into_iter().collect()
    }

    #[tokio::test]
    async fn credentials_are_taken_out_of_the_request() {
        let authenticator = authenticator(&Arc::default());
        let mut headers = with_token("secret");
        headers.insert("x-other", HeaderValue::from_static("stays"));
        assert_eq!(authenticator.authenticate(&[], &mut headers).await, None);
        assert!(!headers.contains_key(AUTHORIZATION) && headers.contains_key("x-other"), "{headers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_token_is_refused_within_two_minutes_and_a_new_one_taken_within_ten_seconds() {
        let reviews = Arc::new(FakeReviews::default());
        let authenticator = authenticator(&reviews);
        let is_known = async || authenticator.authenticate(&[], &mut with_token("secret")).await.is_some();
        assert!(!is_known().await);
        reviews.tokens.lock().unwrap().insert("secret".into(), user("alice"));
        time::advance(UNKNOWN_FOR).await;
        assert!(is_known().await);
        reviews.tokens.lock().unwrap().clear();
        time::advance(Duration::from_secs(119)).await;
        assert!(is_known().await, "within the two minutes nobody is asked");
        time::advance(Duration::from_secs(1)).await;
        assert!(!is_known().await);
    }

    #[tokio::test]
    async fn a_flood_of_tokens_takes_bounded_memory() {
        let authenticator = authenticator(&Arc::default());
        for number in 0..KEPT + 100 {
            authenticator.authenticate(&[], &mut with_token(&number.to_string())).await;
        }
        assert!(authenticator.tokens.len() <= KEPT);
    }
}
