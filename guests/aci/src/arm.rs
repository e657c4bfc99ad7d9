//! Azure Resource Manager: container groups over HTTP.
//!
//! Each method is one request, or a few that belong together. None waits and none tries again by itself, save once after a
//! token that was refused: what may be tried again is said by the error's kind, and the host does it.
//!
//! ```text
//!   Arm::put … ─> client: path, token, api-version ─> throttle: may it be sent? ─> the service
//!                     └─ refusal: what the service's code means for the host <────────┘
//! ```

mod client;
mod metrics;
mod refusal;
mod registration;
mod subnet;
mod throttle;

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vk_sdk::{Error, ErrorKind, Result, debug, sessions::TerminalSize};

use self::refusal::Refusal;
pub(crate) use self::{
    client::{Call, LONGEST_CHANGE, segment},
    metrics::{Metrics, Point, Realtime},
    throttle::{Class, admit, asked_wait, is_low},
};
use crate::{
    group::{ContainerGroup, Secret},
    settings::Settings,
};

/// What a terminal is where the client has none.
const USUAL_SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// The service, for one node. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    settings: Rc<Settings>,
}

/// A part of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) groups: Vec<ContainerGroup>,
    /// What to ask for to get the next part.
    pub(crate) next: Option<String>,
}

/// What a request to remove a group came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The service no longer knows the group.
    Gone,
    /// It was told, and the group is still there.
    Removing,
}

/// Where a container's streams are to be had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "webSocketUri")]
    pub(crate) uri: String,
    pub(crate) password: Secret,
}

impl Arm {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { settings: Rc::new(settings.clone()) }
    }

    /// A group with its instance views; `None` if there is none of this name. That its resource group is missing is an error.
    pub(crate) fn get(&self, name: &str) -> Result<Option<ContainerGroup>> {
        match self.send(&Call::get(Class::Read, self.group(name))) {
            Ok(answer) => answer.json().map(Some),
            Err(refusal) if refusal.is_missing_resource() => Ok(None),
            Err(refusal) => Err(refusal.error),
        }
    }

    /// The groups of the resource group, all nodes' and others', without instance views. `next` is that of the page before.
    pub(crate) fn list(&self, next: Option<&str>) -> Result<Page> {
        #[derive(Deserialize)]
        struct Listing {
            #[serde(default)]
            value: Option<Vec<Value>>,
            #[serde(default, rename = "nextLink")]
            next: Option<String>,
        }
        let call = match next {
            None => Call::get(Class::Read, self.groups()),
            Some(link) => Call::link(Class::Read, link),
        };
        let listing: Listing = self.request(&call)?.json()?;
        // One that cannot be read, perhaps a stranger's, takes no other with it.
        let groups = listing.value.unwrap_or_default().into_iter().filter_map(|group| {
            ContainerGroup::deserialize(&group)
                .inspect_err(|error| {
                    let name = group.get("name").and_then(Value::as_str).unwrap_or_default();
                    debug!(group = name, "left out of the listing: {error}");
                })
                .ok()
        });
        Ok(Page { groups: groups.collect(), next: listing.next.filter(|link| !link.is_empty()) })
    }

    /// Makes a group or changes it. When an answer is lost the group may be there all the same.
    pub(crate) fn put(&self, name: &str, group: &ContainerGroup) -> Result<ContainerGroup> {
        match self.send(&Call::put(Class::Create, self.group(name), group).hiding(group.secrets())) {
            Ok(answer) => answer.json(),
            // What the group is to be in, such as a subnet, which the operator may yet make.
            Err(Refusal { error, .. }) if error.kind == ErrorKind::NotFound => {
                Err(Error { kind: ErrorKind::Unavailable, ..error })
            }
            Err(refusal) => Err(refusal.error),
        }
    }

    /// Removes a group. Whether it is gone is what a GET says: a DELETE is answered with success before the group is.
    pub(crate) fn delete(&self, name: &str) -> Result<Removal> {
        match self.send(&Call::delete(Class::Delete, self.group(name))) {
            Ok(answer) if answer.status() == 202 => return Ok(Removal::Removing),
            Ok(_) => {}
            Err(refusal) if refusal.is_missing_resource() => return Ok(Removal::Gone),
            Err(refusal) => return Err(refusal.error),
        }
        Ok(if self.get(name)?.is_none() { Removal::Gone } else { Removal::Removing })
    }

    /// Ends a group's containers, and with them what they cost. The group stays.
    pub(crate) fn stop(&self, name: &str) -> Result<()> {
        self.request(&Call::post(Class::Action, format!("{}/stop", self.group(name)))).map(drop)
    }

    /// Whether a request of this class would have to wait, before what leads up to it is asked.
    ///
    /// # Errors
    ///
    /// `exhausted`, with the rest of the wait.
    pub(crate) fn ready(&self, class: Class) -> Result<()> {
        throttle::check(class)
    }

    /// A container's log, or the last `tail` lines of it, each begun by its time.
    pub(crate) fn logs(&self, name: &str, container: &str, tail: Option<u32>) -> Result<String> {
        #[derive(Deserialize)]
        struct Log {
            #[serde(default)]
            content: Option<String>,
        }
        let mut call = Call::get(Class::Read, format!("{}/logs", self.container(name, container)));
        if let Some(lines) = tail {
            call = call.query("tail", &lines.to_string());
        }
        let log: Log = self.request(&call.query("timestamps", "true"))?.json()?;
        Ok(log.content.unwrap_or_default())
    }

    /// Starts a command, one word without arguments, in a container.
    pub(crate) fn exec(
        &self,
        name: &str,
        container: &str,
        command: &str,
        size: Option<TerminalSize>,
    ) -> Result<Endpoint> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Exec<'a> {
            command: &'a str,
            terminal_size: Size,
        }
        #[derive(Serialize)]
        struct Size {
            rows: u16,
            cols: u16,
        }
        let TerminalSize { columns: cols, rows } = size.unwrap_or(USUAL_SIZE);
        let exec = Exec { command, terminal_size: Size { rows, cols } };
        let path = format!("{}/exec", self.container(name, container));
        self.request(&Call::post(Class::Action, path).json(&exec))?.json()
    }

    /// Connects to the output of a container's own process.
    pub(crate) fn attach(&self, name: &str, container: &str) -> Result<Endpoint> {
        let path = format!("{}/attach", self.container(name, container));
        self.request(&Call::post(Class::Action, path))?.json()
    }

    fn groups(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerInstance/containerGroups",
            segment(&self.settings.subscription),
            segment(&self.settings.resource_group),
        )
    }

    /// The path of a group.
    pub(crate) fn group(&self, name: &str) -> String {
        format!("{}/{}", self.groups(), segment(name))
    }

    fn container(&self, name: &str, container: &str) -> String {
        format!("{}/containers/{}", self.group(name), segment(container))
    }
}

#[cfg(test)]
mod tests;
