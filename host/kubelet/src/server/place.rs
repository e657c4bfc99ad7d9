//! A connection's place: one of few while nobody knows whose it is, one of many once somebody who is known has asked on it.
//! So strangers, of whom there may be any number, take no place from those who are known.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use super::{Limits, Slot, Slots};
use crate::metrics::{Counted, Metrics};

/// The places that there are.
pub(super) struct Places {
    strangers: Slots<IpAddr>,
    known: Slots<IpAddr>,
    metrics: Metrics,
}

impl Places {
    pub(super) fn new(limits: &Limits, metrics: Metrics) -> Self {
        Self {
            strangers: Slots::new(limits.unauthenticated_connections_per_address, limits.unauthenticated_connections),
            known: Slots::new(limits.connections_per_address, limits.connections),
            metrics,
        }
    }

    /// A stranger's place; `None`: there is none left.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let slot = self.strangers.take(&network)?;
        Some(Place {
            network,
            known: self.known.clone(),
            held: Mutex::new(Held { _slot: slot, is_known: false }),
            _counted: Counted::new(&self.metrics.connections),
        })
    }
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place {
    network: IpAddr,
    known: Slots<IpAddr>,
    held: Mutex<Held>,
    _counted: Counted,
}

#[derive(Debug)]
struct Held {
    _slot: Slot<IpAddr>,
    is_known: bool,
}

impl Place {
    /// Moves over to the places of the known. `false`: there is none left, and the connection stays where it is.
    pub(super) fn settle(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.is_known
            && let Some(slot) = self.known.take(&self.network)
        {
            *held = Held { _slot: slot, is_known: true };
        }
        held.is_known
    }

    pub(super) fn is_settled(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_known
    }
}

/// What counts as one address: of IPv6, all that one host usually has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 4,
            connections_per_address: 3,
            unauthenticated_connections: 2,
            unauthenticated_connections_per_address: 1,
            ..Limits::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_take_no_place_from_those_who_are_known() {
        let places = Places::new(&limits(), Metrics::default());
        let known: Vec<_> = (0..3).map(|_| places.enter(address("10.0.0.1")).unwrap()).filter(Place::settle).collect();
        assert_eq!(known.len(), 3);
        let stranger = places.enter(address("10.0.0.1")).unwrap();
        assert!(places.enter(address("10.0.0.1")).is_none(), "one address has one");
        let another = places.enter(address("10.0.0.2")).unwrap();
        assert!(places.enter(address("10.0.0.3")).is_none(), "all have two");
        assert!(!stranger.settle() && !stranger.is_settled(), "three of one address are known");
        assert!(another.settle() && another.settle() && another.is_settled());
        assert!(places.enter(address("10.0.0.3")).is_some());
        drop(known);
        assert!(stranger.settle());
    }

    #[test]
    fn a_network_of_one_host_is_one_address() {
        let places = Places::new(&limits(), Metrics::default());
        let _first = places.enter(address("2001:db8::1")).unwrap();
        assert!(places.enter(address("2001:db8::ffff:1")).is_none());
        let _second = places.enter(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_ne!(network(address("2001:db8:0:1::1")), network(address("2001:db8::1")));
    }
}
