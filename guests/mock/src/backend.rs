//! Pods in a backend, over HTTP.

use std::time::Duration;

use mock_model::{
    Order,
    wire::{self, Deleted, Details, File, Id, Listing, Login, Submission, View, Volume},
};
use serde_json::value::RawValue;
use vk_sdk::{
    Aspects, Changes, Deletion, Error, ErrorKind, Observation, Pod, PodId, Result,
    http::{self, Request},
};

use crate::{
    cursor::Cursor,
    status::status,
    store::{Created, PAGE, Store},
};

/// A backend on the same machine answers at once; one that does not is down.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Backend {
    /// Where this node's things are: `http://HOST:PORT/owners/OWNER`.
    url: String,
}

impl Backend {
    pub(crate) fn new(url: &str, owner: &str) -> Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid(format!("setting `backend`: {url:?} is no URL such as http://127.0.0.1:7070")));
        }
        Ok(Self { url: format!("{}/owners/{owner}", url.trim_end_matches('/')) })
    }

    fn pod(&self, uid: &str) -> String {
        format!("{}/pods/{uid}", self.url)
    }

    fn page(&self, after: Option<&str>) -> Result<Listing> {
        let after = after.map(|uid| format!("&after={uid}")).unwrap_or_default();
        call(http::get(format!("{}/pods?limit={PAGE}{after}", self.url)))?.json()
    }
}

impl Store for Backend {
    fn check(&self) -> Result<()> {
        call(http::get(&self.url)).map(|_| ())
    }

    fn create(&self, pod: &Pod, _order: &Order) -> Result<Created> {
        let answer = call(http::put(self.pod(&pod.id.uid)).with_json(&submission(pod)?))?;
        Ok(Created { made: answer.status() == 201, status: view_status(answer.json()?) })
    }

    fn update(&self, pod: &Pod, _order: &Order, changed: Aspects) -> Result<String> {
        let names: Vec<_> = changed.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let url = format!("{}?changed={}", self.pod(&pod.id.uid), names.join(","));
        Ok(view_status(call(http::patch(url).with_json(&submission(pod)?))?.json()?))
    }

    fn delete(&self, pod: &PodId, grace: Duration) -> Result<Deletion> {
        let url = format!("{}?grace={}", self.pod(&pod.uid), grace.as_millis());
        match call(http::delete(url)) {
            Ok(answer) if answer.json::<Deleted>()?.gone => Ok(Deletion::Gone),
            Ok(_) => Ok(Deletion::Stopping),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Deletion::Gone),
            Err(error) => Err(error),
        }
    }

    fn get(&self, pod: &PodId) -> Result<String> {
        Ok(view_status(call(http::get(self.pod(&pod.uid)))?.json()?))
    }

    fn look(&self, pod: &PodId) -> Result<Details> {
        call(http::get(format!("{}/details", self.pod(&pod.uid))))?.json()
    }

    fn poll(&self, since: Option<Cursor>) -> Result<Changes> {
        let (listing, begun) = match since {
            None => (self.page(None)?, None),
            Some(Cursor::Page { from, after }) => (self.page(Some(&after))?, Some(from)),
            Some(Cursor::Changes { from }) => return self.changes(&from),
        };
        let from = begun.unwrap_or(listing.cursor);
        let observed = listing.pods.into_iter().map(observation).collect();
        Ok(match listing.next {
            Some(after) => Changes::page(observed, Cursor::Page { from, after }.write()),
            None => Changes::last(observed, Some(Cursor::Changes { from }.write())),
        })
    }
}

impl Backend {
    fn changes(&self, from: &str) -> Result<Changes> {
        let answer = call(http::get(format!("{}/changes?since={from}", self.url)));
        let changes: wire::Changes = match answer {
            Ok(answer) => answer.json()?,
            // It has forgotten what changed since: begin with a listing.
            Err(error) if error.kind == ErrorKind::NotFound => return Err(Error { kind: ErrorKind::Invalid, ..error }),
            Err(error) => return Err(error),
        };
        let observed = changes.changed.into_iter().map(observation).collect();
        let removed = changes.removed.into_iter().map(pod_id).collect();
        Ok(Changes::since(observed, removed, Cursor::Changes { from: changes.cursor }.write()))
    }
}

fn call(request: Request) -> Result<http::Response> {
    request.timeout(TIMEOUT).call()
}

fn submission(pod: &Pod) -> Result<Submission> {
    let raw = |json: &String| {
        RawValue::from_string(json.clone()).map_err(|error| Error::invalid(format!("not a JSON document: {error}")))
    };
    let file = |file: &vk_sdk::File| File { path: file.path.clone(), mode: file.mode, data: file.data.clone() };
    Ok(Submission {
        id: Id { namespace: pod.id.namespace.clone(), name: pod.id.name.clone(), uid: pod.id.uid.clone() },
        manifest: raw(&pod.manifest)?,
        volumes: pod
            .volumes
            .iter()
            .map(|volume| Volume { name: volume.name.clone(), files: volume.files.iter().map(file).collect() })
            .collect(),
        logins: pod
            .logins
            .iter()
            .map(|login| Login {
                server: login.server.clone(),
                username: login.username.clone(),
                password: login.password.clone(),
                identity_token: login.identity_token.clone(),
            })
            .collect(),
        objects: pod.objects.iter().map(raw).collect::<Result<_>>()?,
    })
}

fn observation(view: View) -> Observation {
    Observation { pod: pod_id(view.id.clone()), status: Some(view_status(view)) }
}

fn pod_id(id: Id) -> PodId {
    PodId { namespace: id.namespace, name: id.name, uid: id.uid, handle: None }
}

/// What a test has set goes to the host as it is: the host is what is tested with it.
fn view_status(view: View) -> String {
    match view.status {
        Some(status) => String::from(Box::<str>::from(status)),
        None => status(&view.id.uid, view.state),
    }
}
