//! Joins a [`Provider`] to the component's exports. For [`export!`](crate::export) only.

use std::{cell::OnceCell, marker::PhantomData, time::Duration};

use crate::{
    Aspects, Changes, Cursor, Deletion, Description, Error, Observation, Pod, PodId, Provider, Result, Startup,
    bindings::exports::vk::provider::{
        node::{Guest as NodeGuest, Info},
        pods::Guest as PodsGuest,
    },
};

/// Where an instance of the component keeps its configured provider.
pub trait Instance: Provider {
    /// Runs `f` on the place of this instance's provider.
    fn place<R>(f: impl FnOnce(&OnceCell<Self>) -> R) -> R;
}

/// The component made of a provider.
pub struct Component<P>(PhantomData<P>);

fn with<P: Instance, R>(call: impl FnOnce(&P) -> Result<R>) -> Result<R> {
    P::place(|place| match place.get() {
        Some(provider) => call(provider),
        None => Err(Error::internal(format!("{} was called before configure", P::NAME))),
    })
}

impl<P: Instance> NodeGuest for Component<P> {
    fn configure(startup: Startup) -> Result<Info> {
        let provider = P::configure(startup)?;
        P::place(|place| place.set(provider))
            .map_err(|_| Error::internal(format!("{} was configured twice on one instance", P::NAME)))?;
        Ok(Info { name: P::NAME.to_owned(), version: P::VERSION.to_owned() })
    }

    fn describe() -> Result<Description> {
        with(P::describe)
    }
}

impl<P: Instance> PodsGuest for Component<P> {
    fn create(pod: Pod) -> Result<Observation> {
        with(|provider: &P| provider.create(pod))
    }

    fn update(pod: Pod, changed: Aspects) -> Result<Observation> {
        with(|provider: &P| provider.update(pod, changed))
    }

    fn delete(pod: PodId, grace: u32) -> Result<Deletion> {
        with(|provider: &P| provider.delete(pod, Duration::from_millis(grace.into())))
    }

    fn get(pod: PodId) -> Result<Observation> {
        with(|provider: &P| provider.get(pod))
    }

    fn poll(since: Option<Cursor>) -> Result<Changes> {
        with(|provider: &P| provider.poll(since))
    }
}

/// Makes a [`Provider`] the component's exports: `vk_sdk::export!(MyProvider);`, once per crate.
#[macro_export]
macro_rules! export {
    ($provider:ty) => {
        const _: () = {
            impl $crate::component::Instance for $provider {
                fn place<R>(f: impl FnOnce(&::std::cell::OnceCell<Self>) -> R) -> R {
                    ::std::thread_local! {
                        static PLACE: ::std::cell::OnceCell<$provider> = const { ::std::cell::OnceCell::new() };
                    }
                    PLACE.with(f)
                }
            }
            type Component = $crate::component::Component<$provider>;
            $crate::bindings::export! { Component with_types_in $crate::bindings }
        };
    };
}

/// A duration as the contract carries it: milliseconds, at most 49 days; longer ones are cut.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
