//! `[replay]`: how much of a request body is kept, and that the three limits agree.
//! It never reserves memory.

use crate::config::{
    Replay,
    file::Key,
    read::{Checked, Settings},
    report::{Place, Problem},
};

const MEMORY_PER_REQUEST: Key = Key("replay", "memory_per_request");
const PER_REQUEST: Key = Key("replay", "per_request");
const MEMORY_TOTAL: Key = Key("replay", "memory_total");

const MIB: usize = 1 << 20;
/// A copy on disk beyond this is a mistake in the unit.
const MOST: u64 = 1 << 40;

/// The whole section.
pub(super) fn replay(settings: &mut Settings<'_>) -> Checked<Replay> {
    let memory_per_request = settings.size(MEMORY_PER_REQUEST, MIB, &(0..=MOST));
    let per_request = settings.size(PER_REQUEST, 16 << 20, &(0..=MOST));
    let memory_total = settings.size(MEMORY_TOTAL, 256 * MIB, &(0..=MOST));
    if let (Ok(memory), Ok(whole)) = (&memory_per_request, &per_request)
        && *memory as u64 > *whole
    {
        at_most(settings, PER_REQUEST);
    }
    if let (Ok(memory), Ok(total)) = (&memory_per_request, &memory_total)
        && memory > total
    {
        at_most(settings, MEMORY_TOTAL);
    }
    Ok(Replay {
        memory_per_request: memory_per_request?,
        per_request: per_request?,
        memory_total: memory_total?,
    })
}

/// `memory_per_request` is the smallest of the three.
fn at_most(settings: &mut Settings<'_>, larger: Key) {
    let (one, other) = (settings.place(MEMORY_PER_REQUEST), settings.place(larger));
    let message = format!("`{MEMORY_PER_REQUEST}` is more than `{larger}`");
    let hint = format!("lower `{}` or raise `{}`", MEMORY_PER_REQUEST.1, larger.1);
    // Where one of them is a default, the caret goes to the one that was written.
    let problem = match one {
        Place::Nowhere => Problem::at(&other, message),
        _ => Problem::at(&one, message).against("more", &other, "less"),
    };
    settings.report(problem.hint(hint));
}
