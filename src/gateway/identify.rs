//! Whose call it is: by its key, or else by where its connection comes from.
//! It never refuses: the gateway is open to whoever reaches it, and a caller with a key that nobody
//! has is one who is known by its address alone.
//!
//! The address is looked up once a connection, the key of each request.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
};

use ipnet::IpNet;
use tokio::net::{UnixStream, unix::UCred};

use crate::{
    config::{Caller, KeyDigest},
    decide::{
        asked::Lines,
        callers::{Granted, Principal},
    },
    telemetry::callers::{Name, Names},
};

/// Everybody who calls, as the configuration tells them apart, and what each is granted.
#[derive(Debug, Default)]
pub struct Callers {
    names: Names,
    granted: Granted,
    keys: HashMap<KeyDigest, Principal>,
    networks: Networks,
}

impl Callers {
    /// Of a configuration: no two have a name, a network or a key in common.
    pub fn new(callers: &[Caller]) -> Self {
        let numbered = || (0..).map(Principal::Named).zip(callers);
        let key = |(principal, caller): (_, &Caller)| caller.key.map(|key| (key, principal));
        Self {
            names: Names::new(callers.iter().map(|caller| caller.name.clone())),
            granted: Granted::new(callers.iter().map(|caller| caller.terms)),
            keys: numbered().filter_map(key).collect(),
            networks: numbered()
                .flat_map(|(principal, caller)| {
                    caller.networks.iter().map(move |network| (*network, principal))
                })
                .collect(),
        }
    }

    /// Who connects from this address.
    pub fn at(&self, peer: IpAddr) -> Principal {
        self.networks.of(peer).unwrap_or_else(|| Principal::at(peer))
    }

    /// Whose call this is, on a connection of `connected`. Of two keys none counts: which of them
    /// is meant is not ours to guess.
    pub fn identify(&self, connected: Principal, key: &Lines) -> Principal {
        match key {
            Lines::One(key) if self.have_keys() => {
                self.keys.get(&KeyDigest::of(key.as_bytes())).copied().unwrap_or(connected)
            }
            Lines::None | Lines::One(_) | Lines::Many => connected,
        }
    }

    /// Some caller has a key: then `X-Api-Key` is for us, and for nobody else to see.
    pub fn have_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What each is granted.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What logs and people call a caller.
    pub fn name(&self, principal: Principal) -> Name<'_> {
        self.names.of(principal)
    }

    /// All names, for the log.
    pub fn names(&self) -> Names {
        self.names.clone()
    }
}

/// Who connects on a unix socket, if the system tells (`SO_PEERCRED`).
pub fn on(socket: &UnixStream) -> Principal {
    user(socket.peer_cred())
}

fn user(told: io::Result<UCred>) -> Principal {
    told.map_or(Principal::Unknown, |user| Principal::User(user.uid()))
}

/// Networks and whose they are; of several around an address the smallest counts.
#[derive(Debug, Default)]
struct Networks {
    owners: HashMap<IpNet, Principal>,
    /// The lengths of prefix that occur: each is one lookup, however many networks there are.
    lengths: BTreeSet<u8>,
}

impl FromIterator<(IpNet, Principal)> for Networks {
    fn from_iter<T: IntoIterator<Item = (IpNet, Principal)>>(networks: T) -> Self {
        let owners: HashMap<_, _> = networks.into_iter().collect();
        let lengths = owners.keys().map(IpNet::prefix_len).collect();
        Self { owners, lengths }
    }
}

impl Networks {
    /// A caller of IPv4 on an IPv6 socket is one of IPv4.
    fn of(&self, address: IpAddr) -> Option<Principal> {
        let address = address.to_canonical();
        self.lengths.iter().rev().find_map(|length| {
            // Longer than an IPv4 address is: a network of IPv6.
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.owners.get(&network).copied()
        })
    }
}

#[cfg(test)]
mod tests;
