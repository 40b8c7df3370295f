//! Who is told from whom.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use tokio::net::UnixStream;

use super::*;
use crate::decide::callers::Terms;

const LIFE: Duration = Duration::from_secs(3600);

fn caller(name: &str, networks: &[&str], key: Option<&str>) -> Caller {
    Caller {
        name: name.to_owned(),
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        certificates: Vec::new(),
        key: key.map(|key| KeyDigest::of(key.as_bytes())),
        uids: Vec::new(),
        claims: BTreeMap::new(),
        terms: Terms::default(),
        policy: Policy::default(),
    }
}

fn with_mode(mode: Mode, callers: &[Caller]) -> Callers {
    Callers::new(callers, mode, Tokens::new(LIFE, LIFE, Instant::now()), None)
}

/// A token that it got by its key.
async fn issued(callers: &Callers, name: &str, key: &str) -> SecretString {
    let login = Login { name: name.to_owned(), key: key.into() };
    callers.tokens.issue(callers.entitled(&login), Instant::now()).await.unwrap()
}

fn open(callers: &[Caller]) -> Callers {
    with_mode(Mode::Open, callers)
}

fn asked(fields: &[(&'static str, &str)]) -> Asked {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Asked::of(&headers)
}

/// Who it is, or the code of the refusal and what it says.
fn identified(
    callers: &Callers,
    connected: Principal,
    fields: &[(&'static str, &str)],
) -> Result<Principal, &'static str> {
    match callers.identify(connected, &asked(fields)) {
        Ok(Identity::Known(principal)) => Ok(principal),
        Ok(Identity::Unverified(token)) => panic!("{token} is to be verified"),
        Err(Failure::CallerUnknown(why)) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn key(key: &str) -> [(&'static str, &str); 1] {
    [("x-api-key", key)]
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_certificate_is_its_callers_by_any_of_its_names_and_nobodys_with_the_names_of_two() {
    let name = |text: &str| CertName::CommonName(text.to_owned());
    let shows = |who: &str, names: &[&str]| Caller {
        certificates: names.iter().map(|text| name(text)).collect(),
        ..caller(who, &[], None)
    };
    let callers = open(&[shows("a", &["a", "a2"]), shows("b", &["b"])]);
    let of = |names: &[&str]| callers.certified(&names.iter().map(|n| name(n)).collect::<Vec<_>>());
    assert_eq!(of(&["a"]), Some(Principal::Named(0)));
    assert_eq!(of(&["x", "a2", "a"]), Some(Principal::Named(0)));
    assert_eq!(of(&["b"]), Some(Principal::Named(1)));
    for nobody in [&["a", "b"][..], &["A"], &["x"], &[]] {
        assert_eq!(of(nobody), None, "{nobody:?}");
    }
    assert_eq!(callers.certified(&[CertName::Dns("a".to_owned())]), None, "another kind of name");
}

#[test]
fn the_smallest_network_around_an_address_names_its_caller() {
    let callers = open(&[
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
    let callers = open(&[caller("billing", &["10.2.0.0/16"], None)]);
    assert_eq!(callers.at(at("10.3.0.1")), Principal::Address(at("10.3.0.1")));
    assert_eq!(callers.at(at("2001:db8::1:2:3:4")), Principal::Address(at("2001:db8::")));
    assert_eq!(callers.at(at("2001:db8::1")), callers.at(at("2001:db8::2")));
    assert_eq!(callers.name(callers.at(at("2001:db8::1"))).to_string(), "2001:db8::/64");
}

#[test]
fn a_key_names_its_caller_wherever_it_calls_from() {
    let callers = open(&[
        caller("here", &["10.2.0.0/16"], Some("the-key-of-here")),
        caller("there", &[], Some("the-key-of-there")),
    ]);
    let connected = callers.at(at("10.2.0.1"));
    assert_eq!(connected, Principal::Named(0));
    assert_eq!(identified(&callers, connected, &key("the-key-of-there")), Ok(Principal::Named(1)));
    let nobody = Principal::Unknown;
    assert_eq!(identified(&callers, nobody, &key("the-key-of-here")), Ok(Principal::Named(0)));
    assert_eq!(identified(&callers, connected, &[]), Ok(connected));
}

#[test]
fn an_unknown_key_and_two_keys_are_as_none() {
    let callers = open(&[caller("billing", &[], Some("the-key-of-billing"))]);
    let connected = callers.at(at("10.2.0.1"));
    for unknown in ["the-key-of-nobody", "", "the-key-of-billing ", "The-Key-Of-Billing"] {
        assert_eq!(identified(&callers, connected, &key(unknown)), Ok(connected), "{unknown}");
    }
    let [one] = key("the-key-of-billing");
    assert_eq!(identified(&callers, connected, &[one, one]), Ok(connected));
}

#[test]
fn without_a_caller_that_has_a_key_no_key_is_looked_at() {
    let callers = open(&[caller("billing", &["10.2.0.0/16"], None)]);
    assert!(!callers.have_keys());
    let nobody = Principal::Unknown;
    assert_eq!(identified(&callers, nobody, &key("any")), Ok(nobody));
}

#[test]
fn only_a_caller_with_a_name_has_terms_of_its_own() {
    let mut named = caller("billing", &[], Some("the-key-of-billing"));
    named.terms.weight = 7.try_into().unwrap();
    let callers = open(&[named.clone()]);
    assert_eq!(callers.granted().terms(Principal::Named(0)), named.terms);
    for other in [Principal::Named(1), callers.at(at("10.2.0.1")), Principal::User(0)] {
        assert_eq!(callers.granted().terms(other), Terms::default());
    }
}

#[tokio::test]
async fn on_a_unix_socket_the_user_is_known_if_the_system_tells() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let ours = Connected::on(&ours);
    assert_eq!(open(&[]).connected(&ours), Principal::User(uid));
    assert_eq!(open(&[]).connected(&Connected::unknown()), Principal::Unknown);
    let billing = Caller { uids: vec![uid + 1, uid], ..caller("billing", &[], None) };
    assert_eq!(open(&[billing]).connected(&ours), Principal::Named(0));
}

/// Where callers must be known.
fn strict() -> Callers {
    with_mode(
        Mode::Key,
        &[
            caller("billing", &[], Some("the-key-of-billing")),
            caller("here", &["10.2.0.0/16"], None),
        ],
    )
}

#[test]
fn where_callers_must_be_known_nobody_passes_for_want_of_a_credential() {
    let callers = strict();
    let stranger = callers.at(at("10.3.0.1"));
    assert_eq!(identified(&callers, stranger, &[]), Err(SHOW));
    for empty in ["Bearer ", "Bearer"] {
        assert_eq!(identified(&callers, stranger, &[("authorization", empty)]), Err(SHOW));
    }
    assert_eq!(identified(&callers, Principal::User(0), &[]), Err(SHOW));
    assert_eq!(identified(&callers, callers.at(at("10.2.0.1")), &[]), Ok(Principal::Named(1)));
}

#[test]
fn where_callers_must_be_known_a_wrong_credential_is_worse_than_none() {
    let callers = strict();
    for connected in [callers.at(at("10.3.0.1")), callers.at(at("10.2.0.1"))] {
        let refused =
            |fields: &[(&'static str, &str)]| identified(&callers, connected, fields).unwrap_err();
        assert_eq!(refused(&key("the-key-of-nobody")), WRONG);
        assert_eq!(refused(&[("x-api-key", "the-key-of-billing"); 2]), WRONG);
        for authorization in ["Basic YQ==", "Bearer opaque", "Bearer a.b.c", "Negotiate x"] {
            assert_eq!(refused(&[("authorization", authorization)]), WRONG, "{authorization}");
        }
        let ended = bearer(&format!("gpl_{}", "a".repeat(43)));
        assert_eq!(refused(&[("authorization", &ended)]), TOKEN_UNKNOWN);
    }
}

#[test]
fn a_name_counts_only_with_its_own_key() {
    let callers = with_mode(
        Mode::Key,
        &[caller("a", &[], Some("the-key-of-a")), caller("b", &[], Some("the+key%2Dof-b"))],
    );
    let login =
        |name: &str, key: &str| callers.login(&Login { name: name.into(), key: key.into() });
    assert_eq!(login("a", "the-key-of-a"), Some(Principal::Named(0)));
    assert_eq!(login("b", "the+key%2Dof-b"), Some(Principal::Named(1)));
    assert_eq!(login("b", "the%2Bkey%252Dof-b"), Some(Principal::Named(1)), "form-encoded");
    for (name, key) in [
        ("a", "the+key%2Dof-b"),
        ("b", "the-key-of-a"),
        ("", "the-key-of-a"),
        ("A", "the-key-of-a"),
    ] {
        assert_eq!(login(name, key), None, "{name} {key}");
    }
}

#[tokio::test]
async fn a_token_of_ours_is_its_callers_wherever_it_is_used() {
    let callers = strict();
    let token = issued(&callers, "billing", "the-key-of-billing").await;
    let field = bearer(token.expose_secret());
    let stranger = callers.at(at("10.3.0.1"));
    let fields = [("authorization", field.as_str())];
    assert_eq!(identified(&callers, stranger, &fields), Ok(Principal::Named(0)));
    callers.tokens.revoke(token.expose_secret());
    assert_eq!(identified(&callers, stranger, &fields), Err(TOKEN_UNKNOWN));
}

#[test]
fn only_a_caller_with_rules_has_a_policy() {
    let mut named = caller("reader", &[], Some("the-key-of-reader"));
    named.policy = Policy::new(Vec::new(), Vec::new(), true, false);
    let callers = with_mode(Mode::Key, &[named, caller("free", &[], Some("the-key-of-free"))]);
    assert!(callers.policy(Principal::Named(0)).is_some());
    for free in [Principal::Named(1), Principal::Named(9), Principal::Unknown] {
        assert!(callers.policy(free).is_none());
    }
}

#[tokio::test]
async fn a_token_is_nobodys_once_its_caller_is_gone_and_its_callers_again_when_it_is_back() {
    let [a, b] = ["a", "b"].map(|name| caller(name, &[], Some(name)));
    let before = with_mode(Mode::Key, std::slice::from_ref(&a));
    let token = issued(&before, "a", "a").await;
    let bearer = bearer(token.expose_secret());
    let shown = [("authorization", bearer.as_str())];
    let found = |callers: &Callers| identified(callers, Principal::Unknown, &shown);
    assert_eq!(found(&before), Ok(Principal::Named(0)));
    let without = before.renewed(std::slice::from_ref(&b), Mode::Key).unwrap();
    assert_eq!(found(&without), Err(TOKEN_UNKNOWN));
    assert_eq!(without.local(token.expose_secret()).await.unwrap(), None);
    assert_eq!((without.named("a"), without.named("b")), (None, Some(Principal::Named(1))));
    let again = without.renewed(&[b, a], Mode::Key).unwrap();
    assert_eq!(found(&again), Ok(Principal::Named(0)));
}

#[test]
fn names_that_never_end_and_the_first_claims_take_a_restart() {
    let before = with_mode(Mode::Key, &[]);
    let claims = BTreeMap::from([("azp".to_owned(), "crm".to_owned())]);
    let claimed = Caller { claims, ..caller("crm", &[], None) };
    assert_eq!(before.renewed(&[claimed], Mode::Key).unwrap_err(), TakesRestart::Claims);
    let many = |word: &str| (0..600).map(|n| caller(&format!("{word}{n}"), &[], None)).collect();
    let (some, others): (Vec<_>, Vec<_>) = (many("a"), many("b"));
    let after = before.renewed(&some, Mode::Key).unwrap();
    assert_eq!(after.can_become(&others).unwrap_err(), TakesRestart::Names);
    assert_eq!(after.renewed(&others, Mode::Key).unwrap_err(), TakesRestart::Names);
    // One that is refused takes no place.
    assert!(after.renewed(&others[..400], Mode::Key).is_ok());
}
