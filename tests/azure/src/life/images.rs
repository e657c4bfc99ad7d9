//! Images: they are no more than names, but some cannot be pulled.

use jiff::Timestamp;

use super::{Living, note_on};
use crate::{
    Shared,
    body::Body,
    group::{Life, State},
};

/// In the name of an image that is not there.
const MISSING: &str = "missing";

impl Living {
    /// Pulls all images. Returns when they are there, and not at all if one cannot be had.
    pub(super) async fn pull(&self, since: Timestamp) -> Timestamp {
        self.change_life(|life| {
            for (container, image) in images(&self.body, life) {
                note_on(container, since, "Pulling", format!("pulling image \"{image}\""));
            }
        });
        let pulled = self.pass(since, self.shared.options.delays.pull).await;
        self.change_life(|life| {
            for (container, image) in images(&self.body, life) {
                if problem(&self.shared, &self.body, image).is_none() {
                    note_on(container, pulled, "Pulled", format!("Successfully pulled image \"{image}\""));
                }
            }
        });
        let all = self.body.properties.containers.iter().map(|container| &container.properties.image);
        let mut all =
            all.chain(self.body.properties.init_containers.iter().map(|container| &container.properties.image));
        if all.any(|image| problem(&self.shared, &self.body, image).is_some()) {
            self.try_in_vain(pulled, |life, at| {
                for (container, image) in images(&self.body, life) {
                    let Some(problem) = problem(&self.shared, &self.body, image) else { continue };
                    container.current = Some(State::Waiting { detail: "ImagePullBackOff" });
                    note_on(container, at, "Failed", format!("Failed to pull image \"{image}\": {problem}"));
                    note_on(container, at, "BackOff", format!("Back-off pulling image \"{image}\""));
                }
            })
            .await;
        }
        pulled
    }
}

/// Each container with its image.
fn images<'a>(
    body: &'a Body,
    life: &'a mut Life,
) -> impl Iterator<Item = (&'a mut crate::group::ContainerLife, &'a str)> {
    let init = body.properties.init_containers.iter().map(|container| container.properties.image.as_str());
    let main = body.properties.containers.iter().map(|container| container.properties.image.as_str());
    life.init_containers.iter_mut().zip(init).chain(life.containers.iter_mut().zip(main))
}

/// Why an image cannot be had.
fn problem(shared: &Shared, body: &Body, image: &str) -> Option<String> {
    if image.contains(MISSING) {
        return Some("the manifest is unknown to the registry".to_owned());
    }
    let host = image.split('/').next()?;
    let registry = shared.options.registries.iter().find(|registry| registry.server == host)?;
    let credentials = body.properties.image_registry_credentials.iter();
    let mut fitting = credentials.filter(|credential| {
        let server = credential.server.trim_start_matches("https://").split('/').next();
        server == Some(host)
            && credential.username.as_ref() == Some(&registry.username)
            && credential.password.as_ref() == Some(&registry.password)
    });
    match fitting.next() {
        Some(_) => None,
        None => Some(format!("the registry '{host}' wants other credentials")),
    }
}
