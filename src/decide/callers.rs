//! Whose call it is, and what that caller is granted.
//! It never tells anybody apart by what a caller can make up for each call.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Address(IpAddr),
    /// A user id, on a unix socket.
    User(u32),
    /// A socket that tells nothing.
    Unknown,
}

/// One who calls. Calls of one are served in one line; between several, turns are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The n-th `[[caller]]` of the configuration, from 0.
    Named(u16),
    /// Somebody at this address: of IPv6, the /64 network, as one host has all of it.
    Address(IpAddr),
    /// Somebody with this user id, on a unix socket.
    User(u32),
    /// A socket that tells nothing.
    Unknown,
}

impl Principal {
    /// Whoever calls from this address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// What a caller is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its share while others wait, too: twice the weight, twice the turns.
    pub weight: NonZeroU32,
    /// Its own ceiling of calls in a window.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How many of its calls may wait at once; `None`: as many as may wait at all.
    pub max_queue: Option<usize>,
    /// How long its calls wait; `None`: as everybody's.
    pub max_wait: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { weight: NonZeroU32::MIN, requests_per_minute: None, max_queue: None, max_wait: None }
    }
}

/// What each named caller is granted, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Granted(Arc<[Terms]>);

impl Granted {
    /// One after the other.
    pub fn new(terms: impl IntoIterator<Item = Terms>) -> Self {
        Self(terms.into_iter().collect())
    }

    /// What a caller is granted; one without a name, what everybody is.
    pub fn terms(&self, principal: Principal) -> Terms {
        match principal {
            Principal::Named(number) => {
                self.0.get(usize::from(number)).copied().unwrap_or_default()
            }
            Principal::Address(_) | Principal::User(_) | Principal::Unknown => Terms::default(),
        }
    }

    /// Some have a ceiling of their own.
    pub fn have_ceilings(&self) -> bool {
        self.0.iter().any(|terms| terms.requests_per_minute.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_caller_whatever_addresses_it_has() {
        let at = |text: &str| Principal::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.7"), at("10.0.0.7"));
        assert_ne!(at("10.0.0.7"), at("10.0.0.8"));
    }
}
