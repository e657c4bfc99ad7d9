//! What is asked, and how answers are read.

use super::*;

#[test]
fn a_group_is_asked_for_with_token_version_and_name_of_the_program() {
    let arm = one(Response::new(200).json(&json!({"name": "g", "unknown": 1, "tags": {"a": "b"}})));
    let found = arm.get("g").unwrap().unwrap();
    assert_eq!((found.name.as_deref(), found.tags.unwrap().len()), (Some("g"), 1));
    let request = &sent()[0];
    assert_eq!(request.method, "GET");
    assert_eq!(request.url, format!("https://arm.test{GROUPS}/g?api-version=2023-05-01"));
    assert_eq!(request.header("authorization"), Some("Bearer t"));
    assert!(request.header("user-agent").unwrap().starts_with("vk-host-aci/"));
}

#[test]
fn paths_are_escaped() {
    assert_eq!(segment("/\\@:,."), "%2F%5C%40%3A%2C.");
    assert_eq!(segment("a b£-_~9"), "a%20b%C2%A3-_~9");
    let arm = one(missing());
    assert!(arm.logs("g/x", "c?y", None).is_err());
    assert_eq!(sent()[0].path(), format!("{GROUPS}/g%2Fx/containers/c%3Fy/logs"));
}

#[test]
fn a_group_that_is_not_there_is_none_and_a_resource_group_that_is_not_is_an_error() {
    assert!(one(missing()).get("g").unwrap().is_none());
    let error =
        one(problem(404, "ResourceGroupNotFound", "Resource group 'rg' could not be found.")).get("g").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("'rg' could not be found") && error.message.contains("ACI_RESOURCE_GROUP"));
    for answer in
        [Response::new(404), Response::new(404).body("<html>nginx</html>"), problem(404, "SubscriptionNotFound", "x")]
    {
        assert_eq!(one(answer).get("g").unwrap_err().kind, ErrorKind::Unavailable, "something in between says it");
    }
}

#[test]
fn a_listing_is_followed_within_the_resource_manager_only() {
    let listing =
        |next: &str| Response::new(200).json(&json!({"value": [{"name": "a"}, {"tags": null}], "nextLink": next}));
    let next = format!("https://ARM.test{GROUPS}?api-version=2023-05-01&$skiptoken=x");
    let arm = serve([listing(&next), Response::new(200).json(&json!({"value": null}))]);
    let page = arm.list(None).unwrap();
    assert_eq!((page.groups.len(), page.next.as_deref()), (2, Some(next.as_str())));
    let last = arm.list(page.next.as_deref()).unwrap();
    assert!(last.groups.is_empty() && last.next.is_none());
    assert_eq!(sent()[1].url, format!("https://arm.test{GROUPS}?api-version=2023-05-01&$skiptoken=x"));
    for elsewhere in [
        "https://arm.test.evil/x",
        "https://arm.test@evil/x",
        "https://evil/https://arm.test/",
        "http://arm.test/x",
        "/x",
    ] {
        let error = arm.list(Some(elsewhere)).unwrap_err();
        assert!(error.message.contains("not followed"), "{}", error.message);
    }
    assert_eq!(sent().len(), 2);
    assert!(one(listing("")).list(None).unwrap().next.is_none());
}

#[test]
fn a_group_that_cannot_be_read_takes_no_other_out_of_the_listing() {
    let value = json!([
        {"name": "a", "properties": {"containers": null, "volumes": null, "instanceView": null, "ipAddress": null}},
        {"name": "odd", "properties": {"containers": [{"name": "c", "properties": {"ports": [{"port": "many"}]}}]}},
        {"name": "b", "tags": null, "properties": null},
        "none",
    ]);
    let page = one(Response::new(200).json(&json!({ "value": value }))).list(None).unwrap();
    let names: Vec<_> = page.groups.iter().filter_map(|group| group.name.as_deref()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_group_is_put_whole_and_the_answer_is_read() {
    let arm = one(Response::new(201)
        .json(&json!({"name": "g", "properties": {"provisioningState": "Pending", "containers": []}})));
    let made = arm.put("g", &group("g")).unwrap();
    assert_eq!(made.properties.unwrap().provisioning_state.as_deref(), Some("Pending"));
    let request = &sent()[0];
    assert_eq!((request.method.as_str(), request.header("content-type")), ("PUT", Some("application/json")));
    assert_eq!(request.json::<Value>().unwrap(), json!({"name": "g"}));
}

#[test]
fn a_group_is_gone_only_when_a_look_says_so() {
    let still = || Response::new(200).json(&json!({"name": "g"}));
    for (answers, removal, requests) in [
        (vec![still(), missing()], Removal::Gone, 2),
        (vec![Response::new(204), missing()], Removal::Gone, 2),
        (vec![still(), still()], Removal::Removing, 2),
        (vec![Response::new(202)], Removal::Removing, 1),
        (vec![missing()], Removal::Gone, 1),
    ] {
        let arm = serve(answers);
        assert_eq!(arm.delete("g").unwrap(), removal);
        let methods: Vec<_> = sent().into_iter().map(|request| request.method).collect();
        assert_eq!(methods, ["DELETE", "GET"][..requests]);
    }
    let arm = serve([Response::new(204), Response::new(500)]);
    assert_eq!(arm.delete("g").unwrap_err().kind, ErrorKind::Unavailable, "not gone, for all that is known");
}

#[test]
fn logs_are_asked_for_with_times() {
    let arm = one(Response::new(200).json(&json!({"content": "1970 a\n"})));
    assert_eq!(arm.logs("g", "c", Some(7)).unwrap(), "1970 a\n");
    assert_eq!(arm.logs("g", "c", None).unwrap(), "1970 a\n");
    let (requests, path) = (sent(), format!("{GROUPS}/g/containers/c/logs"));
    assert_eq!(requests[0].url, format!("https://arm.test{path}?api-version=2023-05-01&tail=7&timestamps=true"));
    assert_eq!(requests[1].url, format!("https://arm.test{path}?api-version=2023-05-01&timestamps=true"));
    assert_eq!(one(Response::new(200).json(&json!({"content": null}))).logs("g", "c", None).unwrap(), "");
}

#[test]
fn exec_and_attach_give_an_endpoint_whose_password_is_not_printed() {
    let arm = one(Response::new(200).json(&json!({"webSocketUri": "wss://x/1", "password": "hunter2"})));
    let size = TerminalSize { columns: 120, rows: 40 };
    for (size, expected) in [(Some(size), json!({"rows": 40, "cols": 120})), (None, json!({"rows": 24, "cols": 80}))] {
        let endpoint = arm.exec("g", "c", "/bin/sh", size).unwrap();
        assert_eq!((endpoint.uri.as_str(), endpoint.password.0.as_str()), ("wss://x/1", "hunter2"));
        assert!(!format!("{endpoint:?}").contains("hunter2"));
        let request = sent().pop().unwrap();
        assert_eq!(
            (request.method.as_str(), request.path()),
            ("POST", format!("{GROUPS}/g/containers/c/exec").as_str())
        );
        assert_eq!(request.json::<Value>().unwrap(), json!({"command": "/bin/sh", "terminalSize": expected}));
    }
    arm.attach("g", "c").unwrap();
    let request = sent().pop().unwrap();
    assert_eq!((request.path(), request.body.len()), (format!("{GROUPS}/g/containers/c/attach").as_str(), 0));
}
