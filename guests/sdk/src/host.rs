//! The host's functions, and what stands in for them where there is no host.
//!
//! In a component they are the imports. On any other target, where a provider's logic is tested, each thread has a cache of
//! its own that forgets nothing, events and log lines go to stderr, and no connection can be made.

#[cfg(target_family = "wasm")]
pub(crate) use imports::*;
#[cfg(not(target_family = "wasm"))]
pub(crate) use stand_ins::*;

#[cfg(target_family = "wasm")]
mod imports {
    pub(crate) use crate::bindings::vk::provider::{
        cache::{get, keys, remove, replace, set},
        events::report,
        http::send,
        log::write,
    };
}

#[cfg(not(target_family = "wasm"))]
mod stand_ins {
    use std::{cell::RefCell, collections::BTreeMap};

    use crate::{
        PodId,
        bindings::vk::provider::{
            events::Event,
            http::{Failure, Request, Response},
            log::Level,
        },
    };

    thread_local! {
        static CACHE: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        CACHE.with_borrow(|cache| cache.get(key).cloned())
    }

    pub(crate) fn set(key: &str, value: &[u8], _lifetime: u32) {
        CACHE.with_borrow_mut(|cache| cache.insert(key.to_owned(), value.to_vec()));
    }

    pub(crate) fn replace(key: &str, expected: Option<&[u8]>, value: &[u8], lifetime: u32) -> bool {
        let matches = CACHE.with_borrow(|cache| cache.get(key).map(Vec::as_slice) == expected);
        if matches {
            set(key, value, lifetime);
        }
        matches
    }

    pub(crate) fn remove(key: &str) {
        CACHE.with_borrow_mut(|cache| cache.remove(key));
    }

    pub(crate) fn keys(prefix: &str) -> Vec<String> {
        CACHE.with_borrow(|cache| cache.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    pub(crate) fn report(pod: &PodId, event: &Event) {
        eprintln!("event of pod {}: {event:?}", pod.full_name());
    }

    pub(crate) fn send(_request: &Request) -> Result<Response, Failure> {
        Err(Failure::Connect("there is no host".to_owned()))
    }

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        eprintln!("{level:?} {message}{fields}");
    }
}
