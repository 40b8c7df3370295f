//! How the budgets stand, all of them together, for people who look.
//! It never changes what a call may do.

use std::time::Instant;

use super::Lanes;

/// What is used of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spending {
    /// Calls in a window, as configured; `None`: no limit of our own.
    pub limit: Option<u64>,
    /// Of these, what may leave here now: others may have the rest, or use it.
    pub allowed: Option<u64>,
    /// Places that are taken or used at this moment.
    pub used: u64,
    /// Nothing leaves before this: every token is paused.
    pub paused_until: Option<Instant>,
}

impl Lanes {
    /// How they stand now.
    pub fn spending(&mut self, now: Instant) -> Spending {
        let limit = self.limit().map(|limit| limit.get().into());
        let (mut allowed, mut used) = (limit.map(|_| 0), 0);
        let mut pauses = Vec::new();
        for state in self.all_mut() {
            let own = state.budget.limit_at(now).map(u64::from);
            allowed = allowed.zip(own).map(|(sum, own)| sum + own);
            used += state.budget.taken_at(now);
            pauses.push(state.budget.paused_until().filter(|until| now < *until));
        }
        // One token without a pause is a way out for every call.
        let paused_until = pauses.into_iter().collect::<Option<Vec<_>>>();
        Spending {
            limit,
            allowed,
            used,
            paused_until: paused_until.and_then(|all| all.into_iter().min()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;
    use crate::decide::{
        budget::Allowance,
        lanes::{Lane, Spot},
        t0,
    };

    fn lanes(count: usize, limit: u32) -> Lanes {
        let limit = NonZeroU32::new(limit);
        let window = Duration::from_secs(60);
        Lanes::new(count, Allowance { limit, window, even: false, reserve: 0 }, t0())
    }

    #[test]
    fn what_several_tokens_allow_and_used_is_summed_up_and_forgotten_with_its_window() {
        let mut lanes = lanes(2, 10);
        for _ in 0..3 {
            let spot = lanes.take(t0(), false).unwrap();
            lanes.leave(1, spot, t0());
        }
        let told = Spending { limit: Some(20), allowed: Some(20), used: 3, paused_until: None };
        assert_eq!(lanes.spending(t0()), told);
        assert_eq!(lanes.spending(t0() + Duration::from_secs(61)).used, 0);
    }

    #[test]
    fn all_is_paused_when_every_token_is_and_until_the_first_of_them_is_not() {
        let mut lanes = lanes(2, 10);
        let spot = |number| Spot { lane: Lane::new(number), ..Spot::default() };
        let t0 = t0();
        let after = |seconds| t0 + Duration::from_secs(seconds);
        lanes.hold(spot(0), after(9));
        assert_eq!(lanes.spending(t0).paused_until, None);
        lanes.hold(spot(1), after(5));
        assert_eq!(lanes.spending(t0).paused_until, Some(after(5)));
        assert_eq!(lanes.spending(after(5)).paused_until, None);
    }

    #[test]
    fn without_a_limit_nothing_is_told_of_one() {
        assert_eq!(lanes(1, 0).spending(t0()), Spending::default());
    }
}
