//! Who is told from whom.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::decide::callers::Terms;

fn caller(name: &str, networks: &[&str], key: Option<&str>) -> Caller {
    Caller {
        name: name.to_owned(),
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        key: key.map(|key| KeyDigest::of(key.as_bytes())),
        terms: Terms::default(),
    }
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn key(key: &'static str) -> Lines {
    Lines::One(HeaderValue::from_static(key))
}

#[test]
fn the_smallest_network_around_an_address_names_its_caller() {
    let callers = Callers::new(&[
        caller("all", &["10.0.0.0/8", "0.0.0.0/0"], None),
        caller("some", &["10.2.0.0/16", "2001:db8::/32"], None),
        caller("one", &["10.2.3.4/32", "2001:db8::7/128"], None),
    ]);
    for (address, number) in [
        ("192.0.2.1", Some(0)),
        ("10.1.2.3", Some(0)),
        ("10.2.3.3", Some(1)),
        ("10.2.3.4", Some(2)),
        ("::ffff:10.2.3.4", Some(2)),
        ("2001:db8::7", Some(2)),
        ("2001:db8::8", Some(1)),
        ("2001:db9::7", None),
    ] {
        let expected = number.map_or_else(|| Principal::at(at(address)), Principal::Named);
        assert_eq!(callers.at(at(address)), expected, "{address}");
    }
}

#[test]
fn who_is_in_no_network_is_its_address_and_of_ipv6_its_64() {
    let callers = Callers::new(&[caller("billing", &["10.2.0.0/16"], None)]);
    assert_eq!(callers.at(at("10.3.0.1")), Principal::Address(at("10.3.0.1")));
    assert_eq!(callers.at(at("2001:db8::1:2:3:4")), Principal::Address(at("2001:db8::")));
    assert_eq!(callers.at(at("2001:db8::1")), callers.at(at("2001:db8::2")));
    assert_eq!(callers.name(callers.at(at("2001:db8::1"))).to_string(), "2001:db8::/64");
}

#[test]
fn a_key_names_its_caller_wherever_it_calls_from() {
    let callers = Callers::new(&[
        caller("here", &["10.2.0.0/16"], Some("the-key-of-here")),
        caller("there", &[], Some("the-key-of-there")),
    ]);
    let connected = callers.at(at("10.2.0.1"));
    assert_eq!(connected, Principal::Named(0));
    assert_eq!(callers.identify(connected, &key("the-key-of-there")), Principal::Named(1));
    assert_eq!(callers.identify(Principal::Unknown, &key("the-key-of-here")), Principal::Named(0));
    assert_eq!(callers.identify(connected, &Lines::None), connected);
}

#[test]
fn an_unknown_key_and_two_keys_are_as_none() {
    let callers = Callers::new(&[caller("billing", &[], Some("the-key-of-billing"))]);
    let connected = callers.at(at("10.2.0.1"));
    for unknown in ["the-key-of-nobody", "", "the-key-of-billing ", "The-Key-Of-Billing"] {
        assert_eq!(callers.identify(connected, &key(unknown)), connected, "{unknown}");
    }
    assert_eq!(callers.identify(connected, &Lines::Many), connected);
}

#[test]
fn without_a_caller_that_has_a_key_no_key_is_looked_at() {
    let callers = Callers::new(&[caller("billing", &["10.2.0.0/16"], None)]);
    assert!(!callers.have_keys());
    assert_eq!(callers.identify(Principal::Unknown, &key("any")), Principal::Unknown);
}

#[test]
fn only_a_caller_with_a_name_has_terms_of_its_own() {
    let mut named = caller("billing", &[], Some("the-key-of-billing"));
    named.terms.weight = 7.try_into().unwrap();
    let callers = Callers::new(&[named.clone()]);
    assert_eq!(callers.granted().terms(Principal::Named(0)), named.terms);
    for other in [Principal::Named(1), callers.at(at("10.2.0.1")), Principal::User(0)] {
        assert_eq!(callers.granted().terms(other), Terms::default());
    }
}

#[tokio::test]
async fn on_a_unix_socket_the_user_is_known_if_the_system_tells() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(on(&ours), Principal::User(rustix::process::geteuid().as_raw()));
    assert_eq!(user(Err(io::Error::other("no"))), Principal::Unknown);
}

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
