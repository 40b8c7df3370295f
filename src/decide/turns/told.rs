//! What callers are told: what they have left, and when to come back.
//! It never tells a time at which the call would not be served, as far as can be known.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{At, Call, GateId, Turns, Waiting};
use crate::decide::queue::{Known, Queue, Who};

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
/// Promises at once, in all lines. Who is refused beyond them is told a time all the same, but is not
/// known when it comes.
const MOST: usize = 10_000;
/// For how long a turn waits for its call: timers and networks are late.
const GRACE: Duration = Duration::from_secs(5);

impl<W> Turns<W> {
    /// Tells a call that it will not be served in time, and when it will. `known`: of one that has
    /// come back, or stood in line.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        (call, known): (&Call, Option<Known>),
        (turn_at, slowest): (Instant, At),
        full: bool,
    ) -> Refused {
        let ahead = |line: &Queue<_>| line.ahead_when_told(&call.who, now, known);
        let back_at = self.free_after(now, slowest, ahead);
        let told = Told::at(now, back_at.max(turn_at), call.deadline);
        self.promise(now, call, (slowest, known), told);
        self.refused(now, call, told, (slowest, full))
    }

    /// Tells a call that has no place in this line any longer, for want of room.
    pub(super) fn turned_away(&mut self, now: Instant, out: Waiting<W>, at: At) -> (W, Refused) {
        let Waiting { call, visit, waiter } = out;
        self.let_go(&visit.held, now);
        let (turn_at, _) = self.turn_at(now, &call);
        (waiter, self.refuse(now, (&call, visit.known), (turn_at, at), true))
    }

    /// Tells a call whose patience ends in line, where it has a place among its caller's.
    pub(super) fn refuse_in_line(
        &mut self,
        now: Instant,
        call: &Call,
        (at, known): (At, Known),
    ) -> Refused {
        let ahead = |line: &Queue<_>| line.ahead_when_told(&call.who, now, Some(known));
        let here = self.free_after(now, at, ahead);
        // Some other limit may hold it up for longer by now.
        let (later, elsewhere) = self.turn_at(now, call);
        let (turn_at, slowest) =
            if elsewhere != at && later > here { (later, elsewhere) } else { (here, at) };
        let told = Told::at(now, turn_at, call.deadline);
        self.promise(now, call, (slowest, Some(known)), told);
        self.refused(now, call, told, (slowest, false))
    }

    fn promise(&mut self, now: Instant, call: &Call, (at, known): (At, Option<Known>), told: Told) {
        let gates = self.gates.values().map(|gate| gate.line.open());
        let open = gates.sum::<usize>() + self.line.open();
        if let Some(line) = self.line_at(at) {
            line.promise(&call.who, known, now, (told.at, told.expires, open < MOST));
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        call: &Call,
        Told { retry_after, .. }: Told,
        (slowest, full): (At, bool),
    ) -> Refused {
        let standing = self.standing(now, &call.who, call.ceiling).map(|standing| match slowest {
            // Of a family's limit the field does not speak: other calls may go.
            Some(GateId::Family(_) | GateId::Learned(_)) => standing,
            Some(GateId::Ceiling(_)) | None => {
                Standing { remaining: 0, reset: small(retry_after.as_secs()), ..standing }
            }
        });
        Refused { retry_after, full, standing }
    }

    /// When a call could go on with so many before it in its line.
    fn free_after(
        &mut self,
        now: Instant,
        at: At,
        ahead: impl FnOnce(&Queue<Waiting<W>>) -> usize,
    ) -> Instant {
        let Some(id) = at else { return self.lanes.available_at(now, ahead(&self.line), false) };
        let gate = self.gates.get_mut(&id);
        gate.map_or(now, |gate| {
            let ahead = ahead(&gate.line);
            gate.available_at(now, ahead)
        })
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

    /// Seconds until its ceiling leaves it more.
    fn reset_of(&self, now: Instant, who: &Who) -> Option<u32> {
        let next = self.gates.get(&GateId::Ceiling(who.principal))?.budget.next_free(now);
        Some(small(whole_seconds(next.saturating_duration_since(now), false).as_secs()))
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
        let reset =
            if left < share { self.reset_of(now, who).unwrap_or(all.reset) } else { all.reset };
        Some(Standing { limit: ceiling.min(all.limit), remaining: share.min(left), reset, ..all })
    }
}

/// A time that is told, and until when it holds.
#[derive(Debug, Clone, Copy)]
struct Told {
    retry_after: Duration,
    at: Instant,
    expires: Instant,
}

impl Told {
    fn at(now: Instant, turn_at: Instant, deadline: Instant) -> Self {
        let wait = turn_at.saturating_duration_since(now);
        let patience = deadline.saturating_duration_since(now);
        let retry_after = whole_seconds(wait, patience >= CAN_WAIT);
        let at = now + retry_after;
        Self { retry_after, at, expires: at + GRACE + retry_after / 10 }
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
