//! When a call may leave: never more than the limit in any window, however the window is laid.
//! It never counts calls one by one: memory stays the same for a limit of sixty or of a billion.

mod learn;
mod reserve;
mod sent;
mod shared;

use std::{
    mem,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{bend::Bend, joint::part::Cap, pace::Pace};
pub use learn::Before;
use learn::Others;
use reserve::Reserve;
use sent::Sent;
use shared::Ours;
pub use shared::{Belongs, Report};

/// Into how many slots a window is cut. A call is held against the budget until the end of its
/// slot leaves the window, so at most 1/600 of the allowance is lost.
const SLOTS: u32 = 600;
/// Upstream counts when a call arrives, we when it leaves. Between a slow call and a quick one the
/// gap may shrink; the window is counted longer by this share so that upstream still sees it whole.
const SLACK: f64 = 0.009;

/// Slices are given of an allowance so many times their size: they are for crowds of workers, and a
/// small allowance is no crowd's.
const WORTH: u64 = 128;

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Calls in any `window`; `None` never says no by itself.
    pub limit: Option<NonZeroU32>,
    /// What they are counted over.
    pub window: Duration,
    /// Calls are spread over the window.
    pub even: bool,
    /// Places that only urgent calls may take.
    pub reserve: u32,
}

/// One token's allowance. A call takes a place when its turn comes, and is counted when it leaves:
/// whatever it waits for in between, its window begins when upstream sees it.
#[derive(Debug, Clone)]
pub struct Budget {
    limit: Option<NonZeroU32>,
    /// The window as it is configured.
    nominal: Duration,
    /// The window, slack included.
    window: Duration,
    slot: Duration,
    epoch: Instant,
    /// At most `SLOTS` + 2 slots.
    sent: Sent,
    /// Places taken whose calls have not left.
    reserved: u64,
    paused_until: Option<Instant>,
    reserve: Option<Box<Reserve>>,
    pace: Option<Pace>,
    bend: Bend,
    /// Calls that were answered 429 since others last passed.
    refused: u32,
    /// It was told that others use the limit.
    noticed: bool,
    /// Calls that ever left.
    left: u64,
    others: Option<Others>,
    ours: Ours,
}

impl Budget {
    /// With nothing used.
    pub fn new(allowance: Allowance, epoch: Instant) -> Self {
        let Allowance { limit, window, even, reserve } = allowance;
        let reserve = reserve.min(limit.map_or(0, |limit| limit.get() - 1));
        let reserve = NonZeroU32::new(reserve);
        let nominal = window.max(Duration::from_micros(1));
        let whole = nominal.mul_f64(1.0 + SLACK);
        let slot = (whole / SLOTS).max(Duration::from_nanos(1));
        Self {
            limit,
            nominal,
            window: whole,
            slot,
            epoch,
            sent: Sent::default(),
            reserved: 0,
            paused_until: None,
            reserve: reserve.map(|places| Box::new(Reserve::new(places, window, epoch))),
            pace: even.then(Pace::default),
            bend: Bend::default(),
            refused: 0,
            noticed: false,
            left: 0,
            others: None,
            ours: Ours::All,
        }
    }

    /// A place for one call, to be followed by `leave` or `give_back`; or the moment at which it is
    /// worth asking again.
    pub fn take(&mut self, now: Instant, urgent: bool) -> Result<(), Instant> {
        self.used(now, urgent)?;
        if let Some(limit) = self.limit_at(now) {
            let due = self.due(now, limit, 0, false).is_none_or(|due| due <= now);
            let for_all = due && self.taken() < self.room(limit, false, now);
            let rate = self.rate(limit);
            match (&mut self.reserve, &mut self.pace) {
                (Some(reserve), _) if !for_all => reserve.take(now),
                (_, Some(pace)) => pace.take(now, rate),
                (_, None) => {}
            }
            self.reserved += 1;
        }
        Ok(())
    }

