//! What a pod's containers are seen to do: their environment, what they write, what they use, who answers at them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    log::Log,
    order::{Problem, duration, number, wrong},
    usage::{Curve, bytes, nano_cores},
};

/// The longest line that can be asked for, in bytes.
const MAX_LINE: usize = 64 << 10;

/// What a pod's containers do, as far as it can be seen from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// The variables of each container, in the order of the manifest.
    pub env: BTreeMap<String, Vec<(String, String)>>,
    /// What each writes.
    pub log: Log,
    /// What each uses of the CPU, in billionths of a core, from its start.
    pub cpu: Curve,
    /// How many bytes of memory each uses, from its start.
    pub memory: Curve,
    /// Where forwarded ports lead to, host and port; otherwise they echo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_forward: Option<(String, u16)>,
    /// A URL of what is connected to commands, in place of the emulated shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_via: Option<String>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            log: Log::default(),
            cpu: Curve::constant(10_000_000),
            memory: Curve::constant(16 << 20),
            port_forward: None,
            exec_via: None,
        }
    }
}

impl Workload {
    /// Takes an annotation's value, if the annotation is one of the workload's.
    pub(crate) fn annotate(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        match name {
            "log-lines" => self.log.burst(number(name, value)?),
            "log-every" => self.log.every(duration(name, value)?),
            "log-text" if value.contains(['\n', '\r']) => return Err(wrong(name, value, "one line")),
            "log-text" => value.clone_into(&mut self.log.text),
            "log-bytes" => {
                self.log.bytes = number::<usize>(name, value)
                    .ok()
                    .filter(|bytes| (1..=MAX_LINE).contains(bytes))
                    .ok_or_else(|| wrong(name, value, "a number from 1 to 65536"))?;
            }
            "cpu" => self.cpu = Curve::parse(name, value, nano_cores)?,
            "memory" => self.memory = Curve::parse(name, value, bytes)?,
            "port-forward" => self.port_forward = Some(endpoint(name, value)?),
            "exec-via" => self.exec_via = Some(url(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn endpoint(name: &str, value: &str) -> Result<(String, u16), Problem> {
    let endpoint = value.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    endpoint.filter(|(host, port)| !host.is_empty() && *port != 0).ok_or_else(|| wrong(name, value, "HOST:PORT"))
}

fn url(name: &str, value: &str) -> Result<String, Problem> {
    let known = ["ws://", "wss://", "http://", "https://"].iter().any(|scheme| value.starts_with(scheme));
    match value.strip_prefix("tcp://") {
        Some(rest) => endpoint(name, rest).map_err(|_| wrong(name, value, "tcp://HOST:PORT"))?,
        None if known => return Ok(value.to_owned()),
        None => return Err(wrong(name, value, "a URL with ws, wss, http, https or tcp")),
    };
    Ok(value.to_owned())
}
