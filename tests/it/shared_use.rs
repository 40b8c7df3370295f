//! Replicas whose callers want more than there is use the limit up, together, and never more of it: while
//! one of them joins and one leaves, and whoever of them is asked for most.

use std::time::Duration;

use genesys_proxy::simulator::Record;

use crate::support::{
    Hungry, Replicas, callers::rate_limit, gateway::ADMIN, redis::Redis, unlimited,
};

const ECHO: &str = "/api/v2/echo";
const LIMIT: u32 = 120;
const WINDOW: Duration = Duration::from_secs(3);
/// As many windows are looked at, after the first one. A part that moves is nobody's for up to a tenth of a
/// second: when a fourth of the limit does, that is less than a hundredth of so short a window, once.
const WINDOWS: u32 = 5;

fn one_joins(replicas: &mut Replicas) {
    replicas.joins_alone(&rate_limit(LIMIT, WINDOW.as_secs(), "max_wait = \"60s\""), &[ADMIN]);
}

/// As many calls are through as so many windows have.
async fn windows(replicas: &Replicas, count: u32) {
    replicas.until(|seen| seen.requests >= u64::from(LIMIT * count)).await;
}

/// Three, and so many callers at each; in the first window that is looked at a fourth joins, in the second
/// the first of them leaves. What was sent.
async fn used(callers: [usize; 4]) -> Vec<Record> {
    let mut replicas = Replicas::none(unlimited(), Redis::start()).await;
    for _ in 0..3 {
        one_joins(&mut replicas);
    }
    replicas.meet().await;
    let hungry = |replicas: &Replicas, n: usize| {
        Hungry::at(&replicas.gateways[n], &format!("{ECHO}/{n}"), callers[n])
    };
    let mut all: Vec<Hungry> = (0..3).map(|n| hungry(&replicas, n)).collect();
    windows(&replicas, 1).await;
    one_joins(&mut replicas);
    all.push(hungry(&replicas, 3));
    windows(&replicas, 2).await;
    all[0].have_enough();
    replicas.gateways[0].signal("TERM");
    windows(&replicas, WINDOWS + 2).await;
    for hungry in all {
        hungry.end().await;
    }
    replicas.never_over(ECHO, LIMIT, WINDOW);
    replicas.arrivals(ECHO)
}

/// The part of the limit that was used after the first window, by how long as many calls took as may be
/// sent in so many windows: on average, for they leave in bursts, and it matters where one begins.
fn part(calls: &[Record]) -> f64 {
    let (limit, count) = (LIMIT as usize, (LIMIT * WINDOWS) as usize);
    let took = (limit..2 * limit).map(|n| calls[n + count].at_ms - calls[n].at_ms);
    let average = Duration::from_millis(took.sum::<u64>() / u64::from(LIMIT));
    (WINDOW * WINDOWS).as_secs_f64() / average.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_replicas_that_come_and_go_the_limit_is_used_up_and_never_more() {
    let part = part(&used([16, 16, 16, 16]).await);
    println!("{:.1} % of the limit", 100.0 * part);
    assert!(part >= 0.98, "{part}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_of_them_is_asked_for_most() {
    let part = part(&used([2, 30, 2, 10]).await);
    println!("{:.1} % of the limit", 100.0 * part);
    assert!(part >= 0.98, "{part}");
}
