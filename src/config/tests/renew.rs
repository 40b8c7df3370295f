//! What a reload takes of another configuration, and what it says of the rest.

use super::World;
use crate::config::{
    Changes, Config, Given,
    file::{Key, SECTIONS},
    load_to_renew,
};

fn loaded(toml: &str) -> (Config, Given) {
    load_to_renew(&World::new().env("EU", "hunter2-eu").toml(toml).sources).unwrap()
}

fn changes(from: &str, to: &str) -> (Changes, Config, Config) {
    let ((was, given), (is, newer)) = (loaded(from), loaded(to));
    let (changes, next) = (given.changes(&newer, &was, &is), was.renewed(&is));
    (changes, next, is)
}

fn shown(config: &Config) -> String {
    format!("{config:?}")
}

/// One value that is not the default, for each key that takes effect at once.
const LIVE: [(&str, &str, &str); 25] = [
    ("", "admin_key_sha256", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"),
    ("", "shutdown_linger", "'7s'"),
    ("", "shutdown_timeout", "'7s'"),
    ("", "caller", "[{ name = 'a', networks = ['10.0.0.0/8'] }]"),
    ("upstream", "response_timeout", "'7s'"),
    ("upstream", "idle_timeout", "'7s'"),
    ("replay", "memory_per_request", "'7KiB'"),
    ("replay", "per_request", "'2MiB'"),
    ("rate_limit", "requests_per_minute", "77"),
    ("rate_limit", "max_wait", "'7s'"),
    ("rate_limit", "max_queue", "77"),
    ("rate_limit", "max_retry_after", "'77s'"),
    ("retry", "attempts", "7"),
    ("retry", "budget", "0.7"),
    ("saving", "coalesce", "['GET /api/v2/a']"),
    ("saving", "cache", "[{ match = 'GET /api/v2/a', for = '7s' }]"),
    ("saving", "memory", "'7MiB'"),
    ("access", "require_header", "'x-seven'"),
    ("access", "hosts", "['seven.example']"),
    ("access", "origins", "['https://seven.example']"),
    ("access", "deny", "['GET /api/v2/a']"),
    ("access", "header_timeout", "'7s'"),
    ("access", "body_timeout", "'7s'"),
    ("access", "keep_alive", "'7s'"),
    ("access", "max_headers", "77"),
];

#[test]
fn what_takes_effect_at_once_is_taken_whole_and_named() {
    for (section, name, value) in LIVE {
        let table = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let (changes, next, is) = changes("", &format!("{table}{name} = {value}\n"));
        let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        assert_eq!((changes.live, changes.waiting), (vec![key.clone()], vec![]));
        assert_ne!(shown(&next), shown(&loaded("").0), "{key} changes nothing");
        assert_eq!(shown(&next), shown(&is), "{key} is not taken");
    }
    let (changes, next, is) = changes("", "[telemetry]\nlog = 'debug'\n");
    assert_eq!((changes.live, shown(&next)), (vec!["telemetry.log".to_owned()], shown(&is)));
}

#[test]
fn what_takes_a_restart_is_named_and_left_as_it_was() {
    for (toml, key) in [
        ("listen = ['127.0.0.1:9']", "listen"),
        ("admin = ''", "admin"),
        ("[upstream]\nregion = 'eu-west-1'", "upstream.region"),
        ("[upstream]\nconnect_timeout = '7s'", "upstream.connect_timeout"),
        ("[oauth]\ntokens = 2", "oauth.tokens"),
        ("[replay]\nmemory_total = '7MiB'", "replay.memory_total"),
        ("[rate_limit]\nwindow = '7s'", "rate_limit.window"),
        ("[rate_limit]\nrequests_per_minute = 0", "rate_limit.requests_per_minute"),
        ("[rate_limit]\npacing = 'even'", "rate_limit.pacing"),
        ("[access]\nmode = 'key'\n[[caller]]\nname = 'a'\nuids = [1]", "access.mode"),
        ("[access]\nmax_connections = 7", "access.max_connections"),
        ("[access]\nmax_header_bytes = '70KiB'", "access.max_header_bytes"),
        ("[store]\nurl = 'redis://127.0.0.1'", "store.url"),
        ("[telemetry]\nformat = 'json'", "telemetry.format"),
        ("[telemetry]\notlp_endpoint = 'http://[::1]:4318'", "telemetry.otlp_endpoint"),
    ] {
        let (changes, next, _) = changes("", toml);
        assert_eq!(changes.waiting, [key], "{toml}");
        assert_eq!(changes.whole, ["listen", "admin", "access.mode"].contains(&key), "{toml}");
        let callers = next.callers.clone();
        assert_eq!(shown(&next), shown(&Config { callers, ..loaded("").0 }), "{toml}");
    }
}

#[test]
fn a_limit_that_others_share_or_that_does_not_hold_the_reserve_takes_a_restart() {
    let store = "[store]\nurl = 'redis://127.0.0.1'\n[rate_limit]\n";
    let (reserve, less) = ("[rate_limit]\nreserve = 50\n", "[rate_limit]\nreserve = 1\n");
    for (from, to, limit) in [(store, store, 77), (reserve, less, 7)] {
        let (changes, next, _) = changes(from, &format!("{to}requests_per_minute = {limit}\n"));
        assert!(changes.waiting.contains(&"rate_limit.requests_per_minute".to_owned()), "{from}");
        assert_eq!(next.rate_limit.requests_per_minute.unwrap().get(), 300);
    }
}

#[test]
fn what_waits_is_told_again_and_is_over_when_it_is_taken_back() {
    let (was, mut given) = loaded("");
    let waits = "[upstream]\nconnect_timeout = '7s'\n";
    for toml in [waits.to_owned(), format!("{waits}[retry]\nattempts = 4\n")] {
        let (is, newer) = loaded(&toml);
        let changes = given.changes(&newer, &was, &is);
        assert_eq!(changes.waiting, ["upstream.connect_timeout"]);
        given.follow(newer, &changes);
    }
    let (is, newer) = loaded("[retry]\nattempts = 4\n");
    assert_eq!(given.changes(&newer, &was, &is), Changes::default());
}

#[test]
fn organisations_follow_and_another_one_takes_a_restart() {
    let eu = "[orgs.eu]\nhosts = ['eu.internal']\n[orgs.eu.upstream]\nregion = 'eu-central-1'\n\
              [orgs.eu.oauth]\nclient_id = 'eu-id'\nclient_secret = { env = 'EU' }\n";
    let other = eu.replace("eu.internal", "new.internal");
    let (found, next, _) = changes(eu, &format!("{other}[orgs.eu.retry]\nattempts = 4\n"));
    assert_eq!(found.live, ["orgs.eu.hosts", "orgs.eu.retry.attempts"]);
    let [org] = &next.organisations[..] else { panic!() };
    assert_eq!((&*org.hosts[0], org.config.retry.attempts), ("new.internal", 4));
    for (from, to) in [("", eu), (eu, "")] {
        let (found, next, _) = changes(from, to);
        assert!(found.live.is_empty() && found.waiting.len() >= 4 && found.whole, "{found:?}");
        assert_eq!(next.organisations.len(), usize::from(from == eu));
    }
}

#[test]
fn where_a_value_stands_is_no_change() {
    let (changes, ..) = changes(
        "[retry]\nattempts = 4\n[access]\nhosts = ['a', 'b']\n",
        "# said otherwise\n[access]\nhosts   = [\n'a',\n'b' ]\n\n[retry]\nattempts =   4\n",
    );
    assert_eq!(changes, Changes::default());
}

#[test]
fn each_key_that_takes_effect_at_once_is_a_key() {
    let known = |key: &Key| {
        SECTIONS.iter().any(|(section, names)| *section == key.0 && names.contains(&key.1))
    };
    let wrong: Vec<_> =
        super::super::renew::LIVE.iter().filter(|key| key.0 != "orgs" && !known(key)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
