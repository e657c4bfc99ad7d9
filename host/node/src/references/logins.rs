//! Credentials for image registries, from the pod's image pull secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use vk_provider::Login;

use super::{
    Notice, Unresolved,
    objects::{Key, Kind, Object, Objects},
};

/// Reason of the event, as the kubelet has it.
const REASON: &str = "FailedToRetrieveImagePullSecret";

/// With or without padding, as both are in use.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secrets that must be read.
pub(super) fn wanted(pod: &Pod, namespace: &str) -> BTreeSet<Key> {
    names(pod).map(|name| key(namespace, name)).collect()
}

/// The credentials, in the order of the secrets, and which versions of the secrets they are from.
///
/// A secret that is missing or malformed does not hold the pod: its images may be public. Only one about which nothing
/// is known does, for the credentials of a running pod must not vanish with the API server.
pub(super) fn logins(
    pod: &Pod,
    namespace: &str,
    objects: &Objects,
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Login>, String), Unresolved> {
    let (mut logins, mut versions, mut failed) = (Vec::new(), String::new(), Vec::new());
    for name in names(pod) {
        let key = key(namespace, name);
        // Writing to a String cannot fail.
        _ = writeln!(versions, "{name} {}", objects.version(&key));
        let object = match objects.find(&key, false, &"imagePullSecrets", &mut Vec::new()) {
            Ok(Some(object)) => object,
            Err(error) if error.transient => return Err(error),
            Ok(None) | Err(_) => {
                failed.push(name);
                continue;
            }
        };
        let malformed =
            |what: String| Notice { reason: REASON, message: format!("image pull secret {name:?}: {what}") };
        match entries(object) {
            Ok(entries) => {
                for (server, entry) in entries {
                    match entry.login(server) {
                        Ok(Some(login)) if !logins.contains(&login) => logins.push(login),
                        Ok(_) => {}
                        Err(what) => notices.push(malformed(what)),
                    }
                }
            }
            Err(what) => notices.push(malformed(what)),
        }
    }
    if !failed.is_empty() {
        let message = format!(
            "unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed",
            failed.join(", ")
        );
        notices.push(Notice { reason: REASON, message });
    }
    Ok((logins, versions))
}

/// The API accepts entries without a name; they mean nothing.
fn names(pod: &Pod) -> impl Iterator<Item = &str> {
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    secrets.map(|secret| secret.name.as_str()).filter(|name| !name.is_empty())
}

fn key(namespace: &str, name: &str) -> Key {
    Key { kind: Kind::Secret, namespace: namespace.to_owned(), name: name.to_owned() }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    /// Base64 of `username:password`.
    auth: Option<String>,
    identitytoken: Option<String>,
}

fn entries(secret: &Object) -> Result<BTreeMap<String, Entry>, String> {
    let (key, nested) = match secret.secret_type.as_str() {
        "kubernetes.io/dockerconfigjson" => (".dockerconfigjson", true),
        "kubernetes.io/dockercfg" => (".dockercfg", false),
        other => return Err(format!("its type is {other:?}, not kubernetes.io/dockerconfigjson")),
    };
    let data = secret.data.get(key).ok_or_else(|| format!("it has no key {key}"))?;
    let parsed = if nested {
        serde_json::from_slice::<Config>(data).map(|config| config.auths.unwrap_or_default())
    } else {
        serde_json::from_slice(data)
    };
    // The parser's own message quotes the secret.
    parsed.map_err(|error| format!("{key} is malformed at line {} column {}", error.line(), error.column()))
}

