//! `[retry]`: how often a call is sent when Genesys Cloud is in trouble, and what pays for it.
//! It never allows what could multiply trouble: at most ten tries, and no more retries than calls.

use crate::config::{
    Retry,
    file::Key,
    read::{Checked, Settings},
};

/// The whole section.
pub(super) fn retry(settings: &mut Settings<'_>) -> Checked<Retry> {
    let attempts = settings.number(Key("retry", "attempts"), 3, &(1..=10));
    let budget = settings.fraction(Key("retry", "budget"), 0.2, &(0.0..=1.0));
    Ok(Retry { attempts: attempts?, budget: budget? })
}
