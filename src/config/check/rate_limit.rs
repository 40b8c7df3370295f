//! `[rate_limit]`: how fast calls may leave, and how long they may wait.
//! It never guesses what Genesys allows.

use std::{num::NonZeroU32, time::Duration};

use crate::config::{
    RateLimit,
    file::Key,
    read::{Checked, Settings},
};

/// More calls a minute than any organisation has, or more waiting than memory is for.
pub(super) const MOST: u64 = 1_000_000;

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
    Ok(RateLimit {
        requests_per_minute: NonZeroU32::new(requests_per_minute?),
        window: window?,
        max_wait: max_wait?,
        max_queue: max_queue?,
        max_retry_after: max_retry_after?,
    })
}
