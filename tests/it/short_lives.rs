//! Tokens that end all the time are renewed before anybody notices.

use std::time::Duration;

use genesys_proxy::simulator::Options;
use http::Method;
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Answer, NO_LIMIT, World, assert_all, unlimited};

const LIFE: Duration = Duration::from_secs(2);
const LOAD: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_two_seconds_under_load_for_twenty_fails_nobody() {
    let options = Options { token_life: LIFE, ..unlimited() };
    let world = World::with(options, NO_LIMIT).await;
    let mut callers = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let begin = Instant::now();
    while begin.elapsed() < LOAD {
        pace.tick().await;
        let request = world.request(Method::GET, "/api/v2/organizations/me");
        callers.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    let lasted = begin.elapsed();
    let answers = callers.join_all().await;
    assert_all(&answers, 200);
    let seen = world.genesys.snapshot();
    assert_eq!(seen.counters.unauthorized, 0, "no call went out with a dead token");
    // Minted when the one before was half over, and used from then on: none in vain, none twice.
    assert_eq!(seen.counters.mints, seen.counters.mint_attempts);
    let used = u64::try_from(seen.tokens_seen.len()).unwrap();
    assert!((seen.counters.mints - 1..=seen.counters.mints).contains(&used), "{used}");
    let lives = lasted.as_secs_f64() / (LIFE / 2).as_secs_f64();
    let mints = u32::try_from(seen.counters.mints).unwrap();
    assert!(f64::from(mints) <= lives + 1.0, "{mints} mints for {lives} lives");
    assert!(f64::from(mints) >= lasted.as_secs_f64() / LIFE.as_secs_f64(), "{mints} mints");
}
