//! A host for tests: what a provider asks of it is answered by the test, and what it is told can be looked at.
//!
//! Not in components. Everything here is the calling thread's own, as a test's thread is: [`serve`] begins anew.
//!
//! ```
//! use vk_sdk::{http, testing};
//!
//! testing::serve(|request| match (request.method.as_str(), request.path()) {
//!     ("GET", "/v1/groups/a") => testing::Response::new(200).json(&serde_json::json!({"state": "Running"})),
//!     _ => testing::Response::new(404),
//! });
//! let group: serde_json::Value = http::get("https://api.example.com/v1/groups/a").call()?.json()?;
//! assert_eq!(group["state"], "Running");
//! assert_eq!(testing::requests().len(), 1);
//! # Ok::<(), vk_sdk::Error>(())
//! ```
//!
//! Time stands still, save that [`advance`] moves it: the cache's stand-in lets values expire by it, and a provider that
//! looks at the clock can be given [`now`] for it in its tests.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

pub use crate::bindings::vk::provider::http::Failure;
use crate::{
    PodId,
    bindings::vk::provider::http::{Request as RawRequest, Response as RawResponse},
    events::Event,
    log::Level,
};

type Handler = Rc<dyn Fn(&Request) -> Response>;

thread_local! {
    static HANDLER: RefCell<Option<Handler>> = const { RefCell::new(None) };
    static REQUESTS: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static EVENTS: RefCell<Vec<(PodId, Event)>> = const { RefCell::new(Vec::new()) };
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static CACHE: RefCell<BTreeMap<String, Entry>> = const { RefCell::new(BTreeMap::new()) };
    static NOW: Cell<SystemTime> = Cell::new(SystemTime::now());
}

struct Entry {
    value: Vec<u8>,
    expires: SystemTime,
}

/// Answers this thread's requests from now on. The cache, and what was recorded before, are emptied.
///
/// The handler may itself call the provider: what other instances do while a request is under way.
pub fn serve(handler: impl Fn(&Request) -> Response + 'static) {
    HANDLER.set(Some(Rc::new(handler)));
    REQUESTS.take();
    EVENTS.take();
    LINES.take();
    CACHE.take();
}

/// The requests that were sent on this thread, oldest first.
pub fn requests() -> Vec<Request> {
    REQUESTS.with_borrow(Clone::clone)
}

/// The events that were reported on this thread, oldest first; those that the host would record once are all here.
pub fn events() -> Vec<(PodId, Event)> {
    EVENTS.with_borrow(Clone::clone)
}

/// The lines that were logged on this thread, oldest first, each with its fields as `key=value` at its end.
pub fn lines() -> Vec<(Level, String)> {
    LINES.with_borrow(Clone::clone)
}

/// Moves [`now`] ahead on this thread.
pub fn advance(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// The time on this thread. It stands still but for [`advance`], so that what a test sees does not depend on how fast it
/// runs.
pub fn now() -> SystemTime {
    NOW.get()
}

/// A request as the host was to send it.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// With its query.
    pub url: String,
    /// In the order in which they were set.
    pub headers: Vec<(String, String)>,
    /// Empty if there is none.
    pub body: Vec<u8>,
    /// How long the answer may take, if that was bounded.
    pub timeout: Option<Duration>,
}

/// Header values and bodies hold secrets, so they are left out.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, self.url, self.body.len())
    }
}

impl Request {
    /// The path of the URL, as it is escaped there, without the query.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').map_or("", |slash| rest.split_at(slash).1);
        path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The first parameter of the query with this name, as it is escaped there.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.url.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    ///
    /// Those of [`serde_json`], if it is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

/// What the host is to answer to a request.
#[derive(Debug, Clone)]
pub struct Response(Result<RawResponse, Failure>);

impl Response {
    /// An answer with this status, without headers and body.
    pub fn new(status: u16) -> Self {
        Self(Ok(RawResponse { status, headers: Vec::new(), body: Vec::new() }))
    }

