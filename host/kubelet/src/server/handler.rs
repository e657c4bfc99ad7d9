//! One request: who asks, whether they may, and only then what for.

use std::{convert::Infallible, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Slots, connection::Peer};
use crate::{
    authentication::{Authenticator, is_anonymous},
    authorization::Authorizer,
    body::{Body, Holding},
    metrics::Metrics,
    path::{self, NoRoute, Segments},
    refusal::Refusal,
    reviews::User,
    routes::{Call, Routes},
};

/// The methods that any path has.
const METHODS: &str = "GET, POST";

/// Headers by which some servers take another method than the one that was authorized.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Answers requests.
pub(super) struct Handler {
    pub(super) authenticator: Authenticator,
    pub(super) authorizer: Authorizer,
    pub(super) requests: Slots<String>,
    pub(super) routes: Routes,
    pub(super) metrics: Metrics,
}

impl Handler {
    pub(super) async fn handle(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        peer.asks();
        let path = request.uri().path().to_owned();
        let route = Segments::of(&path).map_or(path::OTHER, |segments| segments.name());
        // What follows on such a connection may not be meant as a request: whoever forwards it may believe that it was
        // upgraded, and that it carries somebody else's bytes.
        let is_upgrade = request.headers().contains_key(header::UPGRADE);
        let has_body = !request.body().is_end_stream();
        let mut response = self.answer(peer.clone(), &path, request).await.unwrap_or_else(Refusal::response);
        let status = response.status();
        let is_over = status != StatusCode::SWITCHING_PROTOCOLS
            && (is_upgrade || has_body || status == StatusCode::UNAUTHORIZED || !peer.is_settled());
        if is_over {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.metrics.answered(route, status);
        Ok(response)
    }

    async fn answer(
        &self,
        peer: Arc<Peer>,
        path: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let user = self.authenticator.authenticate(&peer.certificates, request.headers_mut()).await;
        let user = user.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        if !is_anonymous(&user) && !peer.settle() {
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many connections are open"));
        }
        check_form(&request)?;
        let segments = Segments::of(path).map_err(|bad| Refusal::bad_request(bad.to_string()))?;
        self.authorize(&user, &segments, request.method()).await?;
        let route = segments.route().map_err(|none| match none {
            NoRoute::Unknown => Refusal::not_found("404 page not found"),
            NoRoute::BadName => Refusal::bad_request("bad path: a name in it is not a DNS-1123 label or subdomain"),
        })?;
        if !route.methods().split(", ").any(|method| method == request.method()) {
            return Err(Refusal::method(route.methods()));
        }
        let too_many = || Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many requests of one user at once");
        let place = self.requests.take(&user.name).ok_or_else(too_many)?;
        let pod = route.pod().map(Into::into);
        // Streams have places of their own, and stay longer than requests do.
        let is_stream = pod.is_some();
        let response = self.routes.answer(route, Call { request, user, peer, pod }).await?;
        Ok(if is_stream { response } else { response.map(|body| Holding::new(body, place).boxed()) })
    }

    async fn authorize(&self, user: &User, segments: &Segments<'_>, method: &Method) -> Result<(), Refusal> {
        let (verb, subresources) = segments.access(method);
        let User { name, .. } = user;
        match self.authorizer.is_allowed(user, verb, subresources).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::debug!(user = ?name, verb, ?subresources, path = %segments, "a request was denied");
                let subresources = subresources.join(" ");
                Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])"),
                ))
            }
            Err(error) => {
                tracing::warn!(%error, user = ?name, path = %segments, "a request was refused: its rights could not be reviewed");
                let subresources = subresources.join(" ");
                Err(Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!(
                        "Authorization error (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])"
                    ),
                ))
            }
        }
    }
}

/// What no request to this API has.
fn check_form(request: &Request<Incoming>) -> Result<(), Refusal> {
    let is_overridden = METHOD_OVERRIDES.iter().any(|name| request.headers().contains_key(*name));
    if is_overridden || ![Method::GET, Method::POST].contains(request.method()) {
        return Err(Refusal::method(METHODS));
    }
    if request.uri().authority().is_some() {
        return Err(Refusal::bad_request("the request must name a path, not a URL"));
    }
    if !request.body().is_end_stream() {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request must have no body"));
    }
    Ok(())
}
