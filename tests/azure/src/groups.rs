//! Container groups: made, shown, listed, deleted.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Shared,
    answer::Call,
    body::{self, Body, invalid},
    clock::after,
    error::{ArmError, json_response},
    group::{Detail, GroupState, Held, Life, Provisioning},
    guid, life, validate,
    world::{Ghost, Key, Operation, Work, World},
};

/// On the answer of a list: which groups it names.
#[derive(Debug, Clone)]
pub(crate) struct Listed(pub(crate) Vec<Key>);

pub(crate) async fn put(shared: &Arc<Shared>, call: &Call) -> Result<Response, ArmError> {
    let (key, name) = named(call)?;
    let sent: Value = serde_json::from_slice(&call.body).map_err(|problem| invalid(&problem))?;
    let sent = body::without_nulls(sent);
    let read = body::read(&sent, shared.options.strict)?;
    shared.clock.reach(after(shared.clock.now(), shared.options.delays.put)).await;
    let now = shared.clock.now();
    let mut world = shared.world();
    validate::check(&shared.options, &world, &key, &name, &read)?;
    let status = match world.groups.get(&key) {
        Some(held) if held.deleted.is_some() || !held.life.provisioning.is_done() => return Err(transitioning(&name)),
        Some(held) if held.sent == sent => StatusCode::OK,
        Some(held) => {
            validate::check_update(&held.body, &read, &name)?;
            replace(shared, &mut world, &key, sent, read);
            StatusCode::OK
        }
        None => {
            let resource_group = world.resource_group(&key.resource_group).cloned().unwrap_or_default();
            let id = format!(
                "/subscriptions/{}/resourceGroups/{resource_group}/providers/Microsoft.ContainerInstance/containerGroups/{name}",
                shared.options.subscription
            );
            let life = Life::new(&read);
            let held = Held {
                incarnation: rand::random(),
                id,
                name,
                resource_group,
                sent,
                body: Arc::new(read),
                created: now,
                life,
                deleted: None,
                edit: Value::Null,
                runs: HashMap::new(),
                samples: VecDeque::new(),
                living: None,
            };
            world.ghosts.retain(|ghost| ghost.key != key);
            world.groups.insert(key.clone(), held);
            life::begin(shared, &mut world, &key);
            StatusCode::CREATED
        }
    };
    let quirks = world.quirks.clone();
    let shown = world.groups.get(&key).map_or(Value::Null, |held| held.shown(Detail::Whole, &quirks, now));
    let mut response = json_response(status, &shown);
    follow(shared, &mut world, &mut response, Work::Group(key));
    drop(world);
    shared.changed();
    Ok(response)
}

/// Another body for a group that is there: its containers begin anew.
fn replace(shared: &Arc<Shared>, world: &mut World, key: &Key, sent: Value, read: Body) {
    if let Some(held) = world.groups.get_mut(key) {
        life::end(shared, key, held);
        held.incarnation = rand::random();
        held.life = Life { address: held.life.address, ..Life::new(&read) };
        held.sent = sent;
        held.body = Arc::new(read);
        life::begin(shared, world, key);
    }
}

pub(crate) fn get(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let (key, name) = named(call)?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let quirks = world.quirks.clone();
    let hidden = Duration::from_millis(quirks.get_after_put);
    if let Some(held) = world.groups.get(&key).filter(|held| after(held.created, hidden) <= now) {
        return Ok(json_response(StatusCode::OK, &held.shown(Detail::Whole, &quirks, now)));
    }
    match world.ghosts.iter_mut().find(|ghost| ghost.key == key && ghost.gets_left > 0) {
        Some(ghost) => {
            ghost.gets_left -= 1;
            Ok(json_response(StatusCode::OK, &ghost.shown))
        }
        None => Err(not_found(shared, &key, &name)),
    }
}

