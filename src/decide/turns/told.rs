//! What callers are told: what they have left, and when to come back.
//! It never tells a time at which the call would not be served, as far as can be known.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{At, Call, GateId, Turns};
use crate::decide::queue::Who;

/// What a caller has left, for `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Calls in a window: the caller's ceiling, or what the tokens allow.
    pub limit: u32,
    /// The window, in seconds.
    pub window: u32,
    /// Of these, what the caller could use now: its share, when others wait.
    pub remaining: u32,
    /// Seconds until there is more.
    pub reset: u32,
}

/// A call that cannot be served in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Whole seconds, at least one. Who comes back then has its turn.
    pub retry_after: Duration,
    /// There is no room to wait.
    pub full: bool,
    /// What its caller has left: nothing.
    pub standing: Option<Standing>,
}

/// A caller that can wait so long is told the second before its turn: who comes then stands in line
/// for what is left of it, and no part of the allowance is lost to rounding.
const CAN_WAIT: Duration = Duration::from_secs(2);
/// For how long a turn waits for its call: timers and networks are late.
const GRACE: Duration = Duration::from_secs(5);

impl<W> Turns<W> {
    /// Tells a call that it will not be served in time, and when it will.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        call: &Call,
        passed: usize,
        (turn_at, slowest): (Instant, At),
        full: bool,
    ) -> Refused {
        self.release(call, passed, now);
        let wait = self.at_most(now, call, slowest).max(turn_at).saturating_duration_since(now);
        let patience = call.deadline.saturating_duration_since(now);
        let retry_after = whole_seconds(wait, patience >= CAN_WAIT);
        let told = now + retry_after;
        let who = call.who;
        if let Some(line) = self.line_at(slowest) {
            line.promise(&who, now, (told, told + GRACE + retry_after / 10));
        }
        let standing = self.standing(now, &call.who, call.ceiling).map(|standing| Standing {
            remaining: 0,
            reset: small(retry_after.as_secs()),
            ..standing
        });
        Refused { retry_after, full, standing }
    }

    /// When a call would leave where that is decided, however many others come before it.
    fn at_most(&mut self, now: Instant, call: &Call, at: At) -> Instant {
        if let Some(gate) = at.and_then(|id| self.gates.get_mut(&id)) {
            let ahead = gate.line.ahead_at_most(&call.who, now);
            return gate.available_at(now, ahead);
        }
        let ahead = self.line.ahead_at_most(&call.who, now);
        self.lanes.available_at(now, ahead, false)
    }

    /// What is left of the tokens, whoever asks.
    pub fn standing_of_all(&mut self, now: Instant) -> Option<Standing> {
        let (limit, taken) = self.lanes.standing(now)?;
        let reset = self.lanes.next_free(now).saturating_duration_since(now);
        Some(Standing {
            limit: small(limit),
            window: small(self.lanes.allowance().window.as_secs()),
            remaining: small(limit.saturating_sub(taken)),
            reset: small(whole_seconds(reset, false).as_secs()),
        })
    }

    /// What a caller has left.
    pub(super) fn standing(
        &mut self,
        now: Instant,
        who: &Who,
        ceiling: Option<NonZeroU32>,
    ) -> Option<Standing> {
        let all = self.standing_of_all(now)?;
        let (own, sharing) = self.line.share(who);
        let share = small(u64::from(all.remaining).saturating_mul(own) / sharing.max(1));
        let Some(ceiling) = ceiling.map(NonZeroU32::get) else {
            return Some(Standing { remaining: share, ..all });
        };
        let gate = self.gates.get_mut(&GateId::Ceiling(who.principal));
        let taken = gate.map_or(0, |gate| gate.budget.taken_at(now));
        let left = ceiling.saturating_sub(small(taken));
        Some(Standing { limit: ceiling.min(all.limit), remaining: share.min(left), ..all })
    }
}

/// A number for a header: more than four billion is many.
pub(super) fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// At least one, so that nobody spins.
fn whole_seconds(wait: Duration, early: bool) -> Duration {
    let up = u64::from(!early && wait.subsec_nanos() > 0);
    Duration::from_secs((wait.as_secs() + up).max(1))
}
