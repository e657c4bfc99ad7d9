//! Credentials for image registries.

use std::collections::HashSet;

use super::{Context, Notes};
use crate::group::{RegistryCredential, Secret};

/// What images without a host come from, under the names that credentials have for it.
const DOCKER_HUB: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];
const FIELD: &str = "spec.imagePullSecrets";

/// The credentials, in order; of several for one server the first. What the service cannot use counts only where an image
/// comes from that server.
pub(super) fn credentials(context: &Context<'_>, notes: &mut Notes) -> Vec<RegistryCredential> {
    let spec = &context.manifest.spec;
    let images: Vec<&str> =
        spec.init_containers.iter().chain(&spec.containers).map(|container| container.image.as_str()).collect();
    let is_needed = |server: &str| images.iter().any(|image| comes_from(image, server));
    let mut servers = HashSet::new();
    let mut credentials = Vec::new();
    for login in &context.pod.logins {
        let server = host(&login.server);
        if login.identity_token.is_some() {
            if is_needed(server) {
                let why = "is an identity token; ACI takes a user name and a password";
                notes.refuse(FIELD, format!("the credential for {server} {why}"));
            }
        } else if login.username.is_empty() || login.password.is_empty() {
            if is_needed(server) {
                let why = "lacks a user name or a password, and ACI takes both";
                notes.refuse_for_now(context.manifest, FIELD, &format!("the credential for {server} {why}"));
            }
        } else if servers.insert(server) {
            credentials.push(RegistryCredential {
                server: server.to_owned(),
                username: Some(login.username.clone()),
                password: Some(Secret(login.password.clone())),
            });
        } else {
            let message = format!("of several credentials for {server}, ACI gets the first");
            notes.warn("ImagePullSecretIgnored", message);
        }
    }
    credentials
}

/// Whether an image's first part names this server, or none and the server is what is meant by that.
fn comes_from(image: &str, server: &str) -> bool {
    let named = image.split_once('/').map(|(host, _)| host);
    let named = named.filter(|host| host.contains(['.', ':']) || *host == "localhost");
    match named.filter(|host| !DOCKER_HUB.contains(host)) {
        Some(host) => host.eq_ignore_ascii_case(server),
        None => DOCKER_HUB.contains(&server),
    }
}

/// The service knows servers by host and port, where files of docker have URLs too.
fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}
