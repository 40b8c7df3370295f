//! `proxy.toml` word for word: which keys there are, and each value with its place.
//! It never judges a value, and never drops a word it does not know: that is a problem.
//!
//! It walks the parsed document instead of deriving `Deserialize`, because serde stops at the
//! first wrong type or unknown field, and every problem is to be reported.

use std::{collections::BTreeMap, fmt};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    nearest::did_you_mean,
    report::{Place, Problem},
};

/// A key: its section ("" for the top) and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) &'static str, pub(crate) &'static str);

/// Every section and its keys. A key that is not here is an error, never a silent no-op.
pub(crate) const SECTIONS: [(&str, &[&str]); 14] = [
    (
        "",
        &[
            "listen",
            "admin",
            "admin_key_file",
            "admin_key_sha256",
            "shutdown_linger",
            "shutdown_timeout",
            "caller",
        ],
    ),
    (
        "upstream",
        &[
            "region",
            "api_url",
            "login_url",
            "apps_url",
            "ca_file",
            "http2",
            "connect_timeout",
            "response_timeout",
            "idle_timeout",
            "warm_connections",
            "proxy",
        ],
    ),
    (
        "oauth",
        &[
            "client_id",
            "client_secret",
            "next_client_secret",
            "private_key",
            "key_id",
            "client",
            "token_url",
            "timeout",
            "client_auth",
            "assertion_audience",
            "client_cert",
            "client_key",
            "scope",
            "extra_params",
            "extra_headers",
            "refresh_before",
            "required_scopes",
            "on_missing_scope",
            "jwks_url",
            "expected_issuer",
            "expected_audience",
            "verify",
            "verify_every",
            "introspect_url",
            "tokens",
            "revoke_on_exit",
            "revoke_url",
        ],
    ),
    (
        "vault",
        &[
            "address",
            "namespace",
            "auth",
            "auth_mount",
            "token",
            "role_id",
            "secret_id",
            "role",
            "jwt_file",
            "ca_file",
            "timeout",
        ],
    ),
    ("replay", &["memory_per_request", "per_request", "memory_total"]),
    (
        "rate_limit",
        &[
            "requests_per_minute",
            "window",
            "pacing",
            "reserve",
            "max_wait",
            "max_queue",
            "max_retry_after",
            "families",
        ],
    ),
    ("retry", &["attempts", "budget"]),
    ("saving", &["coalesce", "cache", "memory"]),
    (
        "access",
        &[
            "mode",
            "login_life",
            "login_idle",
            "require_header",
            "hosts",
            "origins",
            "deny",
            "max_connections",
            "max_connections_per_address",
            "header_timeout",
            "body_timeout",
            "keep_alive",
            "max_header_bytes",
            "max_headers",
            "max_uri_bytes",
        ],
    ),
    ("jwt", &["issuer", "audience", "jwks_url", "jwks_token_file", "direct", "ca_file"]),
    ("audit", &["file", "on_failure", "sync", "max_size", "key_file"]),
    ("store", &["url", "username", "password", "ca_file", "timeout"]),
    (
        "telemetry",
        &["log", "format", "access_log", "otlp_endpoint", "otlp_sampling", "otlp_ca_file"],
    ),
    ("tls", &["cert", "key", "client_ca"]),
];

/// Sections that an organisation has of its own; without a `[vault]` of its own it has that of all.
pub(crate) const OF_AN_ORGANISATION: [&str; 6] =
    ["upstream", "oauth", "vault", "rate_limit", "retry", "saving"];
/// The other keys of `[orgs.NAME]`, `caller` besides.
pub(crate) const HOSTS_OF_AN_ORGANISATION: Key = Key("orgs", "hosts");
/// Where its callers connect, and nobody else's.
pub(crate) const LISTEN_OF_AN_ORGANISATION: Key = Key("orgs", "listen");

impl Key {
    /// The accepted key with these names.
    pub(super) fn find(section: &str, name: &str) -> Option<Self> {
        let (section, names) = SECTIONS.iter().find(|(known, _)| *known == section)?;
        names.iter().find(|known| **known == name).map(|name| Self(section, name))
    }