pub(crate) fn list(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let last = match call.query.get("$skiptoken") {
        None => None,
        Some(token) => {
            let last = read_token(token);
            Some(last.ok_or_else(|| ArmError::bad_request("InvalidSkipToken", "The skip token is not valid."))?)
        }
    };
    let is_next = |key: &Key| last.as_ref().is_none_or(|last| key > last);
    let scope = call.target.resource_group.as_deref();
    let now = shared.clock.now();
    let mut world = shared.world();
    let quirks = world.quirks.clone();
    let hidden = Duration::from_millis(quirks.list_after_put);
    let in_scope = |key: &Key| scope.is_none_or(|scope| key.resource_group.eq_ignore_ascii_case(scope));

    let held = world.groups.iter().filter(|(_, held)| after(held.created, hidden) <= now);
    let mut found: Vec<(Key, Value)> = held
        .filter(|(key, _)| in_scope(key) && is_next(key))
        .map(|(key, held)| (key.clone(), held.shown(Detail::Listed, &quirks, now)))
        .collect();
    world.ghosts.retain(|ghost| ghost.gets_left > 0 || now < ghost.listed_until);
    for ghost in &world.ghosts {
        let is_seen = now < ghost.listed_until && in_scope(&ghost.key) && is_next(&ghost.key);
        if is_seen && !found.iter().any(|(key, _)| *key == ghost.key) {
            let mut shown = ghost.shown.clone();
            body::without_views(&mut shown);
            found.push((ghost.key.clone(), shown));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let page_size = shared.options.page_size.max(1);
    let is_last = found.len() <= page_size;
    found.truncate(page_size);
    let (keys, shown): (Vec<Key>, Vec<Value>) = found.into_iter().unzip();
    let mut page = json!({ "value": shown });
    if let (Some(last), false, Some(page)) = (keys.last(), is_last, page.as_object_mut()) {
        let version = call.query.get("api-version").map_or("", String::as_str);
        let token = BASE64_URL_SAFE_NO_PAD.encode(format!("{}/{}", last.resource_group, last.name));
        let next = format!("{}{}?api-version={version}&%24skiptoken={token}", shared.urls.tls, call.path);
        page.insert("nextLink".into(), json!(next));
    }
    let mut response = json_response(StatusCode::OK, &page);
    response.extensions_mut().insert(Listed(keys));
    Ok(response)
}

/// The last group of the page before.
fn read_token(token: &str) -> Option<Key> {
    let decoded = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    decoded.split_once('/').map(|(resource_group, name)| Key::new(resource_group, name))
}

pub(crate) fn delete(shared: &Arc<Shared>, call: &Call) -> Result<Response, ArmError> {
    let (key, _) = named(call)?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let quirks = world.quirks.clone();
    let lingers = shared.options.delays.delete;
    let Some(held) = world.groups.get_mut(&key) else {
        return Ok(empty(StatusCode::NO_CONTENT));
    };
    let shown = held.shown(Detail::Whole, &quirks, now);
    if lingers.is_zero() {
        remove(shared, &mut world, &key);
        let response = json_response(StatusCode::OK, &shown);
        drop(world);
        shared.changed();
        return Ok(response);
    }
    if held.deleted.is_none() {
        held.deleted = Some(now);
        life::end(shared, &key, held);
        let incarnation = held.incarnation;
        let (shared, key) = (shared.clone(), key.clone());
        tokio::spawn(async move {
            shared.clock.reach(after(now, lingers)).await;
            let mut world = shared.world();
            if world.groups.get(&key).is_some_and(|held| held.incarnation == incarnation) {
                remove(&shared, &mut world, &key);
            }
            drop(world);
            shared.changed();
        });
    }
    let mut response = empty(StatusCode::ACCEPTED);
    follow(shared, &mut world, &mut response, Work::Removal(key));
    Ok(response)
}

/// Ends a group. It may still be seen for a while.
pub(crate) fn remove(shared: &Shared, world: &mut World, key: &Key) -> bool {
    let now = shared.clock.now();
    let Some(mut held) = world.groups.remove(key) else { return false };
    life::end(shared, key, &mut held);
    let lag = Duration::from_millis(world.quirks.list_after_delete);
    let shown = held.shown(Detail::Whole, &world.quirks, now);
    let gets_left = world.quirks.get_after_delete;
    world.ghosts.retain(|ghost| ghost.key != *key);
    world.ghosts.push(Ghost { key: key.clone(), shown, gets_left, listed_until: after(now, lag) });
    world.rules.gone(key);
    true
}

/// What a `PATCH` may say of a group.
#[derive(Deserialize)]
struct Tagged {
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub(crate) fn patch_tags(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let (key, name) = named(call)?;
    let sent: Value = serde_json::from_slice(&call.body).map_err(|problem| invalid(&problem))?;
    let Tagged { tags: read } = body::read_as(&body::without_nulls(sent), shared.options.strict, "Resource")?;
    let tags = json!(read);
    let now = shared.clock.now();
    let mut world = shared.world();
    let quirks = world.quirks.clone();
    let held = world.groups.get_mut(&key).ok_or_else(|| not_found(shared, &key, &name))?;
    Arc::make_mut(&mut held.body).tags = read;
    crate::group::set(&mut held.sent, "", "tags", tags);
    Ok(json_response(StatusCode::OK, &held.shown(Detail::Whole, &quirks, now)))
}

pub(crate) fn act(shared: &Arc<Shared>, call: &Call) -> Result<Response, ArmError> {
    let (key, name) = named(call)?;
    let mut world = shared.world();
    let held = world.groups.get(&key).ok_or_else(|| not_found(shared, &key, &name))?;
    if held.deleted.is_some() || !held.life.provisioning.is_done() {
        return Err(transitioning(&name));
    }
    let is_stopped = held.life.state == GroupState::Stopped;
    let action = call.target.part.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut response = empty(StatusCode::NO_CONTENT);
    match action.as_str() {
        "stop" => life::stop(shared, &mut world, &key),
        "start" if !is_stopped => {}
        _ => {
            life::again(shared, &mut world, &key);
            let status = if action == "start" { StatusCode::ACCEPTED } else { StatusCode::NO_CONTENT };
            response = empty(status);
            follow(shared, &mut world, &mut response, Work::Group(key));
        }
    }
    drop(world);
    shared.changed();
    Ok(response)
}

pub(crate) fn operation(shared: &Shared, call: &Call) -> Result<Response, ArmError> {
    let id = call.target.name.as_deref().unwrap_or_default();
    let now = shared.clock.now();
    let world = shared.world();
    let operation = world
        .operation(id)
        .ok_or_else(|| ArmError::not_found("ResourceNotFound", format!("The operation '{id}' could not be found.")))?;
    let (status, resource, events) = match &operation.what {
        Work::Subnet(done) => (if *done <= now { "Succeeded" } else { "InProgress" }, String::new(), json!([])),
        Work::Removal(key) => {
            (if world.groups.contains_key(key) { "Pending" } else { "Succeeded" }, String::new(), json!([]))
        }
        Work::Group(key) => match world.groups.get(key) {
            Some(held) => {
                let status = match held.life.provisioning {
                    Provisioning::Succeeded => "Succeeded",
                    Provisioning::Failed => "Failed",
                    Provisioning::Pending | Provisioning::Creating => "Pending",
                };
                (status, held.id.clone(), crate::group::written(&held.life, &world.quirks))
            }
            None => ("Canceled", String::new(), json!([])),
        },
    };
    let mut body = json!({
        "id": resource,
        "status": status,
        "startTime": format!("{:.7}", operation.started),
        "properties": { "events": events },
    });
    if let ("Failed", Some(body)) = (status, body.as_object_mut()) {
        let error = json!({ "code": "ContainerGroupFailed", "message": "The container group could not be started." });
        body.insert("error".into(), error);
    }
    Ok(json_response(StatusCode::OK, &body))
}

/// Makes an operation that a client can follow, and names it on the answer.
pub(crate) fn follow(shared: &Shared, world: &mut World, response: &mut Response, what: Work) {
    let id = guid();
    let (provider, region) = match &what {
        Work::Subnet(_) => ("Microsoft.Network", "westeurope".to_owned()),
        Work::Group(key) | Work::Removal(key) => {
            let region = world.groups.get(key).map(|held| crate::group::region(&held.body.location));
            ("Microsoft.ContainerInstance", region.unwrap_or_default())
        }
    };
    let url = format!(
        "{}/subscriptions/{}/providers/{provider}/locations/{region}/operations/{id}?api-version=2018-06-01",
        shared.urls.tls, shared.options.subscription
    );
    world.begin_operation(Operation { id, started: shared.clock.now(), what });
    if let Ok(url) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(HeaderName::from_static("azure-asyncoperation"), url);
    }
}

/// Which group a request is about, and how it spells the name.
pub(crate) fn named(call: &Call) -> Result<(Key, String), ArmError> {
    let key = call.key().ok_or_else(|| ArmError::bad_request("InvalidResourceName", "The group has no name."))?;
    Ok((key, call.target.name.clone().unwrap_or_default()))
}

pub(crate) fn not_found(shared: &Shared, key: &Key, name: &str) -> ArmError {
    let listed = &shared.options.resource_groups;
    let group = listed.iter().find(|group| group.eq_ignore_ascii_case(&key.resource_group));
    let group = group.unwrap_or(&key.resource_group);
    let message = format!(
        "The Resource 'Microsoft.ContainerInstance/containerGroups/{name}' under resource group '{group}' was not found."
    );
    ArmError::not_found("ResourceNotFound", message)
}

pub(crate) fn transitioning(name: &str) -> ArmError {
    let message = format!("The container group '{name}' is still transitioning, please retry later.");
    ArmError::conflict("ContainerGroupTransitioning", message)
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
