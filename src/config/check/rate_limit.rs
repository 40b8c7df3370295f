//! `[rate_limit]`: how fast calls may leave, and how long they may wait.
//! It never guesses what Genesys allows.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    config::{
        Family, Pacing, RateLimit,
        file::Key,
        read::{Checked, Settings},
        report::{Place, Problem},
        tables::Tables,
    },
    decide::{access::Rule, turns::gate::Limit},
};

/// More calls a minute than any organisation has, or more waiting than memory is for.
pub(super) const MOST: u64 = 1_000_000;

const RESERVE: Key = Key("rate_limit", "reserve");
const MATCH: Key = Key("rate_limit.families", "match");
const EXAMPLE: &str =
    "write [{ match = \"PUT /api/v2/architect/ivrs/*\", requests_per_minute = 100 }]";
const FAMILIES: Tables = Tables {
    key: Key("rate_limit", "families"),
    section: "rate_limit.families",
    keys: &["match", "requests_per_minute", "concurrent"],
    one: "an entry of `rate_limit.families`",
    inline: EXAMPLE,
    hint: EXAMPLE,
    fewer: "one pattern can match many paths",
};

/// The whole section.
pub(super) fn rate_limit(settings: &mut Settings<'_>) -> Checked<RateLimit> {
    let requests_per_minute = settings.number::<u32>(
        Key("rate_limit", "requests_per_minute"),
        300,
        &(0..=u64::from(u32::MAX)),
    );
    let window = settings.duration(
        Key("rate_limit", "window"),
        Duration::from_mins(1),
        &(Duration::from_secs(1)..=super::HOUR),
    );
    let pacing = settings.choice(
        Key("rate_limit", "pacing"),
        Pacing::Burst,
        &[("burst", Pacing::Burst), ("even", Pacing::Even)],
    );
    let reserve = settings.number::<u32>(RESERVE, 0, &(0..=MOST));
    let max_wait = settings.duration(
        Key("rate_limit", "max_wait"),
        Duration::from_secs(12),
        &super::FROM_ZERO_TO_HOUR,
    );
    let max_queue = settings.number(Key("rate_limit", "max_queue"), 1000, &(0..=MOST));
    let max_retry_after = settings.duration(
        Key("rate_limit", "max_retry_after"),
        Duration::from_mins(3),
        &super::FROM_ZERO_TO_DAY,
    );
    let families = settings.tables(&FAMILIES, family);
    let (requests_per_minute, reserve) = (NonZeroU32::new(requests_per_minute?), reserve?);
    if reserve > 0 && requests_per_minute.is_none_or(|limit| reserve >= limit.get()) {
        let place = settings.place(RESERVE);
        let problem = Problem::at(&place, format!("`{RESERVE}` leaves nothing for other calls"));
        return Err(settings
            .report(problem.hint("it is a part of requests_per_minute: a tenth of it, say")));
    }
    Ok(RateLimit {
        requests_per_minute,
        window: window?,
        pacing: pacing?,
        reserve,
        max_wait: max_wait?,
        max_queue: max_queue?,
        max_retry_after: max_retry_after?,
        families: families?,
    })
}

fn family(settings: &mut Settings<'_>, place: &Place) -> Checked<Family> {
    let rule = settings.text(MATCH, "PUT /api/v2/architect/ivrs/*", |text, place| {
        Rule::parse(text).map_err(|wrong| {
            Problem::at(place, format!("`{MATCH}`: {wrong}"))
                .hint("write \"METHODS PATH\"; in PATH * is one segment, ** the rest")
        })
    });
    let mut number = |name| {
        let number = settings.number::<u32>(Key("rate_limit.families", name), 0, &(0..=MOST));
        number.map(NonZeroU32::new)
    };
    let (requests_per_minute, concurrent) = (number("requests_per_minute"), number("concurrent"));
    let limit = Limit { requests_per_minute: requests_per_minute?, concurrent: concurrent? };
    let missing = match rule? {
        None => "match",
        Some(_) if limit == Limit::default() => "requests_per_minute or concurrent",
        Some(rule) => return Ok(Family { rule, limit }),
    };
    let problem = Problem::at(place, format!("a family without {missing}"));
    Err(settings.report(problem.hint(EXAMPLE)))
}
