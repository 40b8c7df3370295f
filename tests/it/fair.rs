//! Callers share what there is by weight, each one's own calls go by urgency, and nobody's crowd is
//! anybody else's wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    World, assert_all, at_once,
    callers::{caller, limited, rate_limit, sent},
    load::assert_limited,
    unlimited,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_polite_caller_hardly_waits_while_a_greedy_one_has_two_hundred_calls_in_line() {
    let window = Duration::from_secs(3);
    let toml = rate_limit(100, 3, "pacing = \"even\"\nmax_wait = \"60s\"");
    let toml = format!("{toml}{}{}", caller("greedy", ""), caller("polite", ""));
    let world = World::alone(limited(100, 3), &toml).await;
    let greedy = sent((0..200).map(|_| world.get_as("greedy", "/api/v2/echo/greedy")));
    world.until(|seen| seen.requests >= 5).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begin = Instant::now();
        let answer = world.answer(world.get_as("polite", "/api/v2/echo/polite")).await;
        assert_eq!(answer.status, 200);
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < window / 4, "{slowest:?}");
    let waiting = 200 - world.arrivals("/api/v2/echo/greedy").len();
    assert!(waiting > 100, "the greedy one waits, with {waiting} calls");
    assert_all(&greedy.join_all().await, 200);
    world.until(|seen| seen.requests == 220).await;
    let seen = world.genesys.counters();
    assert_eq!(seen.rate_limited, 0);
    assert!(seen.most_in_window <= 100, "{} in one window", seen.most_in_window);
}

/// Whose these calls are, by the last word of their path, in the order of their arrival.
fn whose(world: &World, from: usize, to: usize) -> Vec<String> {
    let arrivals = world.arrivals("/api/v2/echo");
    let name = |target: &str| target.rsplit('/').next().unwrap().to_owned();
    arrivals[from..to].iter().map(|call| name(&call.target)).collect()
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|one| *one == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_both_wait_weights_of_three_and_one_are_three_turns_to_one() {
    let toml = rate_limit(20, 3, "max_wait = \"60s\"");
    let toml = format!("{toml}{}{}", caller("heavy", "weight = 3"), caller("light", ""));
    let world = World::with(unlimited(), &toml).await;
    world.use_up(20).await;
    // All are in line long before the window ends, the light one's first.
    let light = (0..40).map(|_| world.get_as("light", "/api/v2/echo/light"));
    let heavy = (0..40).map(|_| world.get_as("heavy", "/api/v2/echo/heavy"));
    let line = sent(light.chain(heavy));
    world.until(|seen| seen.requests >= 60).await;
    drop(line);
    // What comes free at once is sent at once, so the order is known by the window only.
    for window in [0, 20] {
        let names = whose(&world, window, window + 20);
        let heavy = count(&names, "heavy");
        assert!((14..=16).contains(&heavy), "{heavy} of twenty: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn urgency_goes_before_the_same_callers_other_calls_and_not_before_another_caller() {
    let toml = rate_limit(10, 3, "max_wait = \"60s\"");
    let toml = format!("{toml}{}{}", caller("a", ""), caller("b", ""));
    let world = World::with(unlimited(), &toml).await;
    world.use_up(10).await;
    let of_a = |path, urgency| world.get_as("a", path).header("priority", urgency);
    let late = (0..10).map(|_| of_a("/api/v2/echo/whenever", "u=7"));
    let others = (0..10).map(|_| world.get_as("b", "/api/v2/echo/other"));
    let soon = (0..10).map(|_| of_a("/api/v2/echo/urgent", "u=0"));
    let line = sent(late.chain(others).chain(soon));
    world.until(|seen| seen.requests >= 20).await;
    let names = whose(&world, 0, 10);
    let (urgent, other) = (count(&names, "urgent"), count(&names, "other"));
    assert_eq!(urgent + other, 10, "nothing that can wait: {names:?}");
    assert!((4..=6).contains(&other), "its turns are its own: {names:?}");
    assert_all(&line.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_bound_of_waiting_calls_is_its_own() {
    let toml = rate_limit(5, 3, "max_wait = \"60s\"");
    let toml = format!("{toml}{}{}", caller("bound", "max_queue = 3"), caller("other", ""));
    let world = World::with(unlimited(), &toml).await;
    world.use_up(5).await;
    let mut bound = sent((0..10).map(|_| world.get_as("bound", "/api/v2/echo/bound")));
    for _ in 0..7 {
        assert_limited(&bound.join_next().await.unwrap().unwrap(), "proxy.queue.full");
    }
    let others = (0..5).map(|_| world.get_as("other", "/api/v2/echo/other"));
    assert_all(&at_once(others).await, 200);
    assert_all(&bound.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_full_line_the_longest_part_gives_way_to_whoever_has_less() {
    let toml = rate_limit(5, 4, "max_wait = \"60s\"\nmax_queue = 10");
    let toml = format!("{toml}{}{}", caller("greedy", ""), caller("polite", ""));
    let world = World::with(unlimited(), &toml).await;
    world.use_up(5).await;
    let mut greedy = sent((0..11).map(|_| world.get_as("greedy", "/api/v2/echo/greedy")));
    // One is too many, so ten stand in line.
    assert_limited(&greedy.join_next().await.unwrap().unwrap(), "proxy.queue.full");
    let polite = sent((0..2).map(|_| world.get_as("polite", "/api/v2/echo/polite")));
    for _ in 0..2 {
        let gave_way = greedy.join_next().await.unwrap().unwrap();
        let seconds = assert_limited(&gave_way, "proxy.queue.full");
        assert!(seconds >= 4, "its turn is behind two windows' worth: {seconds}");
    }
    assert_all(&polite.join_all().await, 200);
    world.until(|seen| seen.requests >= 10).await;
    let first = whose(&world, 0, 5);
    assert_eq!(count(&first, "polite"), 2, "not behind the greedy one's: {first:?}");
    assert_all(&greedy.join_all().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_is_for_urgent_calls_who_are_served_at_once_while_others_wait() {
    let toml = rate_limit(10, 600, "reserve = 4");
    let world = World::with(unlimited(), &toml).await;
    world.use_up(6).await;
    let ordinary = || world.request(http::Method::GET, "/api/v2/echo/ordinary");
    let (_, seconds) = world.refused(ordinary(), "proxy.rate.limited").await;
    assert!((590..=610).contains(&seconds), "{seconds}");
    let said = ordinary().header("priority", "u=3");
    world.refused(said, "proxy.rate.limited").await;
    let urgent = ["u=0", "u=2", "u=1, i", "u=0"];
    for urgency in urgent {
        let call = ordinary().header("priority", urgency).header("prefer", "wait=0");
        assert_eq!(world.answer(call).await.status, 200, "{urgency}");
    }
    world.refused(ordinary().header("priority", "u=0"), "proxy.rate.limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_call_passes_those_that_wait_for_more_than_the_reserve() {
    let world = World::with(unlimited(), &rate_limit(10, 4, "reserve = 2")).await;
    world.use_up(8).await;
    let ordinary = sent((0..3).map(|_| world.request(http::Method::GET, "/api/v2/echo/ordinary")));
    let begin = Instant::now();
    let urgent = (0..2)
        .map(|_| world.request(http::Method::GET, "/api/v2/echo/urgent").header("priority", "u=1"));
    assert_all(&at_once(urgent).await, 200);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_all(&ordinary.join_all().await, 200);
    world.until(|seen| seen.requests == 13).await;
    let order: Vec<_> = whose(&world, 0, 5);
    assert_eq!(order[..2], ["urgent", "urgent"], "{order:?}");
}
