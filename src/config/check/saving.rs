//! `[saving]`: which calls may get an answer that was not asked for on their behalf.
//! It never widens anything: what no rule names goes its usual way.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    config::{
        Cached, Saving,
        file::Key,
        read::{Checked, Read, Reported, Settings, duration, text},
        report::{Place, Problem},
        tables::Tables,
    },
    decide::access::Rule,
};

const COALESCE: Key = Key("saving", "coalesce");
const MEMORY: Key = Key("saving", "memory");
const MATCH: Key = Key("saving.cache", "match");
const FOR: Key = Key("saving.cache", "for");

const EXAMPLE: &str = "GET /api/v2/routing/queues/**";
const ENTRY: &str = "write [{ match = \"GET /api/v2/routing/queues\", for = \"30s\" }]";
const CACHE: Tables = Tables {
    key: Key("saving", "cache"),
    section: "saving.cache",
    keys: &[MATCH.1, FOR.1],
    one: "an entry of `saving.cache`",
    inline: ENTRY,
    hint: ENTRY,
    fewer: "one pattern can match many paths",
};
/// Longer than an hour is no short cache: nobody would know what is still true.
const LIFE: RangeInclusive<Duration> = Duration::from_secs(1)..=super::HOUR;
/// Less holds no page of a hundred entities; more belongs into a cache of its own.
const SIZES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// The whole section.
pub(super) fn saving(settings: &mut Settings<'_>) -> Checked<Saving> {
    let coalesce = settings.list(COALESCE, EXAMPLE, |text, place| rule(COALESCE, text, place));
    let cache = settings.tables(&CACHE, cached);
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

fn cached(settings: &mut Settings<'_>, place: &Place) -> Checked<Cached> {
    for key in [MATCH, FOR] {
        if !settings.items.contains_key(&key) {
            let problem = Problem::at(place, format!("`{}` is missing in this entry", key.1));
            settings.report(problem.hint(ENTRY));
        }
    }
    let rule = settings.read(MATCH, None, |item| {
        let text = text(MATCH, item, EXAMPLE)?;
        rule(MATCH, text, &item.place).map(Some)
    });
    let life = settings
        .read(FOR, None, |item| duration(FOR, item, Duration::from_secs(30), &LIFE).map(Some));
    let (Some(rule), Some(life)) = (rule?, life?) else { return Err(Reported) };
    Ok(Cached { rule, life })
}
