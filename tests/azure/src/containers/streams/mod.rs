//! Exec and attach as WebSockets.
//!
//! A POST to the resource manager puts a session here and gets its [`Ticket`]; whoever opens the WebSocket with it
//! takes the session, once.
//!
//! ```text
//!   exec:   GET /execstream/sessionId/ID ─> text frame: the password ─> what is typed, what the terminal shows ─>
//! close   attach: GET /attachstream/sessionId/ID, Authorization: the password ─> what the container writes ─> close
//! ```
//!
//! All streams are one, no frame says how a command has ended, and the terminal keeps its first size.

mod socket;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rand::{
    RngExt,
    distr::{Alphanumeric, SampleString},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Container, Size, container::Reference};
use crate::world::Key;

/// How long a session waits for its client.
const WAIT: Duration = Duration::from_secs(60);
/// How many may wait.
const WAITING: usize = 1000;
/// Length of a password.
const PASSWORD: usize = 32;

/// The sessions that wait for their clients. Clones are the same.
#[derive(Clone, Default)]
pub struct Sessions {
    waiting: Arc<Mutex<HashMap<String, Session>>>,
}

/// What opens a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The path and query of the WebSocket's address.
    pub path: String,
    /// The password.
    pub password: String,
}

/// What goes wrong with a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Trouble {
    /// The request to open the WebSocket is not answered.
    pub never_opens: bool,
    /// Output comes in frames of at most so many bytes, which are fragments of longer messages.
    pub fragment: Option<usize>,
    /// The connection is cut, without a close frame, after so many bytes of output.
    pub cut_after: Option<u64>,
    /// The server closes, with a close frame, after so many bytes of output.
    pub close_after: Option<u64>,
    /// A ping every so many milliseconds.
    pub ping_milliseconds: Option<u64>,
    /// Output that is text comes in text frames.
    pub text: bool,
}

struct Session {
    container: Reference,
    kind: Kind,
    password: String,
    trouble: Trouble,
    until: Instant,
    /// Whose container it is.
    group: Option<Key>,
}

enum Kind {
    Exec { command: String, size: Size },
    Attach,
}

impl Sessions {
    /// A session that runs a program in a container, on a terminal of its own. The program is started when the client
    /// has given the password.
    pub fn exec(&self, container: &Container, command: &str, size: Size, trouble: Trouble) -> Ticket {
        let Size { rows, columns } = size;
        let kind = Kind::Exec { command: command.to_owned(), size };
        let (id, password) = self.put(container, kind, trouble);
        Ticket { path: format!("/execstream/sessionId/{id}?api-version=1.0&rows={rows}&cols={columns}"), password }
    }

    /// A session that shows what a container writes from the session's opening on.
    pub fn attach(&self, container: &Container, trouble: Trouble) -> Ticket {
        let (id, password) = self.put(container, Kind::Attach, trouble);
        Ticket { path: format!("/attachstream/sessionId/{id}?api-version=1.0"), password }
    }

    /// The routes of the WebSockets. The connection must be served with upgrades.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/execstream/sessionId/{id}", get(open_exec))
            .route("/attachstream/sessionId/{id}", get(open_attach))
            .with_state(self.clone())
    }

    /// Says of which group the container of a session that waits is.
    pub(crate) fn belongs(&self, uri: &Uri, group: Key) {
        if let Some(session) = self.waiting().get_mut(id_of(uri)) {
            session.group = Some(group);
        }
    }

    /// Of which group the container of a session that waits is.
    pub(crate) fn group(&self, uri: &Uri) -> Option<Key> {
        self.waiting().get(id_of(uri))?.group.clone()
    }

    fn put(&self, container: &Container, kind: Kind, trouble: Trouble) -> (String, String) {
        let mut random = rand::rng();
        let id = format!("{:032x}", random.random::<u128>());
        let password = Alphanumeric.sample_string(&mut random, PASSWORD);
        let until = Instant::now() + WAIT;
        let container = container.reference();
        let session = Session { container, kind, password: password.clone(), trouble, until, group: None };
        let mut waiting = self.waiting();
        waiting.retain(|_, session| Instant::now() < session.until);
        if waiting.len() >= WAITING
            && let Some(first) = waiting.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| id.clone())
        {
            waiting.remove(&first);
        }
        waiting.insert(id.clone(), session);
        (id, password)
    }

    /// Takes a session, if there is one that waits and `fits`.
    fn take(&self, id: &str, fits: impl FnOnce(&Session) -> Result<(), StatusCode>) -> Result<Session, StatusCode> {
        let mut waiting = self.waiting();
        waiting.retain(|_, session| Instant::now() < session.until);
        fits(waiting.get(id).ok_or(StatusCode::NOT_FOUND)?)?;
        waiting.remove(id).ok_or(StatusCode::NOT_FOUND)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which session an address opens.
fn id_of(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

async fn open_exec(State(sessions): State<Sessions>, Path(id): Path<String>, request: Request) -> Response {
    let fits = |session: &Session| match session.kind {
        Kind::Exec { .. } => Ok(()),
        Kind::Attach => Err(StatusCode::NOT_FOUND),
    };
    open(sessions.take(&id, fits), request).await
}

async fn open_attach(
    State(sessions): State<Sessions>,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let fits = |session: &Session| match session.kind {
        Kind::Exec { .. } => Err(StatusCode::NOT_FOUND),
        Kind::Attach => match headers.get(header::AUTHORIZATION) {
            Some(password) if password.as_bytes() == session.password.as_bytes() => Ok(()),
            _ => Err(StatusCode::UNAUTHORIZED),
        },
    };
    open(sessions.take(&id, fits), request).await
}

async fn open(session: Result<Session, StatusCode>, request: Request) -> Response {
    match session {
        Ok(session) if session.trouble.never_opens => std::future::pending().await,
        Ok(session) => socket::upgrade(session, request),
        Err(status) => status.into_response(),
    }
}
