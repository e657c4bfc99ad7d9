//! What the service shows of a body.

use serde_json::Value;

/// A body as the service shows it: without what is secret, and without what only the service writes.
pub(crate) fn without_secrets(mut body: Value) -> Value {
    for member in ["id", "name", "type"] {
        remove(&mut body, "", member);
    }
    remove(&mut body, "/properties", "provisioningState");
    remove(&mut body, "/properties", "instanceView");
    remove(&mut body, "/properties/diagnostics/logAnalytics", "workspaceKey");
    for containers in ["/properties/containers", "/properties/initContainers"] {
        each(&mut body, containers, |container| {
            remove(container, "/properties", "instanceView");
            each(container, "/properties/environmentVariables", |variable| remove(variable, "", "secureValue"));
        });
    }
    each(&mut body, "/properties/imageRegistryCredentials", |credential| remove(credential, "", "password"));
    each(&mut body, "/properties/extensions", |extension| remove(extension, "/properties", "protectedSettings"));
    each(&mut body, "/properties/volumes", |volume| {
        remove(volume, "/azureFile", "storageAccountKey");
        if let Some(secret) = volume.pointer_mut("/secret") {
            *secret = Value::Object(serde_json::Map::new());
        }
    });
    body
}

fn remove(value: &mut Value, pointer: &str, member: &str) {
    if let Some(Value::Object(members)) = value.pointer_mut(pointer) {
        members.remove(member);
    }
}

fn each(value: &mut Value, pointer: &str, change: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = value.pointer_mut(pointer) {
        items.iter_mut().for_each(change);
    }
}

/// Removes what lists do not show.
pub(crate) fn without_views(shown: &mut Value) {
    remove(shown, "/properties", "instanceView");
    for containers in ["/properties/containers", "/properties/initContainers"] {
        each(shown, containers, |container| remove(container, "/properties", "instanceView"));
    }
}
