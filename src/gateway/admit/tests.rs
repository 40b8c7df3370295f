//! Turns on paused time.

mod learned;
mod replicas;
mod together;

use std::{num::NonZeroU32, sync::LazyLock, time::Duration};

use http::{Method, uri::PathAndQuery};
use tokio::time::sleep_until;

use super::*;
use crate::decide::{callers::Terms, freshness::Generation, urgency::Urgency};

fn rate_limit(limit: u32, max_queue: usize) -> RateLimit {
    RateLimit {
        requests_per_minute: NonZeroU32::new(limit),
        window: Duration::from_secs(60),
        pacing: Pacing::Burst,
        reserve: 0,
        max_wait: Duration::from_secs(12),
        max_queue,
        max_retry_after: Duration::from_secs(180),
        families: Vec::new(),
    }
}

fn spawn(limit: RateLimit) -> Arc<Admission> {
    spawn_for(limit, Granted::default())
}

fn spawn_for(limit: RateLimit, callers: Granted) -> Arc<Admission> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    Admission::spawn(limit, (1, callers), &tasks, &Handle::current(), stop)
}

fn admission(limit: u32, max_queue: usize) -> Arc<Admission> {
    spawn(rate_limit(limit, max_queue))
}

static TARGET: LazyLock<PathAndQuery> =
    LazyLock::new(|| PathAndQuery::from_static("/api/v2/users"));

/// A plain call of some caller's.
fn asking(deadline: Instant) -> Asking<'static> {
    let asker = Asker { principal: Principal::Unknown, urgency: Urgency::default() };
    Asking { asker, method: &Method::GET, target: &TARGET, deadline }
}

