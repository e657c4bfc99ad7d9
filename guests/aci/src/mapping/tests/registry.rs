use serde_json::json;
use vk_sdk::Login;

use super::{Given, with};

fn login(server: &str, username: &str, password: &str) -> Login {
    Login { server: server.into(), username: username.into(), password: password.into(), identity_token: None }
}

fn logged_in(logins: &[Login]) -> Given {
    let mut given = with(json!({}));
    given.logins = logins.to_vec();
    given
}

#[test]
fn credentials_are_passed_on_in_order_by_host() {
    let given = logged_in(&[
        login("registry.example:5000", "a", "p:1"),
        login("https://index.docker.io/v1/", "b", "2"),
        login("acr.azurecr.io/team", "c", "3"),
    ]);
    assert_eq!(
        given.properties()["imageRegistryCredentials"],
        json!([
            {"server": "registry.example:5000", "username": "a", "password": "p:1"},
            {"server": "index.docker.io", "username": "b", "password": "2"},
            {"server": "acr.azurecr.io", "username": "c", "password": "3"},
        ])
    );
}

#[test]
fn of_several_credentials_for_a_server_the_first_is_sent() {
    let (group, warnings) =
        logged_in(&[login("r", "a", "1"), login("https://r/v1/", "b", "2"), login("r", "c", "3")]).mapped();
    assert_eq!(
        group["properties"]["imageRegistryCredentials"],
        json!([{"server": "r", "username": "a", "password": "1"}])
    );
    // One event, as the host keeps one for each reason.
    let one = "of several credentials for r, ACI gets the first";
    assert_eq!(warnings, [format!("ImagePullSecretIgnored: {one}; {one}")]);
}

#[test]
fn credentials_that_the_service_cannot_use_are_refused_without_showing_them() {
    let token = Login { identity_token: Some("t0ken".into()), ..login("r", "<token>", "") };
    for (login, what) in [
        (token, "is an identity token; ACI takes a user name and a password"),
        (login("r", "", "s3cret"), "lacks a user name or a password, and ACI takes both"),
        (login("r", "s3cret", ""), "lacks a user name or a password, and ACI takes both"),
    ] {
        let refusal = logged_in(&[login]).refused();
        assert_eq!(refusal, format!("spec.imagePullSecrets: the credential for r {what}"));
    }
}
