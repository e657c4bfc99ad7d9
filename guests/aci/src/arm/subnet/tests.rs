//! Subnets in every state in which they are found.

use std::{cell::RefCell, rc::Rc};

use vk_sdk::{
    ErrorKind,
    testing::{self, Response},
};

use super::*;
use crate::settings::testing::principal;

const PATH: &str =
    "/subscriptions/net-sub/resourceGroups/net%20rg/providers/Microsoft.Network/virtualNetworks/vnet/subnets/pods";

fn network(cidr: Option<&str>) -> Network {
    Network {
        subscription: "net-sub".into(),
        resource_group: "net rg".into(),
        vnet: "vnet".into(),
        subnet: "pods".into(),
        cidr: cidr.map(str::to_owned),
        dns: None,
        cluster_domain: "cluster.local".into(),
    }
}

/// A service that has this subnet, and keeps what is put.
fn serve(subnet: Option<Value>) -> Rc<RefCell<Option<Value>>> {
    let kept = Rc::new(RefCell::new(subnet));
    let keeper = kept.clone();
    testing::serve(move |request| {
        if request.url.starts_with("https://login.test") {
            return Response::new(200).json(&json!({"access_token": "t", "expires_in": 3600}));
        }
        assert_eq!((request.path(), request.query("api-version")), (PATH, Some(API_VERSION)));
        if request.method == "PUT" {
            *keeper.borrow_mut() = Some(request.json().unwrap());
        }
        match &*keeper.borrow() {
            Some(subnet) => Response::new(200).json(subnet),
            None => Response::new(404).json(&json!({"error": {"code": "NotFound", "message": "no such subnet"}})),
        }
    });
    kept
}

fn prepare(cidr: Option<&str>) -> Result<()> {
    Arm::new(&principal()).prepare_subnet(&network(cidr))
}

fn puts() -> usize {
    testing::requests().iter().filter(|request| request.method == "PUT").count()
}

#[test]
fn a_subnet_is_delegated_with_everything_that_it_has() {
    let before = json!({
        "name": "pods", "etag": "W/\"1\"",
        "properties": {"addressPrefix": "10.1.0.0/16", "delegations": [], "privateEndpointNetworkPolicies": "Enabled", "new": {"a": 1}},
    });
    let kept = serve(Some(before.clone()));
    prepare(Some("10.1.0.0/16")).unwrap();
    let mut after = kept.borrow().clone().unwrap();
    assert_eq!(after["properties"]["delegations"][0]["properties"]["serviceName"], SERVICE);
    after["properties"]["delegations"] = json!([]);
    assert_eq!(after, before);
}

#[test]
fn a_subnet_that_was_found_fit_is_not_looked_at_for_a_while_and_never_changed_again() {
    serve(Some(json!({"properties": {"addressPrefixes": ["10.1.0.0/16"]}})));
    for _ in 0..3 {
        prepare(None).unwrap();
    }
    assert_eq!((puts(), testing::requests().len()), (1, 3), "a token, a look, a change");
    testing::advance(FIT_FOR);
    prepare(None).unwrap();
    assert_eq!((puts(), testing::requests().len()), (1, 5));
}

#[test]
fn a_subnet_that_is_linked_or_delegated_is_fit() {
    for properties in [
        json!({"addressPrefix": "a", "serviceAssociationLinks": [{"properties": {"linkedResourceType": "microsoft.containerinstance/containergroups"}}]}),
        json!({"addressPrefix": "a", "delegations": [{"properties": {"serviceName": SERVICE}}], "serviceAssociationLinks": []}),
    ] {
        serve(Some(json!({"properties": properties})));
        prepare(None).unwrap();
        assert_eq!(puts(), 0);
    }
}

#[test]
fn a_missing_subnet_is_made_if_its_range_is_set() {
    let kept = serve(None);
    prepare(Some("10.2.0.0/16")).unwrap();
    let made = kept.borrow().clone().unwrap();
    assert_eq!((&made["name"], &made["properties"]["addressPrefix"]), (&json!("pods"), &json!("10.2.0.0/16")));
    assert_eq!(made["properties"]["delegations"][0]["name"], "aciDelegation");
    serve(None);
    let error = prepare(None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    for part in ["pods", "vnet", "net rg", "net-sub", "ACI_SUBNET_CIDR"] {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
}

#[test]
fn a_subnet_that_cannot_be_made_fit_is_refused_and_left_alone() {
    for (properties, cidr, part) in [
        (json!({}), None, "no range of addresses"),
        (json!({"addressPrefix": "10.1.0.0/16"}), Some("10.1.0.0/17"), "10.1.0.0/16, not 10.1.0.0/17"),
        (json!({"addressPrefix": "a", "routeTable": {"id": "/table"}}), None, "route table /table"),
        (
            json!({"addressPrefix": "a", "serviceAssociationLinks": [{"properties": {"linkedResourceType": "Other/things"}}]}),
            None,
            "in use by Other/things",
        ),
    ] {
        serve(Some(json!({"properties": properties})));
        let error = prepare(cidr).unwrap_err();
        assert_eq!((error.kind, puts()), (ErrorKind::Invalid, 0));
        assert!(error.message.contains("the subnet pods") && error.message.contains(part), "{}", error.message);
    }
}

#[test]
fn a_subnet_that_is_being_changed_is_waited_for() {
    let kept = serve(Some(json!({"properties": {"addressPrefix": "a", "provisioningState": "Updating"}})));
    let error = prepare(None).unwrap_err();
    assert_eq!((error.kind, error.retry_after, puts()), (ErrorKind::Unavailable, Some(5_000), 0));
    kept.borrow_mut().as_mut().unwrap()["properties"]["provisioningState"] = "Succeeded".into();
    prepare(None).unwrap();
    assert_eq!(puts(), 1);
}

#[test]
fn a_subnet_that_may_not_be_looked_at_is_the_operators_matter() {
    testing::serve(|request| match request.method.as_str() {
        "POST" => Response::new(200).json(&json!({"access_token": "t", "expires_in": 3600})),
        _ => Response::new(403).json(&json!({"error": {"code": "AuthorizationFailed", "message": "no right"}})),
    });
    let error = prepare(None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert_eq!(error.message, "looking up the subnet pods: AuthorizationFailed: no right");
}
