//! What upstream's answers teach: which family is limited, and what is left of a quota.
//! It never forgets a limit while somebody waits for it, and never remembers more than it needs.

use std::{num::NonZeroU32, time::Instant};

use super::{Turns, gate::GateId, told::small};
use crate::decide::{
    blame::{Doubt, Family, Suspect},
    budget::Belongs,
    lanes::{Spot, Whose},
    quota::{Quota, whose::Watch},
};

/// Families that are limited at once. Beyond it the token is held up instead, if it may be its limit.
const MOST: usize = 256;
/// Windows without a 429 after which a family is no longer looked at.
const FORGOTTEN: u32 = 10;

/// What was held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// This path family. When it was found to take less than was thought: how many calls.
    Family(Option<u32>),
    /// The token. When others use its limit too: what is left of it for us.
    Token(Option<u32>),
    /// Nothing: the token has been replaced since, or there are too many families to hold up one
    /// more.
    Nothing,
}

/// A call that upstream refused.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The token that it was signed with.
    pub spot: Spot,
    /// The gates that it passed.
    pub gates: &'a [GateId],
    /// Its path family.
    pub family: Family,
    /// When upstream takes more.
    pub until: Instant,
}

impl<W> Turns<W> {
    /// Upstream said 429: what it speaks of is held up until then, and nothing else.
    pub fn limited(&mut self, refusal: Refusal<'_>, now: Instant) -> Limited {
        let Refusal { spot, gates, family, until } = refusal;
        // Calls that share a rate by declaration are one family. One that is named for how many may
        // go at once may have any calls in it.
        let rated = |id: &GateId| self.gates.get(id).is_some_and(|gate| !gate.assumed);
        let suspect = gates.iter().find_map(|id| match *id {
            GateId::Family(n) if rated(id) => Some(Suspect::Named(n)),
            GateId::Family(_) | GateId::Learned(_) | GateId::Ceiling(_) => None,
        });
        let suspect = suspect.unwrap_or(Suspect::Family(family));
        let id = suspect.into();
        let paused = self.gates.get(&id).and_then(|gate| gate.budget.paused_until());
        let held = paused.is_some_and(|paused| now < paused);
        let Some(whose) = self.lanes.limited(spot, (suspect, held), (now, until)) else {
            return Limited::Nothing;
        };
        match whose {
            Whose::Suspect(doubt) => {
                if !self.gates.contains_key(&id) && !self.room_for_one() {
                    if doubt == Doubt::None {
                        return Limited::Nothing;
                    }
                    self.lanes.hold(spot, until);
                    return Limited::Token(None);
                }
                let window = self.lanes.allowance().window;
                let gate = self.gate(id, None, now);
                Limited::Family(gate.refused((now, until), window, doubt))
            }
            Whose::Token { instead_of, bent } => {
                let wronged = instead_of.and_then(|other| self.gates.get_mut(&other.into()));
                if let Some(gate) = wronged {
                    gate.cleared();
                }
                Limited::Token(if bent { self.lanes.limit_of(spot, now) } else { None })
            }
        }
    }

    /// What upstream said of a quota, with the answer to the `as_of`-th call under this token. One
    /// that is smaller than the token's is the family's, until it is seen to fall with the calls of
    /// others; and so is one that does not say how many calls it is of, which counts only once
    /// little is left of it: else each family that tells of one would get a line of its own.
    pub fn told(&mut self, call: (Spot, Family), quota: &Quota, as_of: u64, now: Instant) {
        let (spot, family) = call;
        let limit =
            quota.limit.map(|limit| NonZeroU32::new(small(limit)).unwrap_or(NonZeroU32::MIN));
        let full = self.lanes.allowance().limit;
        let full = full.filter(|full| limit.is_none_or(|told| told < *full));
        // No quota below the token's is as large as what stands for those that do not say.
        let told = limit.unwrap_or(NonZeroU32::MAX);
        let Some(full) = full.filter(|_| self.told != Some(told)) else {
            return self.lanes.told(spot, quota, as_of, now);
        };
        let id = GateId::Learned(family);
        let counts = limit.is_some() || quota.is_scarce(full.get());
        let no_gate = || !counts || !self.room_for_one();
        if !self.gates.contains_key(&id) && no_gate() {
            return;
        }
        let all = self.lanes.ever_left();
        let gate = self.gate(id, None, now);
        if let Some(limit) = limit {
            gate.budget.allow(limit);
            gate.assumed = false;
        }
        if counts {
            gate.limited_at = Some(now);
        }
        let own = gate.budget.ever_left();
        if let Some(all) = all
            && gate.watch.get_or_insert(Watch::new(all)).told(quota, as_of, own)
        {
            return self.told_of_all(spot, (told, quota), as_of, now);
        }
        // Not of this call, but of the last that left: what is on its way is taken to be counted.
        gate.budget.told(quota, own, now);
    }

    /// It is the token's quota: the families that it was taken for are free again.
    fn told_of_all(
        &mut self,
        spot: Spot,
        (told, quota): (NonZeroU32, &Quota),
        as_of: u64,
        now: Instant,
    ) {
        self.told = Some(told);
        if let Some(all) = self.lanes.limit() {
            let wronged = self.gates.iter_mut().filter(|(id, gate)| {
                matches!(id, GateId::Learned(_)) && gate.budget.limit() == Some(told.get())
            });
            for (_, gate) in wronged {
                gate.acquit(all);
            }
        }
        self.lanes.told(spot, quota, as_of, now);
    }

    /// This token signs from now on; false when nothing is new about it. Upstream counts a new one
    /// from nothing.
    pub fn seen(&mut self, spot: Spot, belongs: Belongs, now: Instant) -> bool {
        let news = self.lanes.seen(spot, belongs);
        if news {
            let assumed = self.gates.values_mut().filter(|gate| gate.assumed);
            assumed.for_each(|gate| gate.restart(now));
        }
        news
    }

    /// Families that have not been limited for long are no longer looked at.
    pub(super) fn tidy(&mut self, now: Instant) {
        let window = self.lanes.allowance().window;
        if self.gates.is_empty() || now.saturating_duration_since(self.tidied) < window {
            return;
        }
        self.tidied = now;
        let lasting = window * FORGOTTEN;
        self.gates.retain(|id, gate| {
            gate.line.expire(now);
            let learned = matches!(id, GateId::Learned(_));
            let recent = |at: Instant| now.saturating_duration_since(at) < lasting;
            let limited = gate.limited_at.is_some_and(recent);
            if !limited {
                gate.opens();
            }
            let stays = !learned || limited || !gate.is_idle(now);
            if !stays {
                self.kept = self.kept + gate.line.promises();
            }
            stays
        });
    }

    fn room_for_one(&self) -> bool {
        self.gates.keys().filter(|id| matches!(id, GateId::Learned(_))).count() < MOST
    }
}
