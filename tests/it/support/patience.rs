//! Waits for what nobody tells of.
//! It never waits for ever, and for nothing that somebody tells of: see `Gateway::logged`, `Handle::until`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::gateway::PATIENCE;

/// Asks again and again until it is so.
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
