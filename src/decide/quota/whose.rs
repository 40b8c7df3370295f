//! Whose quota it is that answers tell, when it is smaller than the token's: one family's, or all
//! calls' together.
//! It never takes a family's for the token's on the word of one answer.
//!
//! Between two answers to one family's calls, its own quota falls by its own calls; the token's falls
//! by those of all families.

use super::Quota;

/// So many calls of others between two answers are enough to tell.
const ENOUGH: u64 = 8;
/// And so many pairs of answers that agree.
const SURE: u8 = 2;

/// What is known of one family's answers.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// Calls under this token until the family's own were counted.
    since: u64,
    first: Option<Told>,
    agreed: u8,
}

/// One answer, and the calls that had left by then.
#[derive(Debug, Clone, Copy)]
struct Told {
    limit: Option<u64>,
    remaining: u64,
    all: u64,
    own: u64,
}

impl Watch {
    /// From when so many calls had left under the token.
    pub fn new(since: u64) -> Self {
        Self { since, first: None, agreed: 0 }
    }

    /// The answer to the `all`-th call under the token, when `own` of the family's had left since.
    /// Whether it is the token's quota, by now.
    pub fn told(&mut self, quota: &Quota, all: u64, own: u64) -> bool {
        let Quota { limit, remaining, reset: _ } = *quota;
        let told = Told { limit, remaining, all, own };
        if all <= self.since {
            return false;
        }
        let same =
            |first: &Told| first.limit == limit && first.remaining >= remaining && first.all <= all;
        let Some(first) = self.first.filter(same) else {
            // The first of its window.
            self.first = Some(told);
            return false;
        };
        let own = own.saturating_sub(first.own);
        let others = (all - first.all).saturating_sub(own);
        if others >= ENOUGH {
            let fell = (first.remaining - remaining).saturating_sub(own);
            let agrees = fell * 4 >= others * 3 && fell * 4 <= others * 5;
            self.agreed = if agrees { self.agreed + 1 } else { 0 };
            self.first = Some(told);
        }
        self.agreed >= SURE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 100;

    /// Calls of several families, by number; `shared`: they have one quota together. Whether the
    /// first family's answers say so.
    fn tokens(families: &[usize], shared: bool, others: u64) -> bool {
        let mut watch = Watch::new(0);
        let (mut used, mut own) = ([0; 4], 0);
        (1..).zip(families).any(|(all, &family)| {
            used[if shared { 0 } else { family }] += 1;
            if family != 0 {
                return false;
            }
            own += 1;
            let remaining = LIMIT.saturating_sub(used[0] + others);
            watch.told(&Quota { limit: Some(LIMIT), remaining, reset: None }, all, own)
        })
    }

    #[test]
    fn a_quota_that_falls_with_the_calls_of_others_is_the_tokens() {
        let in_turn: Vec<usize> = (0..40).map(|call| call % 4).collect();
        assert!(tokens(&in_turn, true, 0));
        assert!(!tokens(&in_turn, false, 0));
        assert!(!tokens(&[0; 60], true, 0), "one family alone: who can say");
    }

    #[test]
    fn a_new_window_a_new_limit_and_answers_in_disorder_begin_anew() {
        let mut watch = Watch::new(5);
        let mut told = |limit, remaining, all, own| {
            watch.told(&Quota { limit: Some(limit), remaining, reset: None }, all, own)
        };
        assert!(!told(100, 95, 5, 0), "its family's calls were not counted yet");
        assert!(!told(100, 90, 10, 1) && !told(100, 80, 20, 2), "one pair");
        assert!(!told(100, 95, 30, 3), "a new window");
        assert!(!told(90, 85, 40, 4), "another limit");
        assert!(!told(90, 80, 35, 4), "out of order");
        assert!(told(90, 70, 45, 5), "the second pair that agrees");
    }

    proptest! {
        /// Whatever the mix, and whoever else uses it.
        #[test]
        fn a_familys_own_quota_is_never_taken_for_the_tokens(
            families in prop::collection::vec(0usize..4, 0..100),
        ) {
            prop_assert!(!tokens(&families, false, 0));
        }

        #[test]
        fn the_tokens_is_found_to_be_it_when_enough_was_seen(
            families in prop::collection::vec(0usize..4, 90..95), others in 0u64..5,
        ) {
            prop_assert!(tokens(&families, true, others));
        }
    }
}
