//! The instance metadata service: tokens for managed identities.

use std::collections::HashMap;

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::json;

use crate::{Shared, directory, error::json_response, group::set};

pub(crate) fn token(shared: &Shared, headers: &HeaderMap, query: &HashMap<String, String>) -> Response {
    let field = |name: &str| query.get(name).map_or("", String::as_str);
    let is_marked = headers.get("metadata").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    // A request that came through a proxy may be a forged one.
    if !is_marked || headers.contains_key("x-forwarded-for") {
        return refused("bad_request_102", "Required metadata header not specified");
    }
    if field("api-version").is_empty() {
        return refused("bad_request_103", "Required query variable 'api-version' is missing");
    }
    if !directory::is_resource_manager(shared, field("resource")) {
        let problem = format!("AADSTS500011: The resource principal named '{}' was not found", field("resource"));
        return refused("invalid_resource", &problem);
    }
    let identities = &shared.options.identities;
    let asked = query.get("client_id");
    let Some(identity) = asked.map_or(identities.first(), |id| identities.iter().find(|known| *known == id)) else {
        return refused("invalid_request", "Identity not found");
    };
    let (token, now, lifetime) = directory::issue(shared);
    let mut body = directory::strings(&token, now, lifetime, field("resource"));
    set(&mut body, "", "client_id", json!(identity));
    json_response(StatusCode::OK, &body)
}

fn refused(error: &str, problem: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": problem }))
}