impl Entry {
    /// `None`: no credentials, as credential helpers leave behind.
    fn login(self, server: String) -> Result<Option<Login>, String> {
        let (username, password) = match self.auth.filter(|auth| !auth.is_empty()) {
            Some(auth) => {
                let auth: String = auth.split_ascii_whitespace().collect();
                let decoded = BASE64.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let pair = decoded.as_deref().and_then(|decoded| decoded.split_once(':'));
                let (username, password) =
                    pair.ok_or_else(|| format!("auth of {server:?} is not the base64 of username:password"))?;
                // Some versions of docker pad the password.
                (username.to_owned(), password.trim_matches('\0').to_owned())
            }
            None => (self.username.unwrap_or_default(), self.password.unwrap_or_default()),
        };
        let identity_token = self.identitytoken.filter(|token| !token.is_empty());
        if username.is_empty() && password.is_empty() && identity_token.is_none() {
            return Ok(None);
        }
        Ok(Some(Login { server, username, password, identity_token }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::references::objects::State;

    fn secret(secret_type: &str, key: &str, data: &str) -> State {
        State::Found(Arc::new(Object {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            immutable: false,
            secret_type: secret_type.to_owned(),
            data: [(key.to_owned(), data.as_bytes().to_vec())].into(),
            binary_data: BTreeMap::new(),
        }))
    }

    fn config(data: &str) -> State {
        secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", data)
    }

    fn read(secrets: Vec<(&str, State)>) -> (Result<Vec<Login>, Unresolved>, Vec<String>) {
        let names: Vec<_> = secrets.iter().map(|(name, _)| json!({"name": name})).collect();
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "imagePullSecrets": names}})).unwrap();
        let objects = secrets.into_iter().map(|(name, state)| (key("ns", name), state)).collect();
        let mut notices = Vec::new();
        let logins = logins(&pod, "ns", &objects, &mut notices).map(|(logins, _)| logins);
        assert!(notices.iter().all(|notice| notice.reason == REASON));
        (logins, notices.into_iter().map(|notice| notice.message).collect())
    }

    fn login(server: &str, username: &str, password: &str, token: Option<&str>) -> Login {
        let identity_token = token.map(str::to_owned);
        Login { server: server.into(), username: username.into(), password: password.into(), identity_token }
    }

    #[test]
    fn both_kinds_of_pull_secrets_are_read_in_order() {
        let (logins, notices) = read(vec![
            ("", config("{}")),
            (
                "new",
                config(
                    r#"{"auths": {
                        "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="},
                        "b.example": {"auth": "dXNlcjpwYTpzcw"},
                        "c.example": {"username": "u", "password": "p", "email": "e"},
                        "d.example": {"auth": "PHRva2VuPjo=", "identitytoken": "idt"},
                        "e.example": {}
                    }, "credsStore": "x"}"#,
                ),
            ),
            ("old", secret("kubernetes.io/dockercfg", ".dockercfg", r#"{"a.example": {"auth": "dTpw\n"}}"#)),
            ("again", config(r#"{"auths": {"c.example": {"username": "u", "password": "p"}}}"#)),
        ]);
        assert_eq!(notices, [""; 0]);
        assert!(
            logins.unwrap()
                == [
                    login("b.example", "user", "pa:ss", None),
                    login("c.example", "u", "p", None),
                    login("d.example", "<token>", "", Some("idt")),
                    login("https://index.docker.io/v1/", "user", "pa:ss", None),
                    login("a.example", "u", "p", None),
                ]
        );
    }

    #[test]
    fn missing_secrets_are_told_together_and_do_not_hold_the_pod() {
        let good = config(r#"{"auths": {"a": {"username": "u"}}}"#);
        let (logins, notices) = read(vec![("x", State::Missing), ("y", State::Denied), ("z", good)]);
        assert_eq!(logins.unwrap().len(), 1);
        let expected =
            "unable to retrieve some image pull secrets (x, y); attempting to pull the image may not succeed";
        assert_eq!(notices, [expected]);
    }

    #[test]
    fn a_secret_about_which_nothing_is_known_holds_the_pod() {
        let (logins, _) = read(vec![("x", State::Unread(None))]);
        assert!(logins.is_err_and(|error| error.transient));
    }

    #[test]
    fn malformed_secrets_are_told_without_their_contents() {
        for (state, what) in [
            (config(r#"{"auths": {"a": "hunter2"}}"#), ".dockerconfigjson is malformed at line 1 column 25"),
            (config("hunter2"), ".dockerconfigjson is malformed at line 1 column 1"),
            (
                config(r#"{"auths": {"a": {"auth": "hunter2!"}}}"#),
                "auth of \"a\" is not the base64 of username:password",
            ),
            (
                config(r#"{"auths": {"a": {"auth": "aHVudGVyMg=="}}}"#),
                "auth of \"a\" is not the base64 of username:password",
            ),
            (secret("Opaque", ".dockerconfigjson", "{}"), "its type is \"Opaque\", not kubernetes.io/dockerconfigjson"),
            (secret("kubernetes.io/dockercfg", "x", "{}"), "it has no key .dockercfg"),
        ] {
            let (logins, notices) = read(vec![("s", state)]);
            assert_eq!(logins.unwrap().len(), 0);
            assert_eq!(notices, [format!("image pull secret \"s\": {what}")]);
        }
    }

    proptest! {
        #[test]
        fn any_username_and_password_survive_auth(username in "[^:\\x00]{1,20}", password in "[^\\x00]{1,20}", padded: bool) {
            let mut auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            if !padded {
                auth = auth.trim_end_matches('=').to_owned();
            }
            let data = json!({"auths": {"s": {"auth": auth}}}).to_string();
            let logins = read(vec![("x", config(&data))]).0.unwrap();
            prop_assert!(logins == [login("s", &username, &password, None)]);
        }
    }
}
