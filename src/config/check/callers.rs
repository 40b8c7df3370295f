//! `[[caller]]`: who calls, by what they are told apart, and what each is granted.
//! It never lets one address or one key mean two callers, and never quotes a key.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use ipnet::IpNet;

use super::{access, jwt, keys, rate_limit::MOST, tls};
use crate::{
    config::{
        Caller, Mode,
        file::Key,
        read::{Checked, Read, Settings},
        report::{Place, Problem},
        tables::Tables,
    },
    decide::{callers::Terms, policy::Policy},
};

const NAME: Key = Key("caller", "name");
const NETWORKS: Key = Key("caller", "networks");
const KEY_SHA256: Key = Key("caller", "key_sha256");
const KEY_FILE: Key = Key("caller", "key_file");
const CLIENT_CERT: Key = Key("caller", "client_cert");
const WEIGHT: Key = Key("caller", "weight");
const REQUESTS_PER_MINUTE: Key = Key("caller", "requests_per_minute");
const MAX_WAIT: Key = Key("caller", "max_wait");
const MAX_QUEUE: Key = Key("caller", "max_queue");
const UIDS: Key = Key("caller", "uids");
const CLAIMS: Key = Key("caller", "claims");
const ALLOW: Key = Key("caller", "allow");
const DENY: Key = Key("caller", "deny");
const READ_ONLY: Key = Key("caller", "read_only");
const OBSERVE: Key = Key("caller", "observe");

/// The keys of one caller.
pub(in crate::config) const OF_A_CALLER: [&str; 15] = [
    NAME.1,
    NETWORKS.1,
    KEY_SHA256.1,
    KEY_FILE.1,
    CLIENT_CERT.1,
    WEIGHT.1,
    REQUESTS_PER_MINUTE.1,
    MAX_WAIT.1,
    MAX_QUEUE.1,
    UIDS.1,
    CLAIMS.1,
    ALLOW.1,
    DENY.1,
    READ_ONLY.1,
    OBSERVE.1,
];

const CALLERS: Tables = Tables {
    key: Key("", "caller"),
    section: "caller",
    keys: &OF_A_CALLER,
    one: "[[caller]]",
    inline: "write [{ name = \"billing\", networks = [\"10.2.0.0/16\"] }]",
    hint: "write [[caller]] above each caller's keys",
    fewer: "give callers that may share one weight one [[caller]], with their networks",
};

const LONGEST_NAME: usize = 64;

/// One caller, and where its parts stand.
struct Written {
    caller: Caller,
    name: Place,
    networks: Vec<Place>,
    key: Place,
    uids: Place,
    claims: Place,
    certificate: Place,
}

/// By what callers can be known at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownBy {
    /// There is an identity provider, whose tokens have claims.
    pub(super) claims: bool,
    /// Callers are asked for a certificate.
    pub(super) certificates: bool,
    /// Nobody needs to be known.
    pub(super) open: bool,
}

/// Every `[[caller]]`, in the file's order.
pub(super) fn callers(settings: &mut Settings<'_>, known_by: KnownBy) -> Checked<Vec<Caller>> {
    let mut written = Vec::new();
    let all = settings.tables(&CALLERS, |own, table| {
        written.push(caller(own, table)?);
        Ok(())
    });
    // Those that are well written must be apart, whatever the others have.
    apart(settings, written.iter());
    hidden(settings, &written);
    for written in written.iter().filter(|written| !written.caller.claims.is_empty()) {
        if !known_by.claims {
            settings.report(
                Problem::at(&written.claims, format!("`{CLAIMS}` are of no identity provider"))
                    .hint("say whose tokens they are in: issuer, audience and jwks_url in [jwt]"),
            );
        }
    }
    for Written { caller, name, .. } in written.iter().filter(|_| !known_by.open) {
        if caller.networks.iter().any(|network| network.prefix_len() == 0) {
            let what = format!("everybody is `{}`: its networks are all addresses", caller.name);
            settings.report(Problem::at(name, what).hint(
                "name the networks that it calls from; where the network itself keeps strangers out, \
                 write mode = \"open\" and start with --insecure-open-listener",
            ));
        }
    }
    for Written { caller, name, .. } in written.iter().filter(|_| known_by.open) {
        let by_where = !(caller.networks.is_empty() && caller.uids.is_empty());
        if !caller.policy.is_empty() && !by_where {
            let what =
                format!("the rules of `{}` bind nobody: it may leave its key away", caller.name);
            settings.report(Problem::at(name, what).hint(
                "set access.mode = \"key\", or tell this caller by networks or uids: while the mode is \
                 open, who shows nothing may call anything",
            ));
        }
    }
    for written in written.iter().filter(|written| !written.caller.certificates.is_empty()) {
        if !known_by.certificates {
            settings.report(
                Problem::at(
                    &written.certificate,
                    format!("`{CLIENT_CERT}` without `tls.client_ca`"),
                )
                .hint("write client_ca = \"/path\" in [tls]: the authority that issued it"),
            );
        }
    }
    all?;
    Ok(written.into_iter().map(|written| written.caller).collect())
}

