//! Liveness and readiness probes.

use vk_sdk::manifest::{self, Container};

use super::Notes;
use crate::group::{ExecProbe, HttpGetProbe, HttpHeader, Probe};

/// A probe of a container; what is not set is left to the service, whose defaults are those of Kubernetes.
pub(super) fn probe(
    asked: Option<&manifest::Probe>,
    container: &Container,
    field: &str,
    notes: &mut Notes,
) -> Option<Probe> {
    let asked = asked?;
    let (exec, http_get) = match (&asked.exec, &asked.http_get) {
        (Some(_), Some(_)) => {
            notes.refuse(field, r#"probe may not specify more than one of "exec" and "httpGet""#);
            return None;
        }
        (None, None) => {
            let kind = [("tcpSocket", &asked.tcp_socket), ("grpc", &asked.grpc)];
            let kind = kind.into_iter().find(|(_, value)| value.is_some());
            let instead = kind.map(|(kind, _)| format!("; ACI has no {kind} probes")).unwrap_or_default();
            notes.refuse(field, format!(r#"probe must specify one of "exec" and "httpGet"{instead}"#));
            return None;
        }
        (Some(exec), None) => (Some(ExecProbe { command: exec.command.clone() }), None),
        (None, Some(asked)) => (None, Some(http_get(asked, container, field, notes)?)),
    };
    Some(Probe {
        exec,
        http_get,
        initial_delay_seconds: asked.initial_delay_seconds,
        period_seconds: asked.period_seconds,
        failure_threshold: asked.failure_threshold,
        success_threshold: asked.success_threshold,
        timeout_seconds: asked.timeout_seconds,
    })
}

fn http_get(
    asked: &manifest::HttpGetProbe,
    container: &Container,
    field: &str,
    notes: &mut Notes,
) -> Option<HttpGetProbe> {
    if asked.host.as_deref().is_some_and(|host| !host.is_empty()) {
        notes.refuse(format!("{field}.httpGet.host"), "ACI asks the container itself");
    }
    let Some(port) = container.port(&asked.port) else {
        let port = match &asked.port {
            manifest::PortRef::Name(name) => name.clone(),
            manifest::PortRef::Number(number) => number.to_string(),
        };
        notes.refuse(format!("{field}.httpGet.port"), format!("unable to find named port: {port}"));
        return None;
    };
    let header = |header: &manifest::HttpHeader| HttpHeader { name: header.name.clone(), value: header.value.clone() };
    Some(HttpGetProbe {
        port,
        path: asked.path.clone(),
        scheme: asked.scheme.as_ref().filter(|scheme| !scheme.is_empty()).map(|scheme| scheme.to_ascii_lowercase()),
        http_headers: asked.http_headers.iter().map(header).collect(),
    })
}
