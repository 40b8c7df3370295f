//! Every request asks for a token once, and once more for every 401.

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use genesys_proxy::decide::{
    freshness::{Freshness, Generation, Verdict},
    renewals::Renewals,
};

use crate::t0;

const DAY: Duration = Duration::from_secs(86_399);

fn fresh(now: Instant) -> (Freshness, Generation) {
    let mut freshness = Freshness::new(Duration::from_secs(300));
    freshness.task(now);
    let generation = freshness.fetched(now, DAY, 0.5);
    (freshness, generation)
}

/// The common case: the token is good.
#[divan::bench]
fn use_a_valid_token(bencher: Bencher) {
    let now = t0();
    let (freshness, _) = fresh(now);
    bencher.bench_local(|| black_box(&freshness).step(black_box(now)));
}

/// A storm of 401s for a token that was replaced long ago.
#[divan::bench]
fn a_late_401(bencher: Bencher) {
    let now = t0();
    let (mut freshness, old) = fresh(now);
    freshness.fetched(now, DAY, 0.5);
    let mut renewals = Renewals::default();
    bencher.bench_local(|| {
        freshness.rejected(&mut renewals, black_box(now), black_box(old), black_box(7), true)
    });
}

/// A 401 for reasons other than the token, with the table of such families full.
#[divan::bench]
fn a_401_of_a_blamed_family(bencher: Bencher) {
    let now = t0();
    let (mut freshness, generation) = fresh(now);
    let mut renewals = Renewals::default();
    for family in 0..64 {
        freshness.fruitless(&mut renewals, now, generation, family, true);
    }
    assert_eq!(freshness.rejected(&mut renewals, now, generation, 63, true), Verdict::PassOn);
    bencher.bench_local(|| {
        let (now, family) = (black_box(now), black_box(63));
        freshness.rejected(&mut renewals, now, black_box(generation), family, true)
    });
}
