//! Every request takes a place in the budget; who finds none is told when to come again.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use divan::{Bencher, black_box};
use genesys_proxy::decide::budget::{Allowance, Budget};

use crate::t0;

const WINDOW: Duration = Duration::from_secs(60);

/// A window of calls behind it, spread evenly, so that every slot is in use; and the moment after.
fn busy(limit: u32) -> (Budget, Instant) {
    let mut now = t0();
    let limit = NonZeroU32::new(limit);
    let allowance = Allowance { limit, window: WINDOW, even: false, reserve: 0 };
    let mut budget = Budget::new(allowance, now);
    let calls = 6_000;
    for _ in 0..calls {
        if budget.take(now, false).is_ok() {
            budget.leave(1, now);
        }
        now += WINDOW / calls;
    }
    (budget, now)
}

/// A place is free. The clock moves, so that slots open and leave the window on the way.
#[divan::bench]
fn take_and_leave(bencher: Bencher) {
    let (mut budget, mut now) = busy(1_000_000_000);
    bencher.bench_local(|| {
        now += Duration::from_micros(100);
        let taken = budget.take(black_box(now), false);
        budget.leave(1, black_box(now));
        taken
    });
}

/// The window is full.
#[divan::bench]
fn refused(bencher: Bencher) {
    let (mut budget, now) = busy(6_000);
    while budget.take(now, false).is_ok() {
        budget.leave(1, now);
    }
    bencher.bench_local(|| budget.take(black_box(now), false));
}

/// When would it be the turn of a call with 5,000 before it: what `Retry-After` is made of.
#[divan::bench]
fn estimate_behind_5000(bencher: Bencher) {
    let (mut budget, now) = busy(6_000);
    bencher.bench_local(|| budget.available_at(black_box(now), black_box(5_000), false));
}
