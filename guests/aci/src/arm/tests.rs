//! The client against a service that the tests play.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use serde_json::{Value, json};
use vk_sdk::{
    Error, ErrorKind,
    testing::{self, Request, Response},
};

use super::*;
use crate::settings::testing::principal;

mod faults;
mod requests;

const GROUPS: &str = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups";

fn token_or(request: &Request, service: impl FnOnce() -> Response) -> Response {
    if request.url.starts_with("https://login.test/") {
        return Response::new(200).json(&json!({"access_token": "t", "expires_in": 3600}));
    }
    assert!(request.url.starts_with("https://arm.test/"), "{request:?}");
    service()
}

/// Answers with these, one after the other; the last is repeated.
fn serve(answers: impl Into<VecDeque<Response>>) -> Arm {
    let answers = RefCell::new(answers.into());
    testing::serve(move |request| {
        token_or(request, || {
            let mut answers = answers.borrow_mut();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        })
    });
    Arm::new(&principal())
}

fn one(answer: Response) -> Arm {
    serve([answer])
}

/// Requests to the service, without those for tokens.
fn sent() -> Vec<Request> {
    testing::requests().into_iter().filter(|request| request.url.starts_with("https://arm.test/")).collect()
}

fn problem(status: u16, code: &str, message: &str) -> Response {
    Response::new(status).json(&json!({"error": {"code": code, "message": message}}))
}

fn missing() -> Response {
    problem(404, "ResourceNotFound", "The Resource was not found.")
}

fn group(name: &str) -> ContainerGroup {
    ContainerGroup { name: Some(name.into()), ..ContainerGroup::default() }
}
