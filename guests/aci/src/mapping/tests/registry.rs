use serde_json::json;
use vk_sdk::Login;

use super::{Given, with};

fn login(server: &str, username: &str, password: &str) -> Login {
    Login { server: server.into(), username: username.into(), password: password.into(), identity_token: None }
}

fn with_image(image: &str, logins: &[Login]) -> Given {
    let mut given = with(json!({"image": image}));
    given.logins = logins.to_vec();
    given
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

fn token(server: &str) -> Login {
    Login { identity_token: Some("t0ken".into()), ..login(server, "<token>", "") }
}

#[test]
fn credentials_that_the_service_cannot_use_are_refused_without_showing_them() {
    assert_eq!(
        with_image("r.example/i", &[token("r.example")]).refused(),
        "spec.imagePullSecrets: the credential for r.example is an identity token; ACI takes a user name and a password"
    );
}

#[test]
fn credentials_that_lack_something_are_looked_for_again() {
    for login in [login("r.example", "", "s3cret"), login("r.example", "s3cret", "")] {
        let given = || with_image("r.example/i", std::slice::from_ref(&login));
        assert_eq!(
            given().missing(),
            "spec.imagePullSecrets: the credential for r.example lacks a user name or a password, and ACI takes both"
        );
        let (group, warnings) = given().annotated("vk-host.dev/ignore", "spec.imagePullSecrets").mapped();
        assert!(group["properties"].get("imageRegistryCredentials").is_none());
        assert_eq!(warnings, ["FieldsPassedOver: passed over as the pod's annotation has it: spec.imagePullSecrets"]);
    }
}

#[test]
fn credentials_that_no_image_needs_stop_no_pod() {
    for (image, server, is_needed) in [
        ("nginx", "index.docker.io", true),
        ("team/nginx:1", "https://index.docker.io/v1/", true),
        ("docker.io/library/nginx", "index.docker.io", true),
        ("nginx", "r.example", false),
        ("r.example/nginx", "index.docker.io", false),
        ("r.example:5000/nginx", "r.example:5000", true),
        ("r.example:5000/nginx", "r.example", false),
        ("localhost/nginx", "localhost", true),
    ] {
        for login in [token(server), login(server, "u", "")] {
            assert_eq!(with_image(image, &[login]).map().is_err(), is_needed, "{image} {server}");
        }
    }
}
