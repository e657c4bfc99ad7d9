//! A provider that does whatever it is told.
//!
//! Every call carries a command, a verb with arguments: `create` and `update` in the pod's annotation `probe`, `get` and
//! `delete` in the pod's handle, `poll` in the cursor, `logs.read` in the container, `configure` and `describe` in the settings of their names. The
//! result of a command is the answer's status, as `{"result": ...}`.

mod commands;
mod logs;
mod wasi_http;

use std::sync::OnceLock;

use serde_json::{Value, json};

use exports::vk::provider::{
    node::{self, Description, Info, OperatingSystem, Startup},
    pods::{self, Aspects, Changes, Deletion, Extent, Observation, Pod},
};
use vk::provider::types::{Error, ErrorKind, PodId};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:probe;
        world probe {
            include vk:provider/provider@0.1.0;
            export vk:provider/logs@0.1.0;
        }
    ",
    world: "test:probe/probe",
    generate_all,
});

struct Probe;

export!(Probe);

static SETTINGS: OnceLock<Value> = OnceLock::new();

/// What a command leads to.
pub(crate) enum Outcome {
    /// `{"result": VALUE}`.
    Result(Value),
    /// A status as it stands.
    Status(String),
    /// An observation of another pod.
    OtherPod,
    Handle(String),
    Error(Error),
}

impl node::Guest for Probe {
    fn configure(startup: Startup) -> Result<Info, Error> {
        let settings: Value = serde_json::from_str(&startup.settings).unwrap_or_default();
        let text = |key: &str, default: &str| settings[key].as_str().unwrap_or(default).to_owned();
        let info = Info { name: text("name", "probe"), version: text("version", "1.0") };
        let command = text("configure", "ok");
        SETTINGS.set(settings).expect("configured twice");
        run(&command)?;
        Ok(info)
    }

    fn describe() -> Result<Description, Error> {
        run(SETTINGS.get().expect("not configured")["describe"].as_str().unwrap_or("ok"))?;
        Ok(Description {
            operating_system: OperatingSystem::Linux,
            architecture: "amd64".into(),
            capacity: vec![("cpu".into(), "20".into())],
            allocatable: vec![("cpu".into(), "19".into())],
            conditions: vec![],
            labels: vec![("a".into(), "b".into())],
            annotations: vec![],
            taints: vec![],
        })
    }
}

impl pods::Guest for Probe {
    fn create(pod: Pod) -> Result<Observation, Error> {
        let manifest: Value = serde_json::from_str(&pod.manifest).expect("manifest");
        let command = manifest["metadata"]["annotations"]["probe"].as_str().unwrap_or("ok").to_owned();
        if command == "echo" {
            let echo = echo(&pod);
            return observe(pod.id, Outcome::Result(echo));
        }
        observe(pod.id, commands::run(&command))
    }

    fn update(pod: Pod, changed: Aspects) -> Result<Observation, Error> {
        let names = changed.iter_names().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        observe(pod.id, Outcome::Result(names.into()))
    }

    fn delete(pod: PodId, grace: u32) -> Result<Deletion, Error> {
        run(pod.handle.as_deref().unwrap_or("ok"))?;
        Ok(if grace == 0 { Deletion::Gone } else { Deletion::Stopping })
    }

    fn get(pod: PodId) -> Result<Observation, Error> {
        let command = pod.handle.clone().unwrap_or("ok".into());
        observe(pod, commands::run(&command))
    }

    fn poll(since: Option<Vec<u8>>) -> Result<Changes, Error> {
        let Some(cursor) = since else {
            let pod = PodId { namespace: "n".into(), name: "p".into(), uid: "u".into(), handle: Some("h".into()) };
            return Ok(Changes {
                observed: vec![Observation { pod, status: Some("{}".into()) }],
                removed: vec![],
                extent: Extent::Last,
                next: Some(b"ok".to_vec()),
                poll_after: Some(1_000),
            });
        };
        run(&String::from_utf8(cursor).map_err(|_| invalid("cursor"))?)?;
        Ok(Changes { observed: vec![], removed: vec![], extent: Extent::Changes, next: None, poll_after: None })
    }
}

/// A command whose result nobody sees.
fn run(command: &str) -> Result<(), Error> {
    match commands::run(command) {
        Outcome::Error(error) => Err(error),
        _ => Ok(()),
    }
}

fn observe(mut pod: PodId, outcome: Outcome) -> Result<Observation, Error> {
    pod.handle = None;
    let status = match outcome {
        Outcome::Result(value) => json!({ "result": value }).to_string(),
        Outcome::Status(status) => status,
        Outcome::OtherPod => {
            pod.uid = "somebody else".into();
            "{}".into()
        }
        Outcome::Handle(handle) => {
            pod.handle = Some(handle);
            "{}".into()
        }
        Outcome::Error(error) => return Err(error),
    };
    Ok(Observation { pod, status: Some(status) })
}

fn echo(pod: &Pod) -> Value {
    let files = |volume: &pods::Volume| {
        volume.files.iter().map(|file| json!([file.path, file.mode, file.data])).collect::<Vec<_>>()
    };
    json!({
        "id": [pod.id.namespace, pod.id.name, pod.id.uid, pod.id.handle],
        "volumes": pod.volumes.iter().map(|volume| json!([volume.name, files(volume)])).collect::<Vec<_>>(),
        "logins": pod.logins.iter().map(|login| {
            json!([login.server, login.username, login.password, login.identity_token])
        }).collect::<Vec<_>>(),
        "objects": pod.objects,
    })
}

pub(crate) fn invalid(message: &str) -> Error {
    Error { kind: ErrorKind::Invalid, message: message.into(), retry_after: None }
}
