//! Credentials for image registries.

use std::collections::HashSet;

use vk_sdk::Login;

use super::Notes;
use crate::group::{RegistryCredential, Secret};

/// The credentials, in order; of several for one server the first.
pub(super) fn credentials(logins: &[Login], notes: &mut Notes) -> Vec<RegistryCredential> {
    let mut servers = HashSet::new();
    let mut credentials = Vec::new();
    for login in logins {
        let server = host(&login.server);
        if login.identity_token.is_some() {
            refuse(server, "is an identity token; ACI takes a user name and a password", notes);
        } else if login.username.is_empty() || login.password.is_empty() {
            refuse(server, "lacks a user name or a password, and ACI takes both", notes);
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

fn refuse(server: &str, what: &str, notes: &mut Notes) {
    notes.refuse("spec.imagePullSecrets", format!("the credential for {server} {what}"));
}

/// The service knows servers by host and port, where files of docker have URLs too.
fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}
