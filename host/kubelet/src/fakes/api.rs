//! An API server in the process, as a function.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use http_body_util::Full;
use kube::client::Body;
use serde_json::Value;

/// The code of an answer that does not come.
pub(crate) const NEVER: u16 = 0;

/// What it answers: a code, and an object or a Status.
pub(crate) type Answer = dyn Fn(&Method, &str, Value) -> (u16, Value) + Send + Sync;

/// Answers by method, path and body.
#[derive(Clone)]
pub(crate) struct FakeApi(Arc<Answer>);

/// A client of it.
pub(crate) fn fake_api(answer: impl Fn(&Method, &str, Value) -> (u16, Value) + Send + Sync + 'static) -> kube::Client {
    kube::Client::new(FakeApi(Arc::new(answer)), "default")
}

impl tower_service::Service<Request<Body>> for FakeApi {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (code, object) = answer(&parts.method, parts.uri.path(), body);
            if code == NEVER {
                return std::future::pending().await;
            }
            Ok(Response::builder().status(code).body(Full::new(object.to_string().into())).unwrap())
        }
        .boxed()
    }
}
