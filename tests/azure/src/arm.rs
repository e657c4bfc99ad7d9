//! The resource manager: who may ask, for what, and who answers.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    Shared,
    answer::Call,
    error::ArmError,
    groups, guid, metrics, network, provider,
    route::{Route, Target},
    streams,
};

/// Versions of the API of container groups.
const VERSIONS: [&str; 15] = [
    "2017-08-01-preview",
    "2017-10-01-preview",
    "2017-12-01-preview",
    "2018-02-01-preview",
    "2018-04-01",
    "2018-06-01",
    "2018-07-01",
    "2018-09-01",
    "2018-10-01",
    "2019-12-01",
    "2021-07-01",
    "2021-09-01",
    "2021-10-01",
    "2022-10-01-preview",
    "2023-05-01",
];

pub(crate) async fn answer(shared: &Arc<Shared>, call: &Call) -> Response {
    let mut response = match admit(shared, call) {
        Ok(()) => carry_out(shared, call).await.unwrap_or_else(ArmError::into_response),
        Err(refused) => refused.into_response(),
    };
    describe(shared, call.target.route, response.headers_mut());
    response
}

/// Headers that every answer has.
pub(crate) fn describe(shared: &Shared, route: Route, headers: &mut HeaderMap) {
    let id = guid();
    for name in ["x-ms-request-id", "x-ms-correlation-request-id", "x-ms-routing-request-id"] {
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    shared.world().throttle.describe(route, shared.clock.now(), headers);
}

/// Checks what is checked of every request before anybody looks at what it asks for.
fn admit(shared: &Shared, call: &Call) -> Result<(), ArmError> {
    let Target { route, subscription, resource_group, .. } = &call.target;
    authenticate(shared, call)?;
    check_version(call)?;
    let now = shared.clock.now();
    let mut world = shared.world();
    world.throttle.admit(*route, now)?;
    if let Some(subscription) = subscription
        && !subscription.eq_ignore_ascii_case(&shared.options.subscription)
    {
        let message = format!("The subscription '{subscription}' could not be found.");
        return Err(ArmError::not_found("SubscriptionNotFound", message));
    }
    if route.needs_registration() && !world.registered {
        let message = "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'.";
        let refused = ArmError::conflict("MissingSubscriptionRegistration", message);
        return Err(ArmError { target: Some("Microsoft.ContainerInstance"), ..refused });
    }
    match resource_group {
        Some(name) if *route != Route::Unknown && world.resource_group(name).is_none() => {
            Err(ArmError::not_found("ResourceGroupNotFound", format!("Resource group '{name}' could not be found.")))
        }
        _ => Ok(()),
    }
}

fn authenticate(shared: &Shared, call: &Call) -> Result<(), ArmError> {
    let refuse = |code, message: &str| {
        let refused = ArmError::new(StatusCode::UNAUTHORIZED, code, message);
        let directory = format!("{}/{}", shared.urls.tls, shared.options.tenant);
        let challenge = format!(
            "Bearer authorization_uri=\"{directory}\", error=\"invalid_token\", error_description=\"{message}\""
        );
        ArmError { challenge: Some(challenge), ..refused }
    };
    let Some(token) = call.bearer() else {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(refuse("AuthenticationFailed", message));
    };
    let now = shared.clock.now();
    let mut world = shared.world();
    match world.tokens.get(token).copied() {
        Some(until) if now < until => Ok(()),
        Some(until) => {
            world.rules.token_refused(now, token);
            let message =
                format!("The access token expiry UTC time '{until}' is earlier than current UTC time '{now}'.");
            Err(refuse("ExpiredAuthenticationToken", &message))
        }
        None => {
            world.rules.token_refused(now, token);
            Err(refuse("InvalidAuthenticationToken", "The access token is invalid."))
        }
    }
}

fn check_version(call: &Call) -> Result<(), ArmError> {
    let Some(version) = call.query.get("api-version").filter(|version| !version.is_empty()) else {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(ArmError::bad_request("MissingApiVersionParameter", message));
    };
    let date = version.strip_suffix("-preview").unwrap_or(version);
    if date.parse::<jiff::civil::Date>().is_err() || date.len() != "2023-05-01".len() {
        let message = format!("The api-version '{version}' is invalid.");
        return Err(ArmError::bad_request("InvalidApiVersionParameter", message));
    }
    if call.target.route.needs_registration() && !VERSIONS.contains(&version.as_str()) {
        let message = format!(
            "No registered resource provider found for API version '{version}' of type 'containerGroups'. The supported \
             versions are '{}'.",
            VERSIONS.join(", ")
        );
        return Err(ArmError::bad_request("NoRegisteredProviderFound", message));
    }
    Ok(())
}

async fn carry_out(shared: &Arc<Shared>, call: &Call) -> Result<Response, ArmError> {
    match call.target.route {
        Route::Put => groups::put(shared, call).await,
        Route::Get => groups::get(shared, call),
        Route::List => groups::list(shared, call),
        Route::Delete => groups::delete(shared, call),
        Route::Patch => groups::patch_tags(shared, call),
        Route::Action => groups::act(shared, call),
        Route::Operation => groups::operation(shared, call),
        Route::Logs => streams::logs(shared, call),
        Route::Exec => streams::exec(shared, call),
        Route::Attach => streams::attach(shared, call),
        Route::Metrics => metrics::answer(shared, call),
        Route::Usages => Ok(provider::usages(shared)),
        Route::Capabilities => Ok(provider::capabilities(shared, call)),
        Route::Provider => Ok(provider::manifest(shared)),
        Route::Register => Ok(provider::register(shared, call)),
        Route::GetSubnet => network::get(shared, call),
        Route::PutSubnet => network::put(shared, call),
        _ => Err(ArmError::not_found("InvalidResourceType", "The resource type could not be found.")),
    }
}
