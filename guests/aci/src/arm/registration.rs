//! A subscription must once be registered for container groups before it can have any.

use std::time::Duration;

use vk_sdk::{Error, ErrorKind, cache, info};

use super::{Arm, Call, Class, segment};

const NAMESPACE: &str = "Microsoft.ContainerInstance";
const API_VERSION: &str = "2016-02-01";
/// Registering takes the service minutes; it is not asked again before.
const ONCE_IN: Duration = Duration::from_secs(300);
/// When what was refused is to be tried again.
const TRY_AFTER: Duration = Duration::from_secs(10);

impl Arm {
    /// Asks the service to register the subscription; says what becomes of the request that was `refused` for want of it.
    pub(super) fn register(&self, refused: Error) -> Error {
        let key = format!("registration/{}", self.settings.subscription);
        let pending = Error { kind: ErrorKind::Unavailable, ..refused }.after(TRY_AFTER);
        if !cache::replace(&key, None, b"asked", ONCE_IN) {
            return pending;
        }
        info!("registering the subscription for {NAMESPACE}");
        let path = format!("/subscriptions/{}/providers/{NAMESPACE}/register", segment(&self.settings.subscription));
        match self.request(&Call::post(Class::Action, path).api_version(API_VERSION)) {
            Ok(_) => pending,
            Err(error) => {
                if error.kind != ErrorKind::PermissionDenied {
                    cache::remove(&key);
                }
                error.context(format!("registering the subscription (az provider register --namespace {NAMESPACE})"))
            }
        }
    }
}
