//! Whose an address is, by the networks of the configuration.
//! It never looks at more than one network a length of prefix, however many there are.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::decide::callers::Principal;

/// Networks and whose they are; of several around an address the smallest counts.
#[derive(Debug, Default)]
pub(super) struct Networks {
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
    pub(super) fn of(&self, address: IpAddr) -> Option<Principal> {
        let address = address.to_canonical();
        self.lengths.iter().rev().find_map(|length| {
            // Longer than an IPv4 address is: a network of IPv6.
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.owners.get(&network).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few bits, so that networks overlap.
    fn address() -> impl Strategy<Value = IpAddr> {
        let bits = prop::sample::select(vec![0, 1, 2, 0x80, 0xff]);
        prop::collection::vec(bits, 4).prop_flat_map(|bits| {
            let [a, b, c, d] = bits[..] else { unreachable!() };
            let v6 = [0x2001, 0xdb8, a.into(), b.into(), 0, 0, c.into(), d.into()];
            prop_oneof![
                Just(IpAddr::from([a, b, c, d])),
                Just(IpAddr::from(v6)),
                Just(IpAddr::V6(std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped())),
            ]
        })
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0..=128_u8).prop_map(|(address, length)| {
            let address = address.to_canonical();
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, length.min(most)).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn networks_are_found_as_by_looking_at_each(
            networks in prop::collection::hash_map(network(), (0..9_u16).prop_map(Principal::Named), 0..40),
            peers in prop::collection::vec(address(), 1..20),
        ) {
            let table: Networks = networks.iter().map(|(network, owner)| (*network, *owner)).collect();
            for peer in peers {
                let around = networks.iter().filter(|(network, _)| network.contains(&peer.to_canonical()));
                let smallest = around.max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(table.of(peer), smallest.map(|(_, owner)| *owner));
            }
        }
    }
}
