//! Joins a [`Provider`] to the component's exports. For [`export!`](crate::export) only.

use std::{cell::OnceCell, marker::PhantomData, time::Duration};

use crate::{
    Aspects, Changes, Cursor, Deletion, Description, Error, Logs, Observation, Pod, PodId, Provider, Result, Sessions,
    Startup, Stats,
    bindings::{
        exports::vk::provider::{
            node::{Guest as NodeGuest, Info},
            pods::Guest as PodsGuest,
        },
        logs::exports::vk::provider::logs::Guest as LogsGuest,
        sessions::exports::vk::provider::sessions::{Guest as SessionsGuest, Opened, Progress},
        stats::exports::vk::provider::stats::Guest as StatsGuest,
    },
    logs, sessions, stats,
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

impl<P: Instance + Logs> LogsGuest for Component<P> {
    fn read(query: logs::Query, after: Option<Cursor>) -> Result<logs::Chunk> {
        with(|provider: &P| provider.read_log(query, after))
    }
}

impl<P: Instance + Sessions> SessionsGuest for Component<P> {
    fn open(pod: PodId, request: sessions::Request) -> Result<Opened> {
        with(|provider: &P| sessions::open(provider, pod, request))
    }

    fn step(pod: PodId, state: Vec<u8>, events: Vec<sessions::Event>) -> Progress {
        with(|provider: &P| sessions::step(provider, &pod, &state, events))
            .unwrap_or_else(|error| Progress { state: None, actions: vec![sessions::Action::Fail(error)] })
    }
}

impl<P: Instance + Stats> StatsGuest for Component<P> {
    fn read(pods: Vec<PodId>) -> Result<Vec<stats::PodUsage>> {
        with(|provider: &P| provider.read_usage(pods))
    }
}

/// Makes a [`Provider`] the component's exports, once per crate: `vk_sdk::export!(MyProvider);`
///
/// The component exports the optional interfaces that are named, and no others:
/// `vk_sdk::export!(MyProvider: Logs + Sessions + Stats);` or any part of it. The host then offers what they serve.
#[macro_export]
macro_rules! export {
    ($provider:ty $(: $interface:ident $(+ $more:ident)*)?) => {
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
            $(
                $crate::__export_interface! { $interface Component }
                $($crate::__export_interface! { $more Component })*
            )?
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    (Logs $component:ident) => {
        $crate::bindings::logs::export! { $component with_types_in $crate::bindings::logs }
    };
    (Sessions $component:ident) => {
        $crate::bindings::sessions::export! { $component with_types_in $crate::bindings::sessions }
    };
    (Stats $component:ident) => {
        $crate::bindings::stats::export! { $component with_types_in $crate::bindings::stats }
    };
    ($other:ident $component:ident) => {
        ::std::compile_error!("the optional interfaces are Logs, Sessions and Stats");
    };
}

/// A duration as the contract carries it: milliseconds, at most 49 days; longer ones are cut.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
