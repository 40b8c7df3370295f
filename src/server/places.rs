//! Places for callers' connections: so many in all, and so many of one address.
//! It never makes one address wait for another: who has too many is sent away, the rest wait.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    config::{Access, PerAddress},
    decide::callers::Principal,
    gateway::Place,
    telemetry::{metrics::Metrics, seldom::Seldom},
};

/// All of them, whichever worker accepts.
#[derive(Debug)]
pub struct Places {
    total: Arc<Semaphore>,
    each: PerAddress,
    /// By address; of IPv6 the /64 network, as one host has all of it.
    open: Mutex<HashMap<IpAddr, usize>>,
    refused: Seldom,
    metrics: Arc<Metrics>,
}

/// One of its address's connections, until it is dropped.
pub struct Seat {
    places: Arc<Places>,
    /// `None`: not counted.
    address: Option<IpAddr>,
}

impl Places {
    /// As `[access]` says.
    pub fn new(access: &Access, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            total: Arc::new(Semaphore::new(access.max_connections)),
            each: access.max_connections_per_address,
            open: Mutex::default(),
            refused: Seldom::new(),
            metrics,
        })
    }

    /// For one who connects from `peer`; `None` when that address has enough.
    pub fn seat(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let exempt = peer.to_canonical().is_loopback() && !self.each.loopback;
        let (Some(most), false, Principal::Address(address)) =
            (self.each.most, exempt, Principal::at(peer))
        else {
            return Some(self.anywhere());
        };
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= most.get() {
            drop(open);
            self.refuse(address);
            return None;
        }
        *count += 1;
        Some(Seat { places: Arc::clone(self), address: Some(address) })
    }

    /// For one without an address.
    pub fn anywhere(self: &Arc<Self>) -> Seat {
        Seat { places: Arc::clone(self), address: None }
    }

    fn refuse(&self, address: IpAddr) {
        self.metrics.connection_refused("address");
        if let Some(left_out) = self.refused.say(Instant::now()) {
            tracing::warn!(
                %address,
                left_out,
                "closed at once: the address has access.max_connections_per_address open"
            );
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits for a place among all.
    pub async fn place(self) -> Option<Place> {
        let place = Arc::clone(&self.places.total).acquire_owned().await.ok()?;
        Some(self.with(place))
    }

    /// One that is free now.
    pub fn place_now(self) -> Option<Place> {
        let place = Arc::clone(&self.places.total).try_acquire_owned().ok()?;
        Some(self.with(place))
    }

    fn with(self, place: OwnedSemaphorePermit) -> Place {
        let open = self.places.metrics.process.connection();
        Box::new((place, self, open))
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = self.places.open().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn places(most: usize, loopback: bool) -> Arc<Places> {
        Arc::new(Places {
            total: Arc::new(Semaphore::new(100)),
            each: PerAddress { most: NonZeroUsize::new(most), loopback },
            open: Mutex::default(),
            refused: Seldom::new(),
            metrics: Arc::default(),
        })
    }

    fn seats(places: &Arc<Places>, from: &[&str]) -> Vec<Option<Seat>> {
        from.iter().map(|address| places.seat(address.parse().unwrap())).collect()
    }

    #[test]
    fn of_one_address_no_more_than_so_many_and_of_ipv6_its_network_is_one() {
        let places = places(2, false);
        let mut taken = seats(&places, &["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(
            taken.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, false, true]
        );
        let six =
            seats(&places, &["2001:db8::1", "2001:db8::ffff:2", "2001:db8::3", "2001:db9::1"]);
        assert_eq!(six.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
        taken.remove(0);
        assert!(places.seat("10.0.0.1".parse().unwrap()).is_some(), "one has gone");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let places = places(2, false);
        drop(seats(&places, &["10.0.0.1", "10.0.0.1", "10.0.0.2"]));
        assert!(places.open().is_empty());
    }

    #[test]
    fn this_machine_is_held_to_what_was_written_only_and_nobody_to_zero() {
        for (most, loopback, expected) in [(1, false, true), (1, true, false), (0, true, true)] {
            let places = places(most, loopback);
            for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                let second = seats(&places, &[address, address]).remove(1);
                assert_eq!(second.is_some(), expected, "{most} {loopback} {address}");
            }
        }
    }
}
