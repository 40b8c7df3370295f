//! What was said in the log lately, so that a caller in a loop does not fill it.
//! It never forgets within its time but for want of room, and then the oldest first.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The same is said again after this long.
const QUIET: Duration = Duration::from_mins(5);
/// What is remembered at most.
const MAX_KNOWN: usize = 256;

/// By its hash, and when.
#[derive(Debug, Default)]
pub struct Said {
    said: Mutex<Vec<(u64, Instant)>>,
}

impl Said {
    /// Whether it is news.
    pub fn news(&self, what: &impl Hash, now: Instant) -> bool {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let key = hasher.finish();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, at)| now < *at + QUIET);
        let known = said.iter().any(|(known, _)| *known == key);
        if !known {
            if said.len() == MAX_KNOWN {
                said.remove(0);
            }
            said.push((key, now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_again_only_after_a_while_and_few_are_remembered() {
        let said = Said::default();
        assert!(said.news(&"a", Instant::now()));
        assert!(!said.news(&"a", Instant::now()) && said.news(&"b", Instant::now()));
        tokio::time::sleep(QUIET).await;
        assert!(said.news(&"a", Instant::now()));
        assert!((0..10_000).all(|n| said.news(&n, Instant::now())));
        assert_eq!(said.said.lock().unwrap().len(), MAX_KNOWN);
    }
}
