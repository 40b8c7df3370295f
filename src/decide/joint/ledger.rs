//! What the store does with the caps of one limit: the rules of `store/budget.lua`, to be tried out and
//! compared with.
//! It never lets a cap grow when that could make the sum more than the limit, and lowers one when the sum
//! is more already.

use std::{collections::BTreeMap, time::Duration};

/// No client is asked about so often: a version that somebody wrote into the store goes round once, and
/// is gone.
const VERSIONS: u64 = 1_000_000_000_000;

/// What a replica says, and wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Grows with each: what comes late, after a newer one, is not looked at.
    pub call: u64,
    /// The cap that it has, and that nobody else can have been given.
    pub claim: u64,
    /// The cap that it would like.
    pub want: u64,
    /// Calls that have a place and have not left.
    pub inside: u64,
    /// Calls that left: so many leave the window after so long.
    pub sent: Vec<(Duration, u64)>,
    /// What its callers want, for the others' eyes.
    pub wishes: Vec<u8>,
    /// It goes away: what it has sent counts to its end, nothing else.
    pub leaves: bool,
}

impl Ask {
    /// Of a replica that has sent nothing lately.
    pub fn leaving(call: u64) -> Self {
        let (claim, want, inside) = (0, 0, 0);
        Self { call, claim, want, inside, sent: Vec::new(), wishes: Vec::new(), leaves: true }
    }
}

/// What all replicas of a client know together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Age {
    /// Since when nothing was lost.
    pub since: Option<Duration>,
    /// How often it was written.
    pub version: u64,
    /// And when, the last time.
    pub last: Option<Duration>,
}

/// What comes before any ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The version that the replica saw last; the store's is older when it lost something.
    pub seen: u64,
    /// The replica knows that there was nothing before it: the token has just been made.
    pub fresh: bool,
    /// A replica that was not heard for so long may be dead.
    pub lease: Duration,
}

/// When something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the store's clock.
    pub now: Duration,
    /// Caps may grow.
    pub whole: bool,
    /// As in the opening.
    pub lease: Duration,
}

/// Another replica's part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Other {
    /// It was heard lately.
    pub lives: bool,
    /// Of the limit, this much is its own.
    pub holds: u64,
    /// What its callers want.
    pub wishes: Vec<u8>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    /// The replica's cap from now on.
    pub cap: u64,
    /// All others, by name.
    pub others: BTreeMap<String, Other>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entry {
    call: u64,
    /// What it has been given, or says that it has.
    cap: u64,
    inside: u64,
    /// Until when it counts as alive.
    until: Duration,
    /// When so many leave the window.
    sent: Vec<(Duration, u64)>,
    wishes: Vec<u8>,
}

/// The caps of one limit. Times are the store's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    limit: u64,
    window: Duration,
    entries: BTreeMap<String, Entry>,
}

impl Age {
    /// A replica comes.
    pub fn open(&mut self, opening: Opening, now: Duration) -> Moment {
        let lease = opening.lease;
        // Who lives is heard within a lease, or could not write: its part has lapsed, and it may go on.
        let silent = self.last.is_some_and(|last| now > last + lease);
        let [version, seen] = [self.version, opening.seen].map(plausible);
        let lost = version < seen || silent;
        self.last = Some(now);
        self.since = match self.since {
            None if opening.fresh => Some(now.saturating_sub(lease)),
            None => Some(now),
            Some(_) if lost => Some(now),
            // A clock that went back.
            Some(since) => Some(since.min(now)),
        };
        self.version = plausible(version.max(seen) + 1).max(1);
        // Whoever lives has told its claim by then.
        let whole = self.since.is_some_and(|since| now >= since + lease);
        Moment { now, whole, lease }
    }
}

/// What is no version of ours is none.
fn plausible(version: u64) -> u64 {
    if version < VERSIONS { version } else { 0 }
}

impl Entry {
    fn used(&self, now: Duration) -> u64 {
        self.sent.iter().filter(|(leaves, _)| *leaves > now).map(|(_, count)| count).sum()
    }

    /// What nobody else may have: no more than all, whatever it claims.
    fn holds(&self, now: Duration, window: Duration, limit: u64) -> u64 {
        let used = self.used(now);
        // It may be cut off and go on: as long as it would, and until what it sent then has left the
        // window, its cap is its own.
        let rests = now < self.until + 2 * window;
        let holds = if rests { self.cap.max(used + self.inside) } else { used };
        holds.min(limit)
    }
}

impl Ledger {
    /// With nobody in it.
    pub fn new(limit: u64, window: Duration) -> Self {
        Self { limit, window, entries: BTreeMap::new() }
    }

    /// A replica's word. `None` when a newer one of it came before.
    pub fn sync(&mut self, id: &str, ask: &Ask, moment: Moment) -> Option<Told> {
        let Moment { now, whole, lease } = moment;
        let window = self.window;
        if self.entries.get(id).is_some_and(|entry| entry.call >= ask.call) {
            return None;
        }
        // Longer by a lease: what one asked before it went may come after it.
        let known = |entry: &Entry| now < entry.until + 2 * window + lease || entry.used(now) > 0;
        self.entries.retain(|name, entry| name == id || known(entry));
        let others: BTreeMap<String, Other> = self
            .entries
            .iter()
            .filter(|(name, _)| *name != id)
            .map(|(name, entry)| {
                let holds = entry.holds(now, window, self.limit);
                let lives = now < entry.until;
                (name.clone(), Other { lives, holds, wishes: entry.wishes.clone() })
            })
            .collect();
        let held: u64 = others.values().map(|other| other.holds).sum();
        let free = self.limit.saturating_sub(held);
        // What the store had lost it may have given away twice: then there is less than is claimed.
        let most = if whole { free } else { ask.claim.min(free) };
        let cap = if ask.leaves { 0 } else { ask.want.min(most) };
        // Until it says that it has heard of less, it may send what it claims.
        let may = if ask.leaves { 0 } else { cap.max(ask.claim.min(self.limit)) };
        let until = if ask.leaves { now.saturating_sub(2 * window) } else { now + lease };
        let sent = ask.sent.iter().map(|(after, count)| (now + *after, *count)).collect();
        self.entries.insert(
            id.to_owned(),
            Entry {
                call: ask.call,
                cap: may,
                inside: ask.inside,
                until,
                sent,
                wishes: ask.wishes.clone(),
            },
        );
        Some(Told { cap, others })
    }

    /// What all replicas hold together.
    pub fn held(&self, now: Duration) -> u64 {
        self.entries.values().map(|entry| entry.holds(now, self.window, self.limit)).sum()
    }
}