/// Upstream says 429 to two families at once: it is the token.
fn pause(admission: &Arc<Admission>, until: StdInstant) {
    admission.state().lanes().hold(Spot::default(), until);
    admission.wake.notify_one();
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// The n-th token's.
fn generation(n: u64) -> Generation {
    let mut freshness = crate::decide::freshness::Freshness::new(Duration::ZERO);
    let now = Instant::now().into_std();
    (0..n).map(|_| freshness.fetched(now, Duration::from_secs(1), 0.0)).last().unwrap()
}

/// Of the second token.
fn next() -> Spot {
    Spot { generation: generation(1), ..Spot::default() }
}

async fn spend(admission: &Arc<Admission>, seconds: u64) -> Result<Ticket, Failure> {
    let asking = asking(within(seconds));
    let permit = admission.admit(Instant::now(), &asking, None).await;
    let mut permit = permit.map_err(|away| away.failure)?;
    permit.spend(Instant::now());
    Ok(permit.ticket)
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_a_caller_waits_for_its_turn_and_not_longer() {
    let admission = admission(2, 10);
    spend(&admission, 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(55)).await;
    spend(&admission, 0).await.unwrap();
    let before = Instant::now();
    spend(&admission, 12).await.unwrap();
    let waited = before.elapsed().as_secs_f64();
    assert!((5.0..6.0).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_at_once_when_to_come_back() {
    let admission = admission(1, 10);
    spend(&admission, 0).await.unwrap();
    let before = Instant::now();
    let Err(Failure::RateLimited { retry_after }) = spend(&admission, 12).await else { panic!() };
    assert_eq!(Instant::now(), before);
    assert_eq!(retry_after.as_secs(), 60);
    tokio::time::sleep(retry_after).await;
    assert!(spend(&admission, 12).await.is_ok(), "and coming back then is served");
    assert!(before.elapsed() < Duration::from_secs(61), "within a second");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_at_all_is_told_a_time_at_which_it_need_not() {
    let admission = admission(1, 10);
    spend(&admission, 0).await.unwrap();
    let Err(Failure::RateLimited { retry_after }) = spend(&admission, 0).await else { panic!() };
    tokio::time::sleep(retry_after).await;
    assert!(spend(&admission, 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_line_is_served_in_order_of_arrival() {
    let admission = admission(1, 10);
    spend(&admission, 0).await.unwrap();
    let waiting = TaskTracker::new();
    let mut turns = Vec::new();
    for _ in 0..3 {
        let admission = Arc::clone(&admission);
        turns.push(waiting.spawn(async move {
            let ticket = spend(&admission, 600).await.unwrap();
            (Instant::now(), ticket)
        }));
        tokio::task::yield_now().await;
    }
    let mut served = Vec::new();
    for turn in turns {
        served.push(turn.await.unwrap());
    }
    assert!(served.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_full_line_says_so() {
    let admission = admission(1, 1);
    spend(&admission, 0).await.unwrap();
    let waiter = TaskTracker::new().spawn({
        let admission = Arc::clone(&admission);
        async move { spend(&admission, 200).await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(spend(&admission, 200).await, Err(Failure::QueueFull { .. })));
    assert!(waiter.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_frees_its_place_at_every_moment() {
    let admission = admission(1, 1);
    spend(&admission, 0).await.unwrap();
    {
        let asking = asking(within(100));
        let leaver = admission.admit(Instant::now(), &asking, None);
        assert!(tokio::time::timeout(Duration::from_secs(1), leaver).await.is_err());
    }
    assert_eq!(admission.waiting(), 0);
    // Granted but never taken: the permit goes back to the budget.
    let asking = asking(within(100));
    let mut granted = Box::pin(admission.admit(Instant::now(), &asking, None));
    assert!(tokio::time::timeout(Duration::from_secs(30), &mut granted).await.is_err());
    tokio::time::sleep(Duration::from_secs(40)).await;
    drop(granted);
    assert_eq!(admission.in_flight(), 0);
    assert!(spend(&admission, 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_was_never_used_counts_for_nothing() {
    let admission = admission(1, 1);
    drop(admission.admit(Instant::now(), &asking(within(0)), None).await.unwrap());
    assert!(spend(&admission, 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_is_first_and_a_pause_holds_all() {
    let admission = admission(10, 10);
    let mut first = admission.admit(Instant::now(), &asking(within(12)), None).await.unwrap();
    first.spend(Instant::now());
    let until = within(5).into_std();
    pause(&admission, until);
    let tasks = TaskTracker::new();
    let later = tasks.spawn({
        let admission = Arc::clone(&admission);
        async move { spend(&admission, 12).await.map(|_| Instant::now()) }
    });
    tokio::task::yield_now().await;
    let again =
        admission.admit(Instant::now(), &asking(within(12)), Some(first.ticket)).await.unwrap();
    assert!(Instant::now().into_std() >= until);
    assert_eq!(again.ticket, first.ticket);
    assert!(later.await.unwrap().unwrap().into_std() >= until);
}

#[tokio::test(start_paused = true)]
async fn a_pause_longer_than_their_patience_is_told_to_the_waiting_at_once() {
    let admission = admission(1, 10);
    spend(&admission, 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(55)).await;
    let waiter = TaskTracker::new().spawn({
        let admission = Arc::clone(&admission);
        async move { spend(&admission, 12).await }
    });
    tokio::task::yield_now().await;
    let before = Instant::now();
    pause(&admission, within(100).into_std());
    let Err(Failure::RateLimited { retry_after }) = waiter.await.unwrap() else { panic!() };
    assert_eq!((Instant::now(), retry_after.as_secs()), (before, 100));
}

#[tokio::test(start_paused = true)]
async fn a_new_token_brings_its_own_budget_and_old_permits_count_for_it() {
    let admission = admission(2, 10);
    spend(&admission, 0).await.unwrap();
    let mut held = admission.admit(Instant::now(), &asking(within(0)), None).await.unwrap();
    assert!(held.bind(generation(1), Belongs::Us));
    held.spend(Instant::now());
    assert!(spend(&admission, 0).await.is_ok(), "one of two is taken");
    assert!(spend(&admission, 0).await.is_err(), "and now both");
}

#[tokio::test(start_paused = true)]
async fn a_new_token_lets_the_line_go_at_once() {
    let admission = admission(1, 10);
    spend(&admission, 0).await.unwrap();
    let tasks = TaskTracker::new();
    let waiter = tasks.spawn({
        let admission = Arc::clone(&admission);
        async move { spend(&admission, 90).await.map(|_| Instant::now()) }
    });
    tokio::task::yield_now().await;
    let before = Instant::now();
    admission.seen(next(), Belongs::Us);
    admission.seen(next(), Belongs::Us);
    assert_eq!(waiter.await.unwrap(), Ok(before));
    assert!(spend(&admission, 0).await.is_err(), "one token, one allowance");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_until_it_is_dropped_with_the_last_byte() {
    let admission = admission(10, 10);
    let mut permit = admission.admit(Instant::now(), &asking(within(0)), None).await.unwrap();
    permit.spend(Instant::now());
    assert_eq!(admission.in_flight(), 1);
    drop(permit);
    assert_eq!(admission.in_flight(), 0);
}

/// Seeded: callers arrive, leave at every await point, come back after 429s and renew tokens; the
/// shadow model is the log of spent permits.
#[tokio::test(start_paused = true)]
async fn whatever_callers_do_the_budget_holds_and_nothing_leaks() {
    for seed in 0..60 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let limit = dice.u32(1..20);
        let admission = admission(limit, 50);
        let spent = Arc::new(Mutex::new(Vec::new()));
        let tasks = TaskTracker::new();
        for _ in 0..200 {
            let (caller, spent) = (Arc::clone(&admission), Arc::clone(&spent));
            let (patience, stays) = (dice.u64(0..90), dice.u64(0..90_000));
            tasks.spawn(async move {
                let asking = asking(within(patience));
                let turn = caller.admit(Instant::now(), &asking, None);
                let left = tokio::time::timeout(Duration::from_millis(stays), turn).await;
                if let Ok(Ok(mut permit)) = left {
                    permit.spend(Instant::now());
                    spent.lock().unwrap().push(Instant::now());
                }
            });
            if dice.u8(0..30) == 0 {
                pause(&admission, within(dice.u64(1..20)).into_std());
            }
            tokio::time::sleep(Duration::from_millis(dice.u64(0..2_000))).await;
        }
        tasks.close();
        tasks.wait().await;
        let spent = spent.lock().unwrap();
        for (i, &end) in spent.iter().enumerate() {
            let window = spent[..=i].iter().filter(|&&at| end - at < Duration::from_secs(60));
            assert!(window.count() <= limit as usize, "seed {seed}");
        }
        assert_eq!((admission.waiting(), admission.in_flight()), (0, 0), "seed {seed}");
    }
}

/// A limit that is cut into slices.
const LARGE: u32 = 10_000;

async fn leave(desk: &Arc<Desk>) -> Result<(), Failure> {
    let now = Instant::now();
    let permit = desk.admit(now, &asking(now)).await;
    permit.map_err(|away| away.failure)?.spend(now);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn slices_add_up_to_the_limit_and_none_of_it_is_lost_in_them() {
    let admission = admission(LARGE, 10);
    let desks: Vec<_> = (0..8).map(|_| Desk::new(&admission)).collect();
    for desk in &desks {
        leave(desk).await.unwrap();
    }
    // One worker gets all the traffic; the others hold slices that they do not use.
    let mut sent = desks.len();
    while leave(&desks[0]).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, LARGE as usize);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(leave(&desks[1]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_window_holds_more_than_the_limit_however_workers_share_it() {
    for seed in 0..20 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let admission = admission(LARGE, 10);
        let desks: Vec<_> = (0..4).map(|_| Desk::new(&admission)).collect();
        let mut sends = std::collections::VecDeque::new();
        for _ in 0..30_000 {
            let desk = &desks[dice.usize(..desks.len())];
            let now = Instant::now();
            let granted = desk.admit(now, &asking(now)).await;
            match (granted, dice.u32(..100)) {
                // It leaves without having been sent.
                (Ok(permit), 0) => drop(permit),
                (Ok(mut permit), _) => {
                    permit.spend(now);
                    sends.push_back(now);
                }
                (Err(_), _) => tokio::time::advance(Duration::from_millis(900)).await,
            }
            match dice.u32(..1_000) {
                0 => desk.settle(),
                1..200 => tokio::time::advance(Duration::from_millis(dice.u64(..8))).await,
                _ => {}
            }
            while sends.front().is_some_and(|at| now - *at >= Duration::from_secs(60)) {
                sends.pop_front();
            }
            assert!(sends.len() <= LARGE as usize, "seed {seed}");
        }
        for desk in &desks {
            desk.settle();
        }
        assert_eq!(admission.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_those_with_a_slice_too() {
    let admission = admission(LARGE, 10);
    let desk = Desk::new(&admission);
    leave(&desk).await.unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    pause(&admission, until.into_std());
    assert!(leave(&desk).await.is_err());
    sleep_until(until).await;
    assert!(leave(&desk).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slice_of_the_old_token_does_not_count_against_the_new_one() {
    let admission = admission(LARGE, 10);
    let desk = Desk::new(&admission);
    leave(&desk).await.unwrap();
    admission.seen(next(), Belongs::Us);
    let now = Instant::now();
    let mut permit = desk.admit(now, &asking(now)).await.unwrap();
    assert!(permit.bind(generation(1), Belongs::Us));
    permit.spend(now);
    drop(permit);
    desk.settle();
    let mut sent = 1;
    while spend(&admission, 0).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, LARGE, "the first call was the old token's, the second counts");
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_everybody_passes_and_a_pause_still_holds() {
    let admission = admission(0, 10);
    let desk = Desk::new(&admission);
    for _ in 0..1_000 {
        leave(&desk).await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(5);
    pause(&admission, until.into_std());
    assert!(leave(&desk).await.is_err());
}
