//! What of a configuration can change while the gateway runs, and what has.
//! It never keeps a value, only whether it is the same: some are secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

use toml::de::DeValue;

use super::{
    Access, Config, KeyDigest, RateLimit, Replay, Telemetry, Upstream,
    file::{Item, Items, Key, Organisations},
};

/// What takes effect at once. Everything else takes a restart.
///
/// Not `access.mode`: listeners were opened for the mode that the process began with.
pub(super) const LIVE: [Key; 28] = [
    Key("", "admin_key_file"),
    Key("", "admin_key_sha256"),
    Key("", "shutdown_linger"),
    Key("", "shutdown_timeout"),
    Key("", "caller"),
    Key("upstream", "response_timeout"),
    Key("upstream", "idle_timeout"),
    Key("replay", "memory_per_request"),
    Key("replay", "per_request"),
    LIMIT,
    Key("rate_limit", "max_wait"),
    Key("rate_limit", "max_queue"),
    Key("rate_limit", "max_retry_after"),
    Key("retry", "attempts"),
    Key("retry", "budget"),
    Key("saving", "coalesce"),
    Key("saving", "cache"),
    Key("saving", "memory"),
    Key("access", "require_header"),
    Key("access", "hosts"),
    Key("access", "origins"),
    Key("access", "deny"),
    Key("access", "header_timeout"),
    Key("access", "body_timeout"),
    Key("access", "keep_alive"),
    Key("access", "max_headers"),
    Key("telemetry", "log"),
    Key("orgs", "hosts"),
];
const LIMIT: Key = Key("rate_limit", "requests_per_minute");

/// What was given of each key, at the top and in each organisation, so that two can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<At, u64>,
    /// That hold keys of callers.
    files: Vec<PathBuf>,
}

/// A key, and which organisation's.
type At = (Option<String>, Key);

/// What differs between two configurations, by the names of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// It takes effect at once.
    pub live: Vec<String>,
    /// It takes a restart.
    pub waiting: Vec<String>,
    /// Who can reach what is to change: in part, with the rest as it was, it could open what both refuse.
    pub whole: bool,
    waits: BTreeSet<At>,
}

impl Given {
    pub(super) fn of(items: &Items<'_>, orgs: &Organisations<'_>) -> Self {
        let top = items.iter().map(|(key, item)| ((None, *key), hash(item)));
        let orgs = orgs.iter().flat_map(|(name, org)| {
            org.items.iter().map(|(key, item)| ((Some(name.clone()), *key), hash(item)))
        });
        Self { values: top.chain(orgs).collect(), files: Vec::new() }
    }

    pub(super) fn with(self, files: Vec<PathBuf>) -> Self {
        Self { files, ..self }
    }

    /// Files with callers' keys, which count as a part of it.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// `newer` is in use now, but for what waits for a restart: that is told again next time.
    pub fn follow(&mut self, newer: Self, changes: &Changes) {
        let was = std::mem::replace(self, newer);
        for at in &changes.waits {
            match was.values.get(at) {
                Some(value) => self.values.insert(at.clone(), *value),
                None => self.values.remove(at),
            };
        }
    }

    /// From this one to `newer`, of a configuration that `was` and one that `is` to be.
    pub fn changes(&self, newer: &Self, was: &Config, is: &Config) -> Changes {
        let all: BTreeSet<_> = self.values.keys().chain(newer.values.keys()).collect();
        let mut changes = Changes::default();
        for at in all.into_iter().filter(|at| self.values.get(at) != newer.values.get(at)) {
            let (org, key) = at;
            let name = match org {
                Some(org) if key.0 == "orgs" => format!("orgs.{org}.{}", key.1),
                Some(org) => format!("orgs.{org}.{key}"),
                None => key.to_string(),
            };
            let (was, is) = (was.of(org.as_deref()), is.of(org.as_deref()));
            let both = was.zip(is);
            let live = LIVE.contains(key)
                && both.is_some_and(|(was, is)| *key != LIMIT || tunable(was, is));
            if live {
                changes.live.push(name);
            } else {
                changes.waiting.push(name);
                changes.whole |= both.is_none() || reaches(*key);
                changes.waits.insert(at.clone());
            }
        }
        let named = changes.live.iter().any(|name| name.starts_with("admin_key"));
        if was.admin_key != is.admin_key && !named {
            changes.live.push("admin_key_file".to_owned());
        }
        changes.note_keys(None, was, is);
        for org in &was.organisations {
            if let Some(is) = is.of(Some(&org.name)) {
                changes.note_keys(Some(&org.name), &org.config, is);
            }
        }
        changes
    }
}

