//! One limit below the token's, with its own line: a caller's ceiling, or a path family's.
//! It never lets a call stand before another gate's line that could not pass it anyway.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::Waiting;
use crate::decide::{
    blame::{Doubt, Suspect},
    budget::{Allowance, Before, Budget},
    callers::Principal,
    joint::part::Cap,
    queue::Queue,
    quota::whose::Watch,
};

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateId {
    /// `requests_per_minute` of a `[[caller]]`.
    Ceiling(Principal),
    /// The n-th of `rate_limit.families`.
    Family(u16),
    /// A path family that upstream was seen to limit, by the key of `path::Family`.
    Learned(u64),
}

impl From<Suspect> for GateId {
    fn from(suspect: Suspect) -> Self {
        match suspect {
            Suspect::Named(n) => Self::Family(n),
            Suspect::Family(family) => Self::Learned(family),
        }
    }
}

/// What a gate allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls in a window.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Calls at once, until the last byte of each.
    pub concurrent: Option<NonZeroU32>,
}

/// The limit, what is used of it, and who waits for it.
#[derive(Debug, Clone)]
pub(super) struct Gate<W> {
    pub(super) budget: Budget,
    concurrent: Option<NonZeroU32>,
    inside: u32,
    pub(super) line: Queue<Waiting<W>>,
    /// Upstream's last 429 to it.
    pub(super) limited_at: Option<Instant>,
    /// Nobody said how many calls it takes: more than the tokens allow it never can.
    pub(super) assumed: bool,
    /// Whose the quota is that upstream tells.
    pub(super) watch: Option<Watch>,
    /// All calls are counted that left since.
    counted_since: Instant,
    /// After a pause, until it is clear how many calls it takes: so many at once.
    probing: Option<u32>,
    /// Of those inside, so many left before it.
    before_pause: u32,
    /// There has been no place since, and nobody has ended.
    full_since: Option<Instant>,
    /// How long calls are inside, lately.
    stay: Duration,
    /// As it was before the 429 that may yet turn out to be the token's.
    before: Option<Before>,
    /// The pause that is on, or was last, taught how many calls it takes.
    taught: bool,
    /// Of the calls at once, how many are ours; `None`: all.
    pub(super) seats: Option<Cap>,
}

/// So many calls at once that were not refused are no probe any longer.
const ENOUGH: u32 = 32;
/// Windows between two 429s that make them a pattern.
const LATELY: u32 = 2;

/// The line before a limit.
pub(super) fn line<T>(limit: Option<NonZeroU32>, window: Duration) -> Queue<T> {
    Queue::new(pace(limit, window), window)
}

/// How fast it moves at best.
pub(super) fn pace(limit: Option<NonZeroU32>, window: Duration) -> Duration {
    limit.map_or(SOON, |limit| window / limit.get())
}

/// Without a limit a line moves as fast as it can.
const SOON: Duration = Duration::from_millis(1);

impl<W> Gate<W> {
    pub(super) fn new(limit: Limit, window: Duration, (epoch, now): (Instant, Instant)) -> Self {
        let Limit { requests_per_minute: limit, concurrent } = limit;
        let allowance = Allowance { limit, window, even: false, reserve: 0 };
        Self {
            budget: Budget::new(allowance, epoch),
            concurrent,
            inside: 0,
            line: if concurrent.is_some() {
                line(limit, window).crowd()
            } else {
                line(limit, window)
            },
            limited_at: None,
            assumed: false,
            watch: None,
            counted_since: now,
            probing: None,
            before_pause: 0,
            full_since: None,
            stay: Duration::ZERO,
            before: None,
            taught: false,
            seats: None,
        }
    }

    /// Upstream refused a call that had passed, until then. What the calls had in its window by then
    /// is what they may expect, if it was counted whole and this is no accident. Returns that, if it
    /// is news.
    pub(super) fn refused(
        &mut self,
        (now, until): (Instant, Instant),
        window: Duration,
        doubt: Doubt,
    ) -> Option<u32> {
        let open = self.budget.paused_until().is_none_or(|paused| paused <= now);
        self.budget.refused(open);
        match doubt {
            Doubt::New => self.before = Some(self.budget.before()),
            Doubt::Known => {}
            Doubt::None => {
                if let Some(before) = &mut self.before {
                    before.pause(until);
                }
            }
        }
        if open {
            let lately = |at: Instant| now.saturating_duration_since(at) < window * LATELY;
            let bent = self.budget.limit_at(now) < self.budget.limit();
            self.taught = bent || self.limited_at.is_some_and(lately);
        }
        self.limited_at = Some(now);
        // All who wait would go at once when it ends, and be refused.
        self.probing = Some(1);
        self.before_pause = self.inside;
        let whole = self.counted_since <= self.budget.begun(until);
        if doubt == Doubt::None || !self.taught || !whole {
            self.budget.pause(until);
            return None;
        }
        let news = self.budget.limited(now, until);
        if news { self.budget.limit_at(now) } else { None }
    }

    /// It was not limited for long.
    pub(super) fn opens(&mut self) {
        self.probing = None;
    }

