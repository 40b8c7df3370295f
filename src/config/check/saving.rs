//! `[saving]`: which calls may get an answer that was not asked for on their behalf.
//! It never widens anything: what no rule names goes its usual way.

use std::{ops::RangeInclusive, time::Duration};

use toml::{Spanned, de::DeValue};

use crate::{
    config::{
        Cached, Saving,
        file::{Item, Items, Key},
        nearest::did_you_mean,
        read::{Checked, Read, Settings, duration, not_toml, text, wants, within},
        report::{Place, Problem},
    },
    decide::access::Rule,
};

const COALESCE: Key = Key("saving", "coalesce");
const CACHE: Key = Key("saving", "cache");
const MEMORY: Key = Key("saving", "memory");
const MATCH: Key = Key("saving.cache", "match");
const FOR: Key = Key("saving.cache", "for");

const EXAMPLE: &str = "GET /api/v2/routing/queues/**";
const ENTRY: &str = "write [{ match = \"GET /api/v2/routing/queues\", for = \"30s\" }]";
/// Longer than an hour is no short cache: nobody would know what is still true.
const LIFE: RangeInclusive<Duration> = Duration::from_secs(1)..=super::HOUR;
/// Less holds no page of a hundred entities; more belongs into a cache of its own.
const SIZES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// The whole section.
pub(super) fn saving(settings: &mut Settings<'_>) -> Checked<Saving> {
    let coalesce = settings.list(COALESCE, EXAMPLE, |text, place| rule(COALESCE, text, place));
    let cache = cache(settings);
    let memory = settings.size(MEMORY, 16 << 20, &SIZES);
    Ok(Saving { coalesce: coalesce?, cache: cache?, memory: memory? })
}

/// A rule as in `access.deny`, of GET alone: nothing else can be saved.
fn rule(key: Key, text: &str, place: &Place) -> Read<Rule> {
    let methods = text.trim().split_once(char::is_whitespace).map_or("", |(methods, _)| methods);
    if !methods.is_empty() && methods.split(',').any(|method| method.trim() != "GET") {
        return Err(Problem::at(place, format!("`{key}` takes GET only: others are always sent"))
            .hint(format!("write \"{EXAMPLE}\"")));
    }
    Rule::parse(text).map_err(|wrong| {
        Problem::at(place, format!("`{key}`: {wrong}")).hint(format!(
            "write \"GET PATH\", such as \"{EXAMPLE}\"; in PATH * is one segment, ** the rest"
        ))
    })
}

fn cache(settings: &mut Settings<'_>) -> Checked<Vec<Cached>> {
    let Some(item) = settings.items.remove(&CACHE) else { return Ok(Vec::new()) };
    let DeValue::Array(entries) = &item.value else {
        let problem = not_toml(CACHE, &item, ENTRY)
            .unwrap_or_else(|| wants(CACHE, &item.place, "tables", &item.value).hint(ENTRY));
        return Err(settings.report(problem));
    };
    let before = settings.problems.len();
    let found = entries.iter().filter_map(|entry| cached(settings, &item, entry)).collect();
    let wrong = settings.problems.split_off(before);
    settings.all(found, wrong)
}

/// One entry, or `None` after its problems were reported.
fn cached(
    settings: &mut Settings<'_>,
    item: &Item<'_>,
    entry: &Spanned<DeValue<'_>>,
) -> Option<Cached> {
    let place = within(item, entry);
    let DeValue::Table(table) = entry.get_ref() else {
        settings.report(wants(CACHE, &place, "tables", entry.get_ref()).hint(ENTRY));
        return None;
    };
    let mut keys = Items::new();
    for (name, value) in table {
        let place = within(item, value);
        let Some(key) = [MATCH, FOR].into_iter().find(|key| key.1 == name.get_ref()) else {
            let problem = Problem::at(&place, format!("unknown key in an entry of `{CACHE}`"));
            settings.report(problem.hint(did_you_mean(name.get_ref(), &[MATCH.1, FOR.1])));
            continue;
        };
        keys.insert(key, Item { value: value.get_ref().clone(), place, raw: None });
    }
    for key in [MATCH, FOR].into_iter().filter(|key| !keys.contains_key(key)) {
        let problem = Problem::at(&place, format!("`{}` is missing in this entry", key.1));
        settings.report(problem.hint(ENTRY));
    }
    let rule = keys.remove(&MATCH).and_then(|item| {
        let read = text(MATCH, &item, EXAMPLE).and_then(|text| rule(MATCH, text, &item.place));
        read.map_err(|problem| settings.report(problem)).ok()
    });
    let life = keys.remove(&FOR).and_then(|item| {
        let read = duration(FOR, &item, Duration::from_secs(30), &LIFE);
        read.map_err(|problem| settings.report(problem)).ok()
    });
    Some(Cached { rule: rule?, life: life? })
}