impl Changes {
    /// A key can change in its file, and nothing does where the file is named.
    fn note_keys(&mut self, org: Option<&str>, was: &Config, is: &Config) {
        let name = org.map_or_else(|| "caller".to_owned(), |org| format!("orgs.{org}.caller"));
        if keys(was) != keys(is) && !self.live.contains(&name) {
            self.live.push(name);
        }
    }
}

fn keys(config: &Config) -> Vec<(&str, Option<KeyDigest>)> {
    config.callers.iter().map(|caller| (&*caller.name, caller.key)).collect()
}

/// It decides who can reach the gateway, and what must be asked of them.
fn reaches(key: Key) -> bool {
    let Key(section, name) = key;
    matches!((section, name), ("tls", _) | ("access", "mode") | (_, "listen") | ("", "admin"))
}

/// The order of a list counts, that of a table does not.
fn hash(item: &Item<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.raw.hash(&mut hasher);
    feed(&item.value, &mut hasher);
    hasher.finish()
}

fn feed(value: &DeValue<'_>, hasher: &mut DefaultHasher) {
    match value {
        DeValue::String(text) => text.hash(hasher),
        DeValue::Integer(number) => (number.as_str(), number.radix()).hash(hasher),
        DeValue::Float(number) => number.as_str().hash(hasher),
        DeValue::Boolean(yes) => yes.hash(hasher),
        DeValue::Datetime(moment) => moment.to_string().hash(hasher),
        DeValue::Array(all) => {
            all.len().hash(hasher);
            all.iter().for_each(|one| feed(one.get_ref(), hasher));
        }
        DeValue::Table(table) => {
            table.len().hash(hasher);
            for (name, value) in table {
                name.get_ref().hash(hasher);
                feed(value.get_ref(), hasher);
            }
        }
    }
}

/// The limit of the budget can follow: there is one before and after, no other replica has a part of it,
/// and the reserve fits into it.
fn tunable(was: &Config, is: &Config) -> bool {
    let limits = was.rate_limit.requests_per_minute.zip(is.rate_limit.requests_per_minute);
    was.store.is_none() && limits.is_some_and(|(_, is)| was.rate_limit.reserve < is.get())
}

impl Config {
    fn of(&self, org: Option<&str>) -> Option<&Self> {
        let Some(name) = org else { return Some(self) };
        self.organisations.iter().find(|org| org.name == name).map(|org| &org.config)
    }

    /// This one, with all of `new` that takes effect at once.
    #[must_use]
    pub fn renewed(&self, new: &Self) -> Self {
        let was = self.clone();
        let now = new.clone();
        let limit = if tunable(self, new) {
            now.rate_limit.requests_per_minute
        } else {
            was.rate_limit.requests_per_minute
        };
        let organisations = was.organisations.iter().map(|org| {
            match new.organisations.iter().find(|other| other.name == org.name) {
                Some(new) => super::Organisation {
                    hosts: new.hosts.clone(),
                    config: org.config.renewed(&new.config),
                    ..org.clone()
                },
                None => org.clone(),
            }
        });
        Self {
            organisations: organisations.collect(),
            admin_key: now.admin_key,
            shutdown_linger: now.shutdown_linger,
            shutdown_timeout: now.shutdown_timeout,
            callers: now.callers,
            upstream: Upstream {
                response_timeout: now.upstream.response_timeout,
                idle_timeout: now.upstream.idle_timeout,
                ..was.upstream
            },
            replay: Replay { memory_total: was.replay.memory_total, ..now.replay },
            rate_limit: RateLimit {
                requests_per_minute: limit,
                max_wait: now.rate_limit.max_wait,
                max_queue: now.rate_limit.max_queue,
                max_retry_after: now.rate_limit.max_retry_after,
                ..was.rate_limit
            },
            retry: now.retry,
            saving: now.saving,
            access: Access {
                require_header: now.access.require_header,
                hosts: now.access.hosts,
                origins: now.access.origins,
                deny: now.access.deny,
                header_timeout: now.access.header_timeout,
                body_timeout: now.access.body_timeout,
                keep_alive: now.access.keep_alive,
                max_headers: now.access.max_headers,
                ..was.access
            },
            telemetry: Telemetry { log: now.telemetry.log, ..was.telemetry },
            ..was
        }
    }
}