    /// How many places are taken or used, if there is one left; else when it is worth asking again.
    /// Without a limit nothing is counted, and it is none.
    pub fn used(&mut self, now: Instant, urgent: bool) -> Result<u64, Instant> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Err(until);
        }
        self.paused_until = None;
        let Some(limit) = self.limit_at(now) else { return Ok(0) };
        let due = self.due(now, limit, 0, urgent);
        if let Some(due) = due.filter(|due| now < *due) {
            return Err(due);
        }
        let room = self.room(limit, urgent, now);
        if self.taken() >= room {
            self.expire(now);
            if self.taken() >= room {
                return Err(self.leaves_at(now, self.taken() + 1 - room));
            }
        }
        Ok(self.taken())
    }

    /// Places taken or used, as last looked at.
    pub fn taken(&self) -> u64 {
        self.sent.total() + self.reserved + self.others.map_or(0, |others| others.places)
    }

    /// Places taken or used now.
    pub fn taken_at(&mut self, now: Instant) -> u64 {
        self.expire(now);
        self.taken()
    }

    /// What may leave in a window now: less than the limit while others use the rest, or have it.
    pub fn limit_at(&self, now: Instant) -> Option<u32> {
        let bent = self.bent_at(now)?;
        Some(self.cap().map_or(bent, |cap| bent.min(whole(cap.at(now)))))
    }

    /// What may leave in a window as soon as it is needed.
    pub fn limit_soon(&self, now: Instant) -> Option<u32> {
        let bent = self.bent_at(now)?;
        Some(self.cap().map_or(bent, |cap| bent.min(whole(cap.soon))))
    }

    /// The limit, as far as upstream's answers tell.
    fn bent_at(&self, now: Instant) -> Option<u32> {
        let limit = self.limit?.get();
        Some(self.bend.limit(limit, self.nominal, now))
    }

    /// What may leave in a window, and how much of that is taken, or others'.
    pub fn standing(&mut self, now: Instant) -> Option<(u64, u64)> {
        let (limit, soon) = (self.bent_at(now)?, self.limit_soon(now)?);
        Some((limit.into(), self.taken_at(now) + u64::from(limit - soon)))
    }

    /// What was allowed, whoever else uses it.
    pub fn limit(&self) -> Option<u32> {
        self.limit.map(NonZeroU32::get)
    }

    /// So many are allowed from now on.
    pub fn allow(&mut self, limit: NonZeroU32) {
        self.limit = Some(limit);
    }

    /// `count` places at once, if that leaves more than half of the allowance free: so far from the
    /// limit it does not matter who holds them. They count as taken.
    pub fn take_slice(&mut self, count: u32, now: Instant) -> bool {
        if self.paused_until.is_some() || self.pace.is_some() || self.reserve.is_some() {
            return false;
        }
        let Some(limit) = self.limit_at(now) else { return true };
        let limit = u64::from(limit);
        if u64::from(count) * WORTH > limit {
            return false;
        }
        if self.taken() + u64::from(count) > limit / 2 {
            self.expire(now);
            if self.taken() + u64::from(count) > limit / 2 {
                return false;
            }
        }
        self.reserved += u64::from(count);
        true
    }

    /// So many calls that took a place leave now, or have left a moment ago: they are held from
    /// now, which is longer, never shorter. Returns how many ever left.
    pub fn leave(&mut self, count: u32, now: Instant) -> u64 {
        self.reserved = self.reserved.saturating_sub(count.into());
        if let Some(reserve) = &mut self.reserve {
            reserve.left(self.reserved);
        }
        self.charge(count, now);
        self.left
    }

    /// So many calls that took a place will not leave.
    pub fn give_back(&mut self, count: u32, now: Instant) {
        self.reserved = self.reserved.saturating_sub(count.into());
        let mut for_all = count;
        if let Some(reserve) = &mut self.reserve {
            for_all -= reserve.give_back(count, now).min(count);
            reserve.left(self.reserved);
        }
        let rate = self.limit_at(now).map(|limit| self.rate(limit));
        if let (Some(rate), Some(pace)) = (rate, &mut self.pace) {
            pace.give_back(for_all, rate);
        }
    }

    /// So many calls leave that took no place, whatever the limit says.
    pub fn charge(&mut self, count: u32, now: Instant) {
        if self.limit.is_some() && count > 0 {
            self.left += u64::from(count);
            self.count(count, now);
        }
    }

    /// When a call could leave that has `ahead` others before it.
    pub fn available_at(&mut self, now: Instant, ahead: usize, urgent: bool) -> Instant {
        let free_at = self.paused_until.map_or(now, |until| until.max(now));
        let Some(limit) = self.limit_soon(now) else { return free_at };
        self.expire(now);
        let (ahead, room) = (ahead as u64, self.room(limit, urgent, now).max(1));
        let due = self.due(now, limit, ahead, urgent);
        let windows = u32::try_from(ahead / room).unwrap_or(u32::MAX);
        let missing = (self.taken() + ahead % room + 1).saturating_sub(room);
        let at = if missing > 0 { free_at.max(self.leaves_at(now, missing)) } else { free_at };
        // A place is held until the end of its slot: each round of them takes one slot longer.
        let late = self.slot.saturating_mul(windows);
        let at = at + self.window.saturating_mul(windows) + late;
        due.map_or(at, |due| at.max(due + late))
    }

    /// When the pause ends, if one is on.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// A new token: upstream counts it from nothing, and so do we; but for a part of a limit, whose other
    /// parts may be used under the old one still. After a token of our own, until it is known what is ours
    /// of everybody's, nothing is. Who has a place keeps it: it will leave under the new one.
    pub fn renew(&mut self, belongs: Belongs) {
        match (&self.ours, belongs) {
            (Ours::All, _) | (Ours::Alone(_), Belongs::Us) => self.restart(),
            (Ours::Part(_), Belongs::All) => {}
            (Ours::Part(_), Belongs::Us) => self.ours = Ours::Alone(mem::take(&mut self.sent)),
            (Ours::Alone(_), Belongs::All) => {
                self.share(Cap::nothing(self.limit.map_or(0, NonZeroU32::get).into()));
            }
        }
        self.paused_until = None;
        self.bend.forget();
        self.others = None;
    }

    /// Nothing is taken, paused or known that a new budget would not know.
    pub fn is_fresh(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.taken() == 0
            && self.paused_until.is_none_or(|until| until <= now)
            && self.bent_at(now) == self.limit.map(NonZeroU32::get)
    }

    /// When there will be one place more than now: a window from now, when all are free.
    pub fn next_free(&self, now: Instant) -> Instant {
        let leaves = self.sent.oldest().map_or(now + self.window, |slot| self.leaves(slot));
        leaves.max(self.paused_until.unwrap_or(now)).max(now)
    }

    /// How many places there are for a call. Those of the reserve are beside the others: who uses
    /// them takes nothing from anybody, and when they are used, urgent calls are calls like any.
    fn room(&mut self, limit: u32, urgent: bool, now: Instant) -> u64 {
        let limit = u64::from(limit);
        let Some(reserve) = &mut self.reserve else { return limit };
        let free = reserve.free_at(now);
        if urgent && free > 0 { limit } else { limit.saturating_sub(free).max(1) }
    }

    /// When the pace lets a call go that has `ahead` others before it. Urgent ones go beside it
    /// while the reserve lasts.
    fn due(&mut self, now: Instant, limit: u32, ahead: u64, urgent: bool) -> Option<Instant> {
        let pace = self.pace?;
        let reserve = self.reserve.as_mut().filter(|_| urgent);
        let beside = reserve.map_or(0, |reserve| reserve.free_at(now));
        (ahead >= beside).then(|| pace.free_at(now, ahead - beside, self.rate(limit)))
    }

    /// What the pace spreads: all but the reserve, or it would be used up before the window's end.
    fn rate(&self, limit: u32) -> (u32, Duration) {
        let kept = self.reserve.as_ref().map_or(0, |reserve| reserve.places().get());
        (limit.saturating_sub(kept).max(1), self.window)
    }

    fn count(&mut self, calls: u32, now: Instant) {
        let slot = self.slot_of(now);
        if !self.sent.reaches(slot) {
            self.expire(now);
        }
        self.sent.add(slot, calls);
    }

    fn expire(&mut self, now: Instant) {
        while self.sent.oldest().is_some_and(|slot| self.leaves(slot) <= now) {
            self.sent.forget_oldest();
        }
        self.others = self.others.filter(|others| now < others.until);
    }

    /// When so many places more will be free.
    fn leaves_at(&self, now: Instant, mut missing: u64) -> Instant {
        let mut others = self.others;
        let mut at = now;
        for (slot, count) in self.sent.slots() {
            let leaves = self.leaves(slot);
            if let Some(gone) = others.take_if(|others| others.until <= leaves && missing > 0) {
                missing = missing.saturating_sub(gone.places);
                at = at.max(gone.until);
            }
            if missing == 0 {
                return at;
            }
            missing = missing.saturating_sub(u64::from(count));
            at = at.max(leaves);
        }
        if let Some(gone) = others.filter(|_| missing > 0) {
            missing = missing.saturating_sub(gone.places);
            at = at.max(gone.until);
        }
        // The rest has a turn and has not left: at best it does so now.
        if missing > 0 { at.max(now + self.window) } else { at }
    }

    fn sent_since(&self, since: Instant) -> u32 {
        self.sent.since(self.slot_of(since))
    }

    fn slot_of(&self, when: Instant) -> u64 {
        let since = when.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since / self.slot.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The end of a slot, one window later.
    fn leaves(&self, slot: u64) -> Instant {
        let nanos = self.slot.as_nanos().saturating_mul(u128::from(slot) + 1);
        let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.epoch + since + self.window
    }
}

/// A number of calls: more than four billion are many.
fn whole(calls: u64) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
