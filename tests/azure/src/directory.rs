//! The directory: tokens for a service principal.

use std::{collections::HashMap, time::Duration};

use axum::{http::StatusCode, response::Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Shared, clock::after, error::json_response, guid};

/// Answers a request for a token. With `v2` it names a scope, else a resource.
pub(crate) fn token(shared: &Shared, tenant: &str, v2: bool, form: &HashMap<String, String>) -> Response {
    let options = &shared.options;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if !tenant.eq_ignore_ascii_case(&options.tenant) {
        return refused(shared, 400, "invalid_request", 90002, &format!("Tenant '{tenant}' not found."));
    }
    if field("grant_type") != "client_credentials" {
        let problem = format!("The app requested an unsupported grant type '{}'.", field("grant_type"));
        return refused(shared, 400, "unsupported_grant_type", 70003, &problem);
    }
    if field("client_id") != options.client_id {
        let problem = format!("Application with identifier '{}' was not found in the directory.", field("client_id"));
        return refused(shared, 400, "unauthorized_client", 700_016, &problem);
    }
    if field("client_secret").is_empty() {
        let problem = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return refused(shared, 401, "invalid_client", 7_000_218, problem);
    }
    if field("client_secret") != options.client_secret {
        return refused(shared, 401, "invalid_client", 7_000_215, "Invalid client secret provided.");
    }
    let resource = if v2 { field("scope") } else { field("resource") };
    if v2 && !resource.ends_with("/.default") {
        let problem = format!("The provided value for scope '{resource}' is not valid: it must end in /.default.");
        return refused(shared, 400, "invalid_scope", 1_002_012, &problem);
    }
    if !is_resource_manager(shared, resource.trim_end_matches("/.default")) {
        let problem = format!("The resource principal named '{resource}' was not found in the tenant.");
        return refused(shared, 400, "invalid_resource", 500_011, &problem);
    }
    let (token, now, lifetime) = issue(shared);
    let seconds = lifetime.as_secs();
    let body = if v2 {
        json!({ "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token })
    } else {
        strings(&token, now, lifetime, resource)
    };
    json_response(StatusCode::OK, &body)
}

/// Documents by which clients find the directory's endpoints.
pub(crate) fn discovery(shared: &Shared, path: &str) -> Response {
    let base = &shared.urls.tls;
    let tenant = &shared.options.tenant;
    let body = if path.starts_with("/common/discovery") {
        json!({
            "tenant_discovery_endpoint": format!("{base}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [],
        })
    } else {
        json!({
            "issuer": format!("{base}/{tenant}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        })
    };
    json_response(StatusCode::OK, &body)
}

/// Whether tokens for this resource are good for the resource manager: it is the simulator's own, or Azure's.
pub(crate) fn is_resource_manager(shared: &Shared, resource: &str) -> bool {
    let own = [shared.urls.tls.as_str(), "https://management.azure.com", "https://management.core.windows.net"];
    own.contains(&resource.trim_end_matches('/'))
}

/// A token, when it was given out and for how long.
pub(crate) fn issue(shared: &Shared) -> (String, Timestamp, Duration) {
    let token = format!("simulated.{}.{}", guid(), guid());
    let now = shared.clock.now();
    let lifetime = shared.options.token_lifetime;
    let mut world = shared.world();
    world.tokens.retain(|_, until| after(*until, Duration::from_secs(3600)) > now);
    world.tokens.insert(token.clone(), after(now, lifetime));
    (token, now, lifetime)
}

/// The answer of the older endpoint and of the metadata service, whose numbers are strings.
pub(crate) fn strings(token: &str, now: Timestamp, lifetime: Duration, resource: &str) -> Value {
    let seconds = lifetime.as_secs().to_string();
    json!({
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "expires_on": after(now, lifetime).as_second().to_string(),
        "not_before": now.as_second().to_string(),
        "resource": resource,
        "access_token": token,
    })
}

fn refused(shared: &Shared, status: u16, error: &str, number: u32, problem: &str) -> Response {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{number}: {problem}"),
        "error_codes": [number],
        "timestamp": shared.clock.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        "trace_id": guid(),
        "correlation_id": guid(),
        "error_uri": format!("{}/error?code={number}", shared.urls.tls),
    });
    json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body)
}