    /// What was refused was the token's limit, not this.
    pub(super) fn cleared(&mut self) {
        if let Some(before) = self.before.take() {
            self.budget.undo(before);
            self.probing = None;
        }
    }

    /// The quota that was told is not its own: it may take all that there is.
    pub(super) fn acquit(&mut self, all: NonZeroU32) {
        self.budget.allow(all);
        self.budget.nobody_else();
        self.assumed = true;
        self.watch = None;
        self.probing = None;
    }

    /// So many in each window from now on; what it has counted counts under it.
    pub(super) fn allow(&mut self, limit: NonZeroU32, window: Duration) {
        self.budget.allow(limit);
        self.line.paced(pace(Some(limit), window));
    }

    /// What it counted so far was under a token that is gone.
    pub(super) fn restart(&mut self, now: Instant) {
        self.budget.restart();
        self.counted_since = now;
    }

    /// A place, if there is one; else when it is worth asking again.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if self.is_crowded(now) {
            return Err(now);
        }
        self.budget.take(now, true)?;
        self.inside += 1;
        if self.is_crowded(now) {
            self.full_since.get_or_insert(now);
        }
        Ok(())
    }

    /// As many are inside as may be: only one that leaves makes room.
    pub(super) fn is_crowded(&self, now: Instant) -> bool {
        matches!(self.room(now), Some((0, _)))
    }

    /// Only a call that ends makes room in it, at times.
    pub(super) fn is_crowd(&self) -> bool {
        self.concurrent.is_some() || self.probing.is_some()
    }

    /// Upstream said that it takes none for the time being.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.budget.paused_until().is_some_and(|paused| now < paused)
    }

    /// Others have a part of it from now on.
    pub(super) fn share(&mut self) {
        if let Some(rate) = self.rate() {
            self.budget.share(Cap::nothing(rate.into()));
        }
        self.seats = self.concurrent.map(|most| Cap::nothing(most.get().into()));
    }

    /// Calls in a window, if somebody said how many.
    pub(super) fn rate(&self) -> Option<u32> {
        self.budget.limit().filter(|_| !self.assumed)
    }

    /// Calls at once, all replicas', and how many of them are inside here.
    pub(super) fn crowd(&self) -> Option<(u32, u32)> {
        Some((self.concurrent?.get(), self.inside))
    }

    /// Calls at once, as many as are ours.
    fn most(&self, now: Instant) -> Option<u32> {
        let all = self.concurrent?.get();
        Some(self.seats.map_or(all, |seats| u32::try_from(seats.at(now)).unwrap_or(all).min(all)))
    }

    /// How many there may be yet, and how many at once.
    fn room(&self, now: Instant) -> Option<(u32, u32)> {
        let of_all = self.most(now).map(|most| (most.saturating_sub(self.inside), most));
        // Those that left before the pause are no probes.
        let probes = self.inside.saturating_sub(self.before_pause);
        let of_probes = self.probing.map(|most| (most.saturating_sub(probes), most));
        of_all.into_iter().chain(of_probes).min()
    }

    /// When a call with so many ahead could pass. Those inside of a crowd will take as long as others
    /// did lately; or as long again as nobody has ended since it was full.
    pub(super) fn available_at(&mut self, now: Instant, ahead: usize) -> Instant {
        let at = self.budget.available_at(now, ahead, true);
        let Some((0, most)) = self.room(now) else { return at };
        let full_for =
            self.full_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let each = self.stay.max(full_for);
        // Without a seat here it is not known when there will be one: as if there were.
        let most = most.max(1);
        let turns = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        at.max(now + each.saturating_mul(turns / most) + each / most * (turns % most))
    }

    /// A call that left at `sent` is through.
    pub(super) fn ended(&mut self, sent: Instant, now: Instant) {
        let stayed = now.saturating_duration_since(sent);
        self.stay = if self.stay.is_zero() { stayed } else { (self.stay * 7 + stayed) / 8 };
        if self.limited_at.is_some_and(|limited_at| sent <= limited_at) {
            self.before_pause = self.before_pause.saturating_sub(1);
        }
        self.out();
    }

    /// A call that left at `sent` was not refused: after a pause there may be more at once, until
    /// nobody counts.
    pub(super) fn passed(&mut self, sent: Instant) {
        if self.limited_at.is_none_or(|limited_at| sent > limited_at) {
            self.probing = self.probing.map(|most| most + 1).filter(|most| *most <= ENOUGH);
        }
    }

    /// A call that was let in went out.
    pub(super) fn out(&mut self) {
        self.inside = self.inside.saturating_sub(1);
        self.full_since = None;
    }

    /// As if one were out.
    pub(super) fn as_if_out(&mut self) {
        self.inside = self.inside.saturating_sub(1);
    }

    /// It is not.
    pub(super) fn back_in(&mut self) {
        self.inside += 1;
    }

    /// A place that was not used.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.budget.give_back(1, now);
        self.out();
    }

    /// Nobody is in it or before it, and it knows nothing that a new one would not.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.inside == 0 && self.line.is_calm() && self.budget.is_fresh(now)
    }
}
