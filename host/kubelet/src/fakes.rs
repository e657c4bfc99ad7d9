//! What tests share: certificate authorities, an API server's decisions, pods and a provider.

mod api;
mod authority;
mod logged;
mod node;

pub(crate) use api::{NEVER, fake_api};
pub(crate) use authority::{Authority, Identity, Purpose};
pub(crate) use logged::Logged;
pub(crate) use node::{FakePods, FakeProvider, FakeReviews, metrics, pod, user};
