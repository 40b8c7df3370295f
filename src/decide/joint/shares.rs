//! How much of a limit should be whose: all callers of all replicas by weight, and each replica what its
//! callers have.
//! It never gives a caller more because it calls at several replicas, and leaves nothing out.
//!
//! Weighted max-min fairness: whoever wants less than its share has what it wants, and the others share
//! the rest. What nobody wants the replicas have in equal parts, for what may come.

use std::{cmp::Ordering, collections::BTreeMap};

use super::wish::Wish;

/// What all callers have of a limit.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    /// What counts of a wish.
    most: u64,
    /// Of what a caller wants, as much is granted.
    granted: BTreeMap<u64, f64>,
    /// What nobody wants.
    rest: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct All {
    weight: f64,
    calls: f64,
}

/// What can be wanted of a limit: calls that come back as soon as they are sent away are not more calls.
pub(super) fn most(limit: u64) -> u64 {
    limit.saturating_mul(4)
}

/// `limit` shared by what is wanted at each replica.
pub fn shares<'a>(limit: u64, replicas: impl IntoIterator<Item = &'a [Wish]>) -> Shares {
    let mut callers: BTreeMap<u64, All> = BTreeMap::new();
    for wish in replicas.into_iter().flatten().filter(|wish| wish.calls > 0) {
        let all = callers.entry(wish.caller).or_default();
        all.weight = all.weight.max(f64::from(wish.weight.max(1)));
        all.calls += float(wish.calls.min(most(limit)));
    }
    let mut by_need: Vec<(u64, All)> = callers.into_iter().collect();
    by_need.sort_by(|(_, one), (_, other)| {
        need(*one).partial_cmp(&need(*other)).unwrap_or(Ordering::Equal)
    });
    let (mut rest, mut weight) =
        (float(limit), by_need.iter().map(|(_, all)| all.weight).sum::<f64>());
    let mut granted = BTreeMap::new();
    for (caller, all) in by_need {
        let fair = rest * all.weight / weight.max(all.weight);
        let has = all.calls.min(fair);
        granted.insert(caller, has / all.calls);
        rest = (rest - has).max(0.0);
        weight -= all.weight;
    }
    Shares { most: most(limit), granted, rest }
}

/// How full a caller's share is: those with little are served whole.
fn need(all: All) -> f64 {
    all.calls / all.weight
}

impl Shares {
    /// What a replica's callers have, and its part of what nobody wants.
    pub fn of(&self, wishes: &[Wish], replicas: usize) -> f64 {
        let wanted: f64 = wishes.iter().map(|wish| self.of_caller(wish)).sum();
        wanted + self.rest / float(replicas.max(1) as u64)
    }

    /// What a caller has at the replica that tells this wish.
    pub fn of_caller(&self, wish: &Wish) -> f64 {
        float(wish.calls.min(self.most)) * self.granted.get(&wish.caller).copied().unwrap_or(0.0)
    }
}

/// Each replica's cap, in their order: whole calls, which together are the limit.
pub fn caps(limit: u64, replicas: &[&[Wish]]) -> Vec<u64> {
    let shares = shares(limit, replicas.iter().copied());
    let exact: Vec<f64> = replicas.iter().map(|wishes| shares.of(wishes, replicas.len())).collect();
    let mut caps: Vec<u64> = exact.iter().map(|share| whole(*share)).collect();
    let mut order: Vec<usize> = (0..caps.len()).collect();
    let left_over = |n: &usize| exact.get(*n).map_or(0.0, |share| share - share.floor());
    // The larger the part that was cut off, the sooner; of two alike the first.
    order.sort_by(|one, other| {
        left_over(other).partial_cmp(&left_over(one)).unwrap_or(Ordering::Equal)
    });
    let mut missing = limit.saturating_sub(caps.iter().sum());
    for n in order {
        if let Some(cap) = caps.get_mut(n).filter(|_| missing > 0) {
            *cap += 1;
            missing -= 1;
        }
    }
    caps
}

/// Calls, to be divided.
#[expect(clippy::cast_precision_loss, reason = "of millions, one more or less is no matter")]
pub(super) fn float(calls: u64) -> f64 {
    calls as f64
}

/// The whole calls in a share.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
pub(super) fn whole(share: f64) -> u64 {
    // Sums of thirds are not whole.
    (share + 1e-6).floor() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(caller: u64, weight: u32, calls: u64) -> Wish {
        Wish { caller, weight, calls }
    }

    #[test]
    fn who_wants_little_has_it_and_the_others_share_the_rest() {
        let (a, b) = ([wish(1, 1, 20), wish(2, 1, 1000)], [wish(3, 1, 1000)]);
        assert_eq!(caps(300, &[&a, &b]), [160, 140]);
        let (a, b) = ([wish(1, 3, 1000)], [wish(2, 1, 1000)]);
        assert_eq!(caps(300, &[&a, &b]), [225, 75], "by weight");
    }

    #[test]
    fn a_caller_at_two_replicas_has_one_share() {
        let (a, b) = ([wish(1, 1, 600), wish(2, 1, 600)], [wish(1, 1, 600)]);
        assert_eq!(caps(300, &[&a, &b]), [225, 75]);
        let shares = shares(300, [&a[..], &b[..]]);
        assert!((shares.of_caller(&a[0]) - 75.0).abs() < 1e-6);
        assert!((shares.of_caller(&a[1]) - 150.0).abs() < 1e-6);
    }

    #[test]
    fn who_comes_back_at_once_when_it_is_sent_away_has_no_more_for_that() {
        let (patient, storm) = ([wish(1, 1, 240)], [wish(1, 1, 30_000)]);
        assert_eq!(caps(60, &[&patient, &storm]), [30, 30]);
    }

    #[test]
    fn what_nobody_wants_is_divided() {
        let busy = [wish(1, 1, 100)];
        assert_eq!(caps(300, &[&busy, &[], &[], &[]]), [150, 50, 50, 50]);
        assert_eq!(caps(7, &[&[], &[], &[]]), [3, 2, 2]);
    }

    proptest! {
        #[test]
        fn all_of_the_limit_is_somebodys_and_no_more(
            limit in 0..100_000_u64,
            replicas in proptest::collection::vec(
                proptest::collection::vec((0..12_u64, 1..1000_u32, 0..5_000_u64), 0..10), 1..8,
            ),
        ) {
            let replicas: Vec<Vec<Wish>> = replicas
                .into_iter()
                .map(|all| all.into_iter().map(|(c, w, d)| wish(c, w, d)).collect())
                .collect();
            let all: Vec<&[Wish]> = replicas.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(caps(limit, &all).iter().sum::<u64>(), limit);
        }
    }
}
