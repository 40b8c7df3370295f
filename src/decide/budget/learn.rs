//! What upstream's answers teach a budget: pauses, what others use, what is left.
//! It never makes it allow more than was configured or told.

use std::time::{Duration, Instant};

use super::{Budget, sent::Sent, whole};
use crate::decide::{bend::Bend, quota::Quota};

/// `Retry-After` is in whole seconds.
const ROUNDED: Duration = Duration::from_secs(1);
/// A limit that is used but for a tenth is used up, when clocks and networks are reckoned with.
const NEARLY: u32 = 10;

/// What a 429 changes, as it was before one that may have been another's.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    paused_until: Option<Instant>,
    bend: Bend,
}

impl Before {
    /// A pause that is this one's for certain.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }
}

/// Places that others use, as upstream's answers tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others {
    pub(super) places: u64,
    pub(super) until: Instant,
    /// Of which call's answer.
    as_of: u64,
}

impl Budget {
    /// Upstream refused a call, for whatever reason: the `first` after others had passed, or one
    /// more.
    pub fn refused(&mut self, first: bool) {
        self.refused = if first { 1 } else { self.refused.saturating_add(1) };
    }

    /// Upstream said 429, and means this: nothing leaves before `until`. When our own count does not
    /// explain it, others use the rest: true when that is news.
    pub fn limited(&mut self, now: Instant, until: Instant) -> bool {
        // Of one pause it is told once.
        self.noticed &= self.paused_until.is_some_and(|paused| now < paused);
        self.pause(until);
        let Some(limit) = self.limit else { return false };
        // Upstream's window ends when it takes more, a second early at most, as seconds are told
        // rounded up. What we had in it, without what it refused.
        let sent = self.sent_since(self.begun(until).min(now));
        let used = sent.saturating_sub(self.refused);
        // Of what is other replicas', only they can tell.
        let own = self.cap().map_or(limit.get(), |cap| limit.get().min(whole(cap.now)));
        if used >= own - own / NEARLY {
            // Our own count explains it: clocks and networks are not exact.
            return false;
        }
        let full = (limit.get(), self.nominal);
        let before = self.bend.limit(full.0, full.1, now);
        self.bend.limited(used, full, (now, until));
        let news = !self.noticed && self.bend.limit(full.0, full.1, now) < before;
        self.noticed |= news;
        news
    }

    /// When upstream's window began that ends at `until`; or a second before.
    pub fn begun(&self, until: Instant) -> Instant {
        until.checked_sub(self.nominal + ROUNDED).unwrap_or(self.epoch)
    }

    /// What was counted so far is another token's.
    pub fn restart(&mut self) {
        self.sent = Sent::default();
        if let Some(reserve) = &mut self.reserve {
            reserve.restart();
        }
    }

    /// Nothing leaves before `until`. A shorter pause does not end a longer one.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// What a 429 changes, as it is now.
    pub fn before(&self) -> Before {
        Before { paused_until: self.paused_until, bend: self.bend }
    }

    /// It was not this that was limited.
    pub fn undo(&mut self, before: Before) {
        Before { paused_until: self.paused_until, bend: self.bend } = before;
    }

    /// What upstream said of the quota, with the answer to the `as_of`-th call that ever left. It
    /// may be less than we think, if others use it; it is never more.
    pub fn told(&mut self, quota: &Quota, as_of: u64, now: Instant) {
        let Some(limit) = self.limit.map(|limit| u64::from(limit.get())) else { return };
        // What is other replicas' is none of this: they count it there.
        let limit = self.cap().map_or(limit, |cap| limit.min(cap.at(now)));
        if self.others.is_some_and(|others| others.as_of > as_of) {
            return;
        }
        self.expire(now);
        let own = self.sent.total() + self.reserved;
        // What left since is not in upstream's count yet, perhaps.
        let unseen = self.left.saturating_sub(as_of) + self.reserved;
        let free = quota.remaining.saturating_sub(unseen);
        let places = limit.saturating_sub(own).saturating_sub(free);
        let until = now + quota.reset.unwrap_or(self.window).min(self.window);
        self.others = Some(Others { places, until, as_of });
    }

    /// How many calls ever left.
    pub fn ever_left(&self) -> u64 {
        self.left
    }

    /// What was said of others' calls was not said of this.
    pub fn nobody_else(&mut self) {
        self.others = None;
    }
}
