//! How many retries traffic pays for: each first try pays in a share of one, each retry takes one.
//! It never lets trouble multiply itself: however often calls fail, and whoever repeats them, the
//! retries of any traffic are at most the floor and `budget` times its first tries.
//!
//! Everything is counted in thousandths of a retry, so that whoever keeps the balance can add to it
//! with one instruction and without a lock.

/// A retry, in thousandths.
const RETRY: u64 = 1_000;
/// Retries that nothing has paid for yet. A script that makes one call pays in a fifth of a retry
/// and would never get one; ten are all that one call can take (`retry.attempts` is at most 10),
/// and nothing to an upstream in trouble: they are there once, not once in a while.
const FLOOR: u64 = 10 * RETRY;
/// What good times save for bad ones: retries on top of the share of the traffic that fails then. A
/// minute of Genesys's usual allowance (300 calls) pays for 60 at the usual fifth.
const CAP: u64 = 60 * RETRY;

/// What each first try pays in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// `retry.budget`, retries as a share of traffic, from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1000"
    )]
    pub fn of(budget: f64) -> Self {
        Self((budget.clamp(0.0, 1.0) * 1_000.0).round() as u64)
    }

    /// The balance before any call. Nothing when nothing is ever paid in: 0 means no retries.
    pub fn floor(self) -> u64 {
        if self.0 == 0 { 0 } else { FLOOR }
    }

    /// To be added to the balance at each first try. A sum above the cap does no harm: what is
    /// beyond it is lost when a retry is next taken, and that is when it would be looked at.
    pub fn per_call(self) -> u64 {
        self.0
    }
}

/// The balance after a retry is taken, if there is one.
pub fn take(balance: u64) -> Option<u64> {
    balance.min(CAP).checked_sub(RETRY)
}

/// Whole retries that a balance pays for.
pub fn left(balance: u64) -> u64 {
    balance.min(CAP) / RETRY
}

/// To be added to the balance for a retry that was taken and not sent.
pub fn refund() -> u64 {
    RETRY
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retries(mut balance: u64) -> u64 {
        let mut taken = 0;
        while let Some(left) = take(balance) {
            (balance, taken) = (left, taken + 1);
        }
        taken
    }

    #[test]
    fn a_lone_call_has_retries_and_five_calls_pay_for_one() {
        let share = Share::of(0.2);
        assert_eq!(retries(share.floor() + share.per_call()), 10);
        assert_eq!(retries(5 * share.per_call()), 1);
        assert_eq!(retries(4 * share.per_call()), 0);
    }

    #[test]
    fn without_a_budget_there_is_no_retry_not_even_a_first() {
        let share = Share::of(0.0);
        assert_eq!(retries(share.floor() + 1_000_000 * share.per_call()), 0);
    }

    #[test]
    fn a_quiet_year_does_not_pay_for_a_storm() {
        let share = Share::of(1.0);
        assert_eq!(retries(share.floor() + 1_000_000_000 * share.per_call()), 60);
    }

    #[test]
    fn nonsense_is_clamped() {
        assert_eq!(Share::of(-1.0), Share(0));
        assert_eq!(Share::of(f64::NAN), Share(0));
        assert_eq!(Share::of(2.0), Share(1_000));
    }

    proptest! {
        /// Calls, wishes for a retry, and retries taken but not sent, in any order.
        #[test]
        fn retries_are_at_most_the_floor_and_the_budgets_share_of_first_tries(
            thousandths in 0u32..=1_000,
            steps in prop::collection::vec(0u8..4, 0..2_000),
        ) {
            let share = Share::of(f64::from(thousandths) / 1_000.0);
            prop_assert_eq!(share.per_call(), u64::from(thousandths));
            let (mut balance, mut calls, mut sent) = (share.floor(), 0, 0_u64);
            for step in steps {
                match step {
                    0 => (balance, calls) = (balance + share.per_call(), calls + 1),
                    1 | 2 => if let Some(left) = take(balance) {
                        (balance, sent) = (left, sent + 1);
                    },
                    _ => if let Some(left) = take(balance) {
                        balance = left + refund();
                    },
                }
                prop_assert!(sent * RETRY <= FLOOR + u64::from(thousandths) * calls);
            }
        }
    }
}