fn caller(own: &mut Settings<'_>, table: &Place) -> Checked<Written> {
    let name = name(own, table);
    let networks = own.list(NETWORKS, "10.2.0.0/16", |text, place| {
        network(text, place).map(|network| (network, place.clone()))
    });
    let key = keys::digest(own, (KEY_FILE, KEY_SHA256), "two keys are two callers");
    let certificate =
        own.text(CLIENT_CERT, "CN=billing", |text, place| tls::name(CLIENT_CERT, text, place));
    let uids = own.numbers(UIDS, 1001);
    let claims = jwt::claims(own, CLAIMS);
    let terms = terms(own);
    let policy = policy(own);
    let (name, (networks, places), key) =
        (name?, networks?.into_iter().unzip::<_, _, Vec<_>, _>(), key?);
    let (key, key_place) = key.unzip();
    let (uids, claims, terms, policy) = (uids?, claims?, terms?, policy?);
    let certificates = certificate?.into_iter().collect();
    let caller = Caller { name, networks, key, uids, claims, certificates, terms, policy };
    if !caller.is_known_by_something() {
        own.report(Problem::at(table, "nothing tells this [[caller]] from others").hint(
            "write key_file = \"/path\", key_sha256 = \"…\", client_cert = \"CN=…\", networks = [\"10.2.0.0/16\"], \
             uids = [1001] or claims = { sub = \"…\" }",
        ));
    }
    Ok(Written {
        caller,
        name: own.place(NAME),
        networks: places,
        key: key_place.unwrap_or(Place::Nowhere),
        uids: own.place(UIDS),
        claims: own.place(CLAIMS),
        certificate: own.place(CLIENT_CERT),
    })
}

/// What it may call.
fn policy(own: &mut Settings<'_>) -> Checked<Policy> {
    let (allow, deny) = (access::rules(own, ALLOW), access::rules(own, DENY));
    let read_only = own.boolean(READ_ONLY, false);
    let observe = own.boolean(OBSERVE, false);
    Ok(Policy::new(allow?, deny?, read_only?, observe?))
}

/// Where callers must prove who they are, somebody can.
pub(super) fn reachable(settings: &mut Settings<'_>, mode: Mode, callers: &[Caller]) {
    if mode == Mode::Key && callers.is_empty() {
        settings.report(
            Problem::at(&settings.place(access::MODE), "nobody could call: there is no [[caller]]")
                .hint(
                    "name one: [[caller]] with name = \"billing\" and key_file = \"/path\"; make the \
                     key with `openssl rand -hex 32`",
                ),
        );
    }
}

/// What logs call it: nothing that could forge a line, or be taken for no name at all.
fn name(own: &mut Settings<'_>, table: &Place) -> Checked<String> {
    let name = own.text(NAME, "billing", |text, place| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.chars().all(plain) && text.len() <= LONGEST_NAME {
            return Ok(text.to_owned());
        }
        Err(Problem::at(place, format!("`{NAME}` is not a plain word")).hint(
            "a letter or digit, then letters, digits and -_., at most 64 in all, such as \"billing\"",
        ))
    })?;
    name.ok_or_else(|| {
        own.report(
            Problem::at(table, "`name` is missing in this [[caller]]")
                .hint("write name = \"billing\": it is what logs call it"),
        )
    })
}

