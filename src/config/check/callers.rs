//! `[[caller]]`: who calls, by what they are told apart, and what each is granted.
//! It never lets one address or one key mean two callers, and never quotes a key.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use ipnet::IpNet;

use super::rate_limit::MOST;
use crate::{
    config::{
        Caller, KeyDigest,
        credential::{not_a_word, read, without_newline},
        file::Key,
        read::{Checked, Read, Settings},
        redact::looks_like_a_path,
        report::{Place, Problem},
        tables::Tables,
    },
    decide::callers::Terms,
};

const NAME: Key = Key("caller", "name");
const NETWORKS: Key = Key("caller", "networks");
const KEY_SHA256: Key = Key("caller", "key_sha256");
const KEY_FILE: Key = Key("caller", "key_file");
const WEIGHT: Key = Key("caller", "weight");
const REQUESTS_PER_MINUTE: Key = Key("caller", "requests_per_minute");
const MAX_WAIT: Key = Key("caller", "max_wait");
const MAX_QUEUE: Key = Key("caller", "max_queue");

/// The keys of one caller.
pub(in crate::config) const OF_A_CALLER: [&str; 8] = [
    NAME.1,
    NETWORKS.1,
    KEY_SHA256.1,
    KEY_FILE.1,
    WEIGHT.1,
    REQUESTS_PER_MINUTE.1,
    MAX_WAIT.1,
    MAX_QUEUE.1,
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
/// A shorter key can be guessed by trying.
const SHORTEST_KEY: usize = 16;

/// One caller, and where its parts stand.
struct Written {
    caller: Caller,
    name: Place,
    networks: Vec<Place>,
    key: Place,
}

/// Every `[[caller]]`, in the file's order.
pub(super) fn callers(settings: &mut Settings<'_>) -> Checked<Vec<Caller>> {
    let mut written = Vec::new();
    let all = settings.tables(&CALLERS, |own, table| {
        written.push(caller(own, table)?);
        Ok(())
    });
    // Those that are well written must be apart, whatever the others have.
    apart(settings, written.iter());
    all?;
    Ok(written.into_iter().map(|written| written.caller).collect())
}

fn caller(own: &mut Settings<'_>, table: &Place) -> Checked<Written> {
    let name = name(own, table);
    let networks = own.list(NETWORKS, "10.2.0.0/16", |text, place| {
        network(text, place).map(|network| (network, place.clone()))
    });
    let key = key(own);
    let terms = terms(own);
    if let (Ok(networks), Ok(None)) = (&networks, &key)
        && networks.is_empty()
    {
        own.report(Problem::at(table, "nothing tells this [[caller]] from others").hint(
            "write networks = [\"10.2.0.0/16\"], key_file = \"/path\" or key_sha256 = \"…\"",
        ));
    }
    let (name, (networks, places), key) =
        (name?, networks?.into_iter().unzip::<_, _, Vec<_>, _>(), key?);
    let (key, key_place) = key.unzip();
    Ok(Written {
        caller: Caller { name, networks, key, terms: terms? },
        name: own.place(NAME),
        networks: places,
        key: key_place.unwrap_or(Place::Nowhere),
    })
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

/// The digest of the key that it sends, and where it is said.
fn key(own: &mut Settings<'_>) -> Checked<Option<(KeyDigest, Place)>> {
    let given = own.text(KEY_SHA256, "64 hex digits", |text, place| {
        let wrong = |what: &str| {
            Problem::at(place, format!("`{KEY_SHA256}` {what}"))
                .hint("write the 64 digits that `printf %s \"$KEY\" | sha256sum` prints")
        };
        let digest = KeyDigest::parse(text).ok_or_else(|| wrong("is not a SHA-256 digest"))?;
        if [&b""[..], b"\n"].iter().any(|nothing| digest == KeyDigest::of(nothing)) {
            return Err(wrong("is the digest of nothing"));
        }
        Ok((digest, place.clone()))
    });
    let file = own
        .text(KEY_FILE, "/run/secrets/billing", |text, place| Ok((text.to_owned(), place.clone())));
    let file = file.and_then(|file| {
        let Some((text, place)) = file else { return Ok(None) };
        let full = own.resolve(&text, &place);
        let read = key_in(&full, &text, &place).map_err(|problem| own.report(problem))?;
        Ok(Some((read, place)))
    });
    let (given, file) = (given?, file?);
    if let (Some((_, digest)), Some((_, file))) = (&given, &file) {
        return Err(own.report(
            Problem::at(file, format!("`{KEY_FILE}` and `{KEY_SHA256}` are two keys"))
                .against("this is another", digest, "this is one")
                .hint("keep one of them; two keys are two callers"),
        ));
    }
    Ok(given.or(file))
}

/// Of the key that a file holds.
fn key_in(full: &Path, path: &str, place: &Place) -> Read<KeyDigest> {
    // Somebody may have put the key where its file's name goes.
    let shown = if looks_like_a_path(path) { path } else { "its file" };
    let wrong = |what: String| Problem::at(place, format!("`{KEY_FILE}`: {what}"));
    let bytes = read(full).map_err(|error| {
        wrong(format!("cannot read {shown}: {error}"))
            .hint("check the path and its permissions, as the user that runs the gateway")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        wrong(format!("{shown} is not text")).hint("it should hold the key and nothing else")
    })?;
    let key = without_newline(text);
    if let Some(reason) = not_a_word(key) {
        return Err(wrong(format!("the key {reason}"))
            .hint("the file should hold the key and nothing else, on one line"));
    }
    if key.len() < SHORTEST_KEY {
        return Err(wrong(format!("the key is shorter than {SHORTEST_KEY} characters"))
            .hint("make one with `openssl rand -hex 32`"));
    }
    Ok(KeyDigest::of(key.as_bytes()))
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

/// No two with one name, one network or one key.
fn apart<'a>(settings: &mut Settings<'_>, callers: impl Iterator<Item = &'a Written>) {
    let (mut names, mut networks, mut keys) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut twice = |place: &Place, first: &Place, what: String, hint: &str| {
        let problem = Problem::at(place, what).against("this is another", first, "this is one");
        settings.report(problem.hint(hint));
    };
    for written in callers {
        let Caller { name, networks: own, key, .. } = &written.caller;
        if let Some(first) = earlier(&mut names, name, &written.name) {
            let what = format!("two callers have the name `{name}`");
            twice(&written.name, first, what, "give each a name of its own");
        }
        for (network, place) in own.iter().zip(&written.networks) {
            if let Some(first) = earlier(&mut networks, network, place) {
                let hint = "an address has one caller: remove it from one; a smaller network \
                            within a larger one is fine";
                twice(place, first, format!("`{network}` is there twice"), hint);
            }
        }
        if let Some(first) = key.and_then(|key| earlier(&mut keys, key, &written.key)) {
            let what = "two callers have the same key".to_owned();
            twice(&written.key, first, what, "give each a key of its own");
        }
    }
}

/// Where the same was said before, if it was.
fn earlier<'a, T: Ord>(
    said: &mut BTreeMap<T, &'a Place>,
    what: T,
    place: &'a Place,
) -> Option<&'a Place> {
    match said.entry(what) {
        Entry::Occupied(first) => Some(first.get()),
        Entry::Vacant(none) => {
            none.insert(place);
            None
        }
    }
}