    /// Every accepted key.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        SECTIONS
            .into_iter()
            .flat_map(|(section, names)| names.iter().map(move |name| Self(section, name)))
    }

    /// The environment variable that overrides it.
    pub(crate) fn variable(self) -> String {
        let Self(section, name) = self;
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}__{name}") };
        format!("GENESYS_PROXY__{}", path.to_uppercase())
    }
}

/// `oauth.client_id`
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(section, name) = self;
        if section.is_empty() { f.write_str(name) } else { write!(f, "{section}.{name}") }
    }
}

/// The accepted keys of a section.
pub(super) fn known_keys(section: &'static str) -> impl Iterator<Item = Key> {
    Key::all().filter(move |key| key.0 == section)
}

/// A value as it was written.
#[derive(Debug)]
pub(super) struct Item<'i> {
    /// The TOML value.
    pub(super) value: DeValue<'i>,
    /// Where it stands.
    pub(super) place: Place,
    /// An environment variable's own text, for keys that take text: `12345` may be a client id.
    pub(super) raw: Option<&'i str>,
}

/// The values given, by key.
pub(super) type Items<'i> = BTreeMap<Key, Item<'i>>;

/// One `[orgs.NAME]`.
#[derive(Debug)]
pub(super) struct Organisation<'i> {
    /// Where it is named first.
    pub(super) place: Place,
    /// Its values, by the keys that the same have at the top.
    pub(super) items: Items<'i>,
}

/// All of them, by name.
pub(super) type Organisations<'i> = BTreeMap<String, Organisation<'i>>;

/// The keys of a document, its organisations, and a problem for each word that is neither.
pub(super) fn items(document: DeTable<'_>) -> (Items<'_>, Organisations<'_>, Vec<Problem>) {
    let (mut items, mut orgs) = (Items::new(), Organisations::new());
    let mut problems = Vec::new();
    for (name, value) in document {
        if name.get_ref() == "orgs" {
            organisations(value, &mut orgs, &mut problems);
            continue;
        }
        let keys = SECTIONS.iter().find(|(known, _)| *known == name.get_ref() && !known.is_empty());
        match (keys, value.get_ref()) {
            (Some((section, _)), DeValue::Table(_)) => {
                let DeValue::Table(table) = value.into_inner() else { continue };
                for (name, value) in table {
                    keep(section, &name, value, &mut items, &mut problems);
                }
            }
            (Some((section, _)), _) => problems.push(
                Problem::at(&Place::File(name.span()), format!("`{section}` is a section"))
                    .hint(format!("write [{section}] on a line of its own, its keys below it")),
            ),
            (None, _) => keep("", &name, value, &mut items, &mut problems),
        }
    }
    (items, orgs, problems)
}

fn organisations<'i>(
    value: Spanned<DeValue<'i>>,
    orgs: &mut Organisations<'i>,
    problems: &mut Vec<Problem>,
) {
    let example = "write [orgs.eu.upstream], [orgs.eu.oauth] …, one for each organisation";
    let no_table = |span| {
        Problem::at(&Place::File(span), "`orgs` takes an organisation's name and its tables")
            .hint(example)
    };
    let span = value.span();
    let DeValue::Table(all) = value.into_inner() else { return problems.push(no_table(span)) };
    for (name, value) in all {
        let (place, span) = (Place::File(name.span()), value.span());
        let DeValue::Table(table) = value.into_inner() else {
            problems.push(no_table(span));
            continue;
        };
        let mut items = Items::new();
        for (name, value) in table {
            let own = OF_AN_ORGANISATION.iter().find(|section| *section == name.get_ref());
            let key = match &**name.get_ref() {
                "hosts" => Some(HOSTS_OF_AN_ORGANISATION),
                "listen" => Some(LISTEN_OF_AN_ORGANISATION),
                "caller" => Some(Key("", "caller")),
                _ => None,
            };
            let place = Place::File(value.span());
            match (own, key, value.into_inner()) {
                (Some(section), _, DeValue::Table(table)) => {
                    for (name, value) in table {
                        keep(section, &name, value, &mut items, problems);
                    }
                }
                (None, Some(key), value) => {
                    items.insert(key, Item { value, place, raw: None });
                }
                (Some(_), _, _) | (None, None, _) => {
                    problems
                        .push(not_of_an_organisation(name.get_ref(), &Place::File(name.span())));
                }
            }
        }
        orgs.insert(name.get_ref().to_string(), Organisation { place, items });
    }
}