    /// No answer: the connection failed, or the host did not allow it.
    pub fn failure(failure: Failure) -> Self {
        Self(Err(failure))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Ok(raw) = &mut self.0 {
            raw.headers.push((name.into(), value.into()));
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Ok(raw) = &mut self.0 {
            raw.body = body.into();
        }
        self
    }

    /// Sets the body to a value as JSON, and Content-Type. A value without a form in JSON leaves it empty.
    #[must_use]
    pub fn json(self, value: &impl Serialize) -> Self {
        self.header("content-type", "application/json").body(serde_json::to_vec(value).unwrap_or_default())
    }
}

pub(crate) fn send(raw: &RawRequest) -> Result<RawResponse, Failure> {
    let request = Request {
        method: raw.method.clone(),
        url: raw.url.clone(),
        headers: raw.headers.clone(),
        body: raw.body.clone(),
        timeout: raw.timeout.map(|timeout| Duration::from_millis(timeout.into())),
    };
    REQUESTS.with_borrow_mut(|requests| requests.push(request.clone()));
    let Some(handler) = HANDLER.with_borrow(Clone::clone) else {
        return Err(Failure::Connect("there is no host".to_owned()));
    };
    handler(&request).0
}

pub(crate) fn report(pod: &PodId, event: &Event) {
    eprintln!("event of pod {}: {event:?}", pod.full_name());
    EVENTS.with_borrow_mut(|events| events.push((pod.clone(), event.clone())));
}

pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
    let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    let line = format!("{message}{fields}");
    eprintln!("{level:?} {line}");
    LINES.with_borrow_mut(|lines| lines.push((level, line)));
}

pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
    CACHE.with_borrow(|cache| cache.get(key).filter(|entry| entry.expires > now()).map(|entry| entry.value.clone()))
}

pub(crate) fn set(key: &str, value: &[u8], lifetime: u32) {
    let expires = now() + Duration::from_millis(lifetime.into());
    CACHE.with_borrow_mut(|cache| cache.insert(key.to_owned(), Entry { value: value.to_vec(), expires }));
}

pub(crate) fn replace(key: &str, expected: Option<&[u8]>, value: &[u8], lifetime: u32) -> bool {
    let matches = get(key).as_deref() == expected;
    if matches {
        set(key, value, lifetime);
    }
    matches
}

pub(crate) fn remove(key: &str) {
    CACHE.with_borrow_mut(|cache| cache.remove(key));
}

pub(crate) fn keys(prefix: &str) -> Vec<String> {
    let now = now();
    CACHE.with_borrow(|cache| {
        let alive = cache.iter().filter(|(_, entry)| entry.expires > now);
        alive.map(|(key, _)| key).filter(|key| key.starts_with(prefix)).cloned().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, cache, events, http};

    #[test]
    fn requests_are_answered_and_recorded() {
        serve(|request| match request.query("fail") {
            Some(_) => Response::failure(Failure::Timeout),
            None => Response::new(201).header("X-Number", "7").body(request.body.clone()),
        });
        let answer = http::put("https://a.example/x/y?z=1").bearer("secret").body("text").call().unwrap();
        assert_eq!((answer.status(), answer.header("x-number"), answer.body()), (201, Some("7"), &b"text"[..]));
        assert_eq!(http::get("https://a.example?fail=1").call().unwrap_err().kind, ErrorKind::Unavailable);
        let requests = requests();
        assert_eq!((requests[0].path(), requests[0].query("z")), ("/x/y", Some("1")));
        assert_eq!((requests[1].path(), requests[0].header("Authorization")), ("", Some("Bearer secret")));
        assert!(!format!("{requests:?}").contains("secret"));
    }

    #[test]
    fn a_request_may_be_made_while_another_is_answered() {
        serve(|request| match request.path() {
            "/outer" => Response::new(http::get("https://a.example/inner").call().unwrap().status()),
            _ => Response::new(204),
        });
        assert_eq!(http::get("https://a.example/outer").call().unwrap().status(), 204);
    }

    #[test]
    fn values_expire_when_the_time_is_moved() {
        serve(|_| Response::new(404));
        cache::set("a", b"1", Duration::from_secs(60));
        advance(Duration::from_secs(59));
        assert_eq!((cache::get("a").as_deref(), cache::keys("").len()), (Some(&b"1"[..]), 1));
        advance(Duration::from_secs(2));
        assert_eq!((cache::get("a"), cache::keys("").len()), (None, 0));
        assert!(cache::replace("a", None, b"2", Duration::from_secs(1)));
        assert!(!cache::replace("a", None, b"3", Duration::from_secs(1)));
    }

    #[test]
    fn what_was_reported_is_seen_until_the_next_begins() {
        serve(|_| Response::new(404));
        let pod = PodId { namespace: "d".into(), name: "p".into(), uid: "u".into(), handle: None };
        events::warning(&pod, "Slow", "very");
        crate::warn!(group = "a", "slow {}", 1);
        let (of, event) = &events()[0];
        assert_eq!((of, event.reason.as_str(), event.warning), (&pod, "Slow", true));
        assert_eq!(lines(), [(Level::Warn, "slow 1 group=a".to_owned())]);
        serve(|_| Response::new(404));
        assert!(events().is_empty() && lines().is_empty());
    }
}
