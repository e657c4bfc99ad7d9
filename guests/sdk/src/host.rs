//! The host's functions: in a component the imports, on any other target what [`testing`](crate::testing) has in their
//! place.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::vk::provider::{
    cache::{get, keys, remove, replace, set},
    events::report,
    http::send,
    log::write,
};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::{get, keys, remove, replace, report, send, set, write};