/// The problem of a word that an organisation does not have.
pub(super) fn not_of_an_organisation(name: &str, place: &Place) -> Problem {
    let accepted: Vec<&str> =
        OF_AN_ORGANISATION.into_iter().chain(["hosts", "listen", "caller"]).collect();
    let shared = SECTIONS.iter().any(|(section, _)| *section == name && !name.is_empty());
    let what = format!("`{}` is not an organisation's own", name.escape_debug());
    Problem::at(place, what).hint(if shared {
        format!("[{name}] is for the whole gateway: write it at the top")
    } else {
        did_you_mean(name, &accepted)
    })
}

fn keep<'i>(
    section: &str,
    name: &Spanned<std::borrow::Cow<'i, str>>,
    value: Spanned<DeValue<'i>>,
    items: &mut Items<'i>,
    problems: &mut Vec<Problem>,
) {
    if let Some(key) = Key::find(section, name.get_ref()) {
        let place = Place::File(value.span());
        items.insert(key, Item { value: value.into_inner(), place, raw: None });
    } else {
        let table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        problems.push(unknown(section, name.get_ref(), table, &Place::File(name.span())));
    }
}

/// The problem of a word that is no key here, with the nearest one that is, or where it belongs.
pub(super) fn unknown(section: &str, name: &str, table: bool, place: &Place) -> Problem {
    let (what, within) = match section {
        "" => ("key or section", "at the top".to_owned()),
        section => ("key", format!("in [{section}]")),
    };
    let problem = Problem::at(place, format!("unknown {what} `{}` {within}", name.escape_debug()));
    let elsewhere = Key::all().find(|key| key.1 == name);
    problem.hint(match elsewhere {
        Some(Key("", name)) => format!("`{name}` belongs at the top, above the first [section]"),
        Some(Key(section, name)) => format!("`{name}` belongs in [{section}]"),
        None => did_you_mean(name, &known(section, table)),
    })
}

/// The words accepted in a section; at the top, sections too where the value may be one.
fn known(section: &str, table: bool) -> Vec<&'static str> {
    let keys = Key::all().filter(|key| key.0 == section).map(|key| key.1);
    let sections = SECTIONS.iter().map(|(section, _)| *section).filter(|name| !name.is_empty());
    keys.chain(sections.filter(|_| section.is_empty() && table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let (_, _, problems) = items(DeTable::parse(text).unwrap().into_inner());
        problems.iter().map(|p| format!("{p} | {}", p.help().unwrap())).collect()
    }

    #[test]
    fn every_unknown_word_is_named_with_a_way_out() {
        let text = "lisen = []\nregion = 'x'\nsink = { attempts = 3 }\n[upstrem]\na = 1\n\
                    [upstream]\nregoin = ''\nlisten = []\nweather = 1\n[[oauth]]\n";
        insta::assert_debug_snapshot!(problems(text), @r#"
        [
            "unknown key or section `lisen` at the top | did you mean `listen`?",
            "`oauth` is a section | write [oauth] on a line of its own, its keys below it",
            "unknown key or section `region` at the top | `region` belongs in [upstream]",
            "unknown key or section `sink` at the top | accepted here: listen, admin, admin_key_file, admin_key_sha256, shutdown_linger, shutdown_timeout, caller, upstream, oauth, vault, replay, rate_limit, retry, saving, access, jwt, audit, store, telemetry, tls",
            "unknown key `listen` in [upstream] | `listen` belongs at the top, above the first [section]",
            "unknown key `regoin` in [upstream] | did you mean `region`?",
            "unknown key `weather` in [upstream] | accepted here: region, api_url, login_url, apps_url, ca_file, http2, connect_timeout, response_timeout, idle_timeout, warm_connections, proxy",
            "unknown key or section `upstrem` at the top | did you mean `upstream`?",
        ]
        "#);
    }

    #[test]
    fn a_variable_is_the_key_in_capitals() {
        assert_eq!(Key("", "listen").variable(), "GENESYS_PROXY__LISTEN");
        assert_eq!(Key("oauth", "client_id").variable(), "GENESYS_PROXY__OAUTH__CLIENT_ID");
        assert_eq!(Key("oauth", "client_id").to_string(), "oauth.client_id");
    }
}
