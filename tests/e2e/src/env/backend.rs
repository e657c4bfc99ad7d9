//! What the backend was asked.

use anyhow::{Result, ensure};
use vk_backend::Backend;

use super::Env;
use crate::{PATIENCE, eventually};

impl Env {
    /// Waits until the backend is as wanted; `look` says what it is like otherwise.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn backend_until<T>(&self, what: &str, mut look: impl FnMut(&Backend) -> Result<T, String>) -> Result<T> {
        eventually(what, PATIENCE, async || look(&self.backend)).await
    }

    /// Waits until the backend has none of these pods.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn backend_without(&self, uids: &[String]) -> Result<()> {
        self.backend_until("the backend to have removed the pods", |backend| {
            let mut left = backend.pods().into_iter().filter(|pod| uids.contains(&pod.id.uid));
            match left.next() {
                None => Ok(()),
                Some(pod) => Err(format!("{} and {} others", pod.id.name, left.count())),
            }
        })
        .await
    }

    /// Checks that each of these pods was made by one call, and never changed or deleted.
    ///
    /// # Errors
    ///
    /// If one was not; it is named.
    pub fn made_once_and_left_alone(&self, uids: impl IntoIterator<Item = String>) -> Result<()> {
        for uid in uids {
            let count = self.backend.count(&uid);
            let wanted = vk_backend::Count { made: 1, creates: 1, ..Default::default() };
            ensure!(count == wanted, "pod {uid} was not made once and left alone: {count:?}");
        }
        Ok(())
    }

    /// Checks that each of these pods was made, and never a second time.
    ///
    /// # Errors
    ///
    /// If one was not; it is named.
    pub fn made_once(&self, uids: impl IntoIterator<Item = String>) -> Result<()> {
        for uid in uids {
            let count = self.backend.count(&uid);
            ensure!(count.made == 1, "pod {uid} was made {} times: {count:?}", count.made);
        }
        Ok(())
    }
}
