//! Limits and terms that change while calls wait.
//! It never forgets what has left, and sends nobody away: whoever waits has asked under what was.

use std::num::NonZeroU32;

use super::{
    Turns,
    gate::{self, GateId},
};
use crate::decide::callers::Granted;

impl<W> Turns<W> {
    /// Callers are granted something else from now on. Whoever waits has asked under what was; what it
    /// took of a ceiling counts under the new one.
    pub fn regrant(&mut self, callers: &Granted) {
        self.rules.ceilings = callers.have_ceilings();
        for (id, gate) in &mut self.gates {
            let GateId::Ceiling(principal) = id else { continue };
            if let Some(ceiling) = callers.terms(*principal).requests_per_minute {
                gate.allow(ceiling, self.lanes.allowance().window);
            }
        }
    }

    /// Each token allows `limit` calls from now on, and so many may wait. What has left counts under it.
    pub fn retune(&mut self, limit: Option<NonZeroU32>, max_queue: usize) {
        self.rules.max_queue = max_queue;
        let was = self.lanes.allowance().limit;
        let Some(limit) = limit.filter(|limit| was != Some(*limit)) else { return };
        self.lanes.allow(limit);
        let (all, window) = (self.lanes.limit(), self.lanes.allowance().window);
        self.line.paced(gate::pace(all, window));
        // Those without a limit of their own have what all of it allows.
        let assumed = self.gates.values_mut().filter(|gate| gate.assumed);
        if let Some(all) = all {
            assumed.for_each(|gate| gate.allow(all, window));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::decide::{
        budget::Allowance,
        callers::{Principal, Terms},
        lanes::Lanes,
        turns::{Rules, gate::GateId},
    };

    fn t0() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "only distances from it count")]
        Instant::now()
    }

    fn turns(limit: u32, t0: Instant) -> Turns<()> {
        let limit = NonZeroU32::new(limit);
        let window = Duration::from_secs(60);
        let allowance = Allowance { limit, window, even: false, reserve: 0 };
        let rules = Rules { max_queue: 10, families: Vec::new(), ceilings: false };
        Turns::new(rules, Lanes::new(1, allowance, t0), t0)
    }

    #[test]
    fn another_limit_counts_what_was_taken_under_the_former_one() {
        let t0 = t0();
        let mut turns = turns(3, t0);
        let take = |turns: &mut Turns<()>| turns.lanes().take(t0, false).is_ok();
        assert_eq!((0..5).filter(|_| take(&mut turns)).count(), 3);
        turns.retune(NonZeroU32::new(5), 10);
        assert_eq!((0..5).filter(|_| take(&mut turns)).count(), 2);
        turns.retune(NonZeroU32::new(2), 10);
        assert!(!take(&mut turns));
        assert_eq!(turns.lanes().limit(), NonZeroU32::new(2));
    }

    #[test]
    fn a_family_without_a_quota_of_its_own_is_not_held_to_the_former_limit() {
        let t0 = t0();
        let mut turns = turns(2, t0);
        let id = GateId::Learned(0);
        let taken = |turns: &mut Turns<()>| {
            let gate = turns.gate(id, None, t0);
            std::iter::from_fn(|| gate.take(t0).ok()).count()
        };
        assert_eq!(taken(&mut turns), 2);
        turns.retune(NonZeroU32::new(5), 10);
        assert_eq!(taken(&mut turns), 3);
    }

    #[test]
    fn who_waits_under_another_ceiling_is_told_by_the_new_pace() {
        let t0 = t0();
        let mut turns = turns(100, t0);
        let of = |most| Terms { requests_per_minute: NonZeroU32::new(most), ..Terms::default() };
        let id = GateId::Ceiling(Principal::Named(0));
        turns.gate(id, NonZeroU32::new(1), t0);
        turns.regrant(&Granted::new([of(60)]));
        let window = turns.lanes.allowance().window;
        let paced = turns.gate(id, NonZeroU32::new(60), t0).line.pace();
        assert_eq!(paced, gate::pace(NonZeroU32::new(60), window));
    }

    #[test]
    fn another_ceiling_is_that_of_a_gate_which_is_there() {
        let t0 = t0();
        let mut turns = turns(100, t0);
        let of = |most| Terms { requests_per_minute: NonZeroU32::new(most), ..Terms::default() };
        let id = GateId::Ceiling(Principal::Named(0));
        let mut gone = turns.gate(id, NonZeroU32::new(2), t0).clone();
        assert_eq!(std::iter::from_fn(|| gone.take(t0).ok()).count(), 2);
        turns.regrant(&Granted::new([of(4)]));
        assert!(turns.is_gated());
        let gate = turns.gate(id, NonZeroU32::new(4), t0);
        assert_eq!(std::iter::from_fn(|| gate.take(t0).ok()).count(), 4);
    }
}
