//! Crowds that wait for keys, where time is what the test says.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::task::{JoinSet, yield_now};
use tokio_util::task::TaskTracker;

use super::*;
use crate::decide::keys::CALLERS_COOL_DOWN;

/// What a request for keys may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Keys are fetched from somebody who never answers; counts how often that began.
fn deaf(fetching: &Arc<Fetching>) -> Arc<AtomicUsize> {
    let begun = Arc::new(AtomicUsize::new(0));
    let (kept, count) = (Arc::clone(fetching), Arc::clone(&begun));
    TaskTracker::new().spawn(async move {
        let fetch = || async {
            count.fetch_add(1, Ordering::Relaxed);
            timeout(TIMEOUT, pending()).await.unwrap_or(false)
        };
        kept.keep(fetch, |_| Duration::from_mins(5)).await;
    });
    begun
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_a_provider_that_never_answers_waits_for_one_fetch_and_is_answered_in_time() {
    let fetching = Arc::new(Fetching::default());
    let begun = deaf(&fetching);
    yield_now().await;
    for round in 1..=3 {
        let (start, mut crowd) = (Instant::now(), JoinSet::new());
        for _ in 0..1000 {
            let fetching = Arc::clone(&fetching);
            crowd.spawn(async move { fetching.wait().await });
        }
        let mut results = Vec::new();
        while let Some(result) = crowd.join_next().await {
            results.push(result.unwrap());
            assert!(start.elapsed() <= WAIT, "round {round}");
        }
        let crowded = results.iter().filter(|result| **result == Fetched::Crowd).count();
        assert_eq!(crowded, 1000 - WAIT_AT_ONCE);
        assert!(!results.contains(&Fetched::Anew));
        assert_eq!(begun.load(Ordering::Relaxed), round, "one for all");
        // From the end of the fetch there is a pause, in which nobody waits.
        let end = Instant::now();
        for tenth in 0..10 {
            assert_eq!(fetching.wait().await, Fetched::Not);
            assert_eq!(end.elapsed(), CALLERS_COOL_DOWN / 10 * tenth);
            tokio::time::advance(CALLERS_COOL_DOWN / 10).await;
        }
        assert_eq!(begun.load(Ordering::Relaxed), round);
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_leaves_nothing_behind_and_takes_nobodys_fetch_along() {
    let fetching = Arc::new(Fetching::default());
    let begun = deaf(&fetching);
    for _ in 0..100 {
        let mut gone = JoinSet::new();
        for _ in 0..WAIT_AT_ONCE {
            let fetching = Arc::clone(&fetching);
            gone.spawn(async move { fetching.wait().await });
        }
        yield_now().await;
        gone.shutdown().await;
    }
    assert_eq!(fetching.waiting.available_permits(), WAIT_AT_ONCE);
    assert_eq!(fetching.fetches.receiver_count(), 1, "the one that fetches");
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    let start = Instant::now();
    assert_eq!(fetching.wait().await, Fetched::Not);
    assert!(start.elapsed() <= TIMEOUT, "it waited for the fetch of those who are gone");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_first_has_keys_that_are_newer_than_its_question() {
    let fetching = Arc::new(Fetching::default());
    let kept = Arc::clone(&fetching);
    TaskTracker::new().spawn(async move {
        let fetch = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            true
        };
        kept.keep(fetch, |_| Duration::from_mins(5)).await;
    });
    yield_now().await;
    assert_eq!(fetching.wait().await, Fetched::Not, "that of the start had begun");
    tokio::time::advance(CALLERS_COOL_DOWN).await;
    let (first, second) = tokio::join!(fetching.wait(), fetching.wait());
    assert_eq!((first, second), (Fetched::Anew, Fetched::Not));
}