fn network(text: &str, place: &Place) -> Read<IpNet> {
    let meant = |network: String| format!("did you mean \"{network}\"?");
    let hint = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(IpNet::V6(network)), _)
            if network.addr().to_ipv4_mapped().is_some() && network.prefix_len() >= 96 =>
        {
            // Callers of IPv4 on an IPv6 socket are taken for what they are.
            let v4 = IpNet::new(network.addr().to_canonical(), network.prefix_len() - 96);
            meant(v4.unwrap_or(network.into()).trunc().to_string())
        }
        (Ok(network), _) if network == network.trunc() => return Ok(network),
        (Ok(network), _) => meant(network.trunc().to_string()),
        (Err(_), Ok(address)) => meant(IpNet::from(address).to_string()),
        (Err(_), Err(_)) => {
            "an address and how many of its bits count, such as \"10.2.0.0/16\"".to_owned()
        }
    };
    Err(Problem::at(place, format!("`{NETWORKS}`: not a network")).hint(hint))
}

fn terms(own: &mut Settings<'_>) -> Checked<Terms> {
    let weight = own.number::<u32>(WEIGHT, 1, &(1..=1000));
    let rate = own.number::<u32>(REQUESTS_PER_MINUTE, 0, &(0..=u64::from(u32::MAX)));
    let max_queue = own.number::<usize>(MAX_QUEUE, 0, &(0..=MOST));
    let given = own.items.get(&MAX_WAIT).is_some_and(|item| item.value.as_str() != Some(""));
    let max_wait = given
        .then(|| own.duration(MAX_WAIT, Duration::from_mins(1), &super::FROM_ZERO_TO_HOUR))
        .transpose();
    Ok(Terms {
        weight: NonZeroU32::new(weight?).unwrap_or(NonZeroU32::MIN),
        requests_per_minute: NonZeroU32::new(rate?),
        max_queue: Some(max_queue?).filter(|most| *most > 0),
        max_wait: max_wait?,
    })
}

/// No two with one name, one network, one key, one user or the same claims.
fn apart<'a>(settings: &mut Settings<'_>, callers: impl Iterator<Item = &'a Written>) {
    let (mut names, mut networks) = (BTreeMap::new(), BTreeMap::new());
    let mut certificates = BTreeMap::new();
    let (mut keys, mut users, mut claims) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut twice = |place: &Place, first: Option<&Place>, what: String, hint: &str| {
        let Some(first) = first else { return };
        let problem = Problem::at(place, what).against("this is another", first, "this is one");
        settings.report(problem.hint(hint));
    };
    for written in callers {
        let caller = &written.caller;
        let first = names.insert(&caller.name, &written.name);
        let what = format!("two callers have the name `{}`", caller.name);
        twice(&written.name, first, what, "give each a name of its own");
        for (network, place) in caller.networks.iter().zip(&written.networks) {
            let hint = "an address has one caller: remove it from one; a smaller network within a \
                        larger one is fine";
            let first = networks.insert(network, place);
            twice(place, first, format!("`{network}` is there twice"), hint);
        }
        if let Some(key) = caller.key {
            let first = keys.insert(key, &written.key);
            let what = "two callers have the same key".to_owned();
            twice(&written.key, first, what, "give each a key of its own");
        }
        for uid in &caller.uids {
            let what = format!("the user id {uid} is there twice");
            twice(&written.uids, users.insert(uid, &written.uids), what, "a user is one caller");
        }
        if !caller.claims.is_empty() {
            let first = claims.insert(&caller.claims, &written.claims);
            let what = "two callers have the same claims".to_owned();
            twice(&written.claims, first, what, "name a claim that tells them apart");
        }
        for name in &caller.certificates {
            let first = certificates.insert(name, &written.certificate);
            let what = format!("two callers have the certificate `{name}`");
            twice(&written.certificate, first, what, "give each a certificate of its own");
        }
    }
}

/// Of several callers whose claims fit, the first counts: one that asks for more than an earlier one
/// would never be found.
fn hidden(settings: &mut Settings<'_>, written: &[Written]) {
    for (number, later) in written.iter().enumerate() {
        let fits = |earlier: &&Written| {
            let (fewer, more) = (&earlier.caller.claims, &later.caller.claims);
            let fits = fewer.iter().all(|(name, text)| more.get(name) == Some(text));
            fits && !fewer.is_empty() && fewer.len() < more.len()
        };
        let Some(earlier) = written.iter().take(number).find(fits) else { continue };
        let (own, first) = (&later.caller.name, &earlier.caller.name);
        let what = format!("nobody is `{own}` by these claims: who has them is `{first}`");
        let problem = Problem::at(&later.claims, what).against(
            "this is more",
            &earlier.claims,
            "this is enough already",
        );
        let hint = format!("write `{own}` above `{first}`, or name a claim that tells them apart");
        settings.report(problem.hint(hint));
    }
}
