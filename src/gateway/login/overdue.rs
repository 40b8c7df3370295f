//! Tokens that the store knows as idle, for a moment: each call with one would ask it again.
//! It never says that one is good, and never outgrows its bound.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::config::KeyDigest;

/// So long nobody asks again: a replica that could not tell of a use may do so yet.
const BRIEFLY: Duration = Duration::from_secs(10);
/// Whoever has more of them has logged in for each.
const MOST: usize = 1_000;

/// Until when each is not asked about.
#[derive(Debug, Default)]
pub struct Overdue(Mutex<HashMap<KeyDigest, Instant>>);

impl Overdue {
    /// The store has just said so.
    pub fn add(&self, digest: KeyDigest, now: Instant) {
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, until| now < *until);
        }
        // With more than that at once some are asked about again.
        if all.len() < MOST {
            all.insert(digest, now + BRIEFLY);
        }
    }

    /// It was a moment ago.
    pub fn has(&self, digest: &KeyDigest, now: Instant) -> bool {
        self.all().get(digest).is_some_and(|until| now < *until)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<KeyDigest, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> KeyDigest {
        KeyDigest::of(&n.to_be_bytes())
    }

    #[test]
    fn an_idle_one_is_asked_about_again_after_a_while() {
        let (overdue, now) = (Overdue::default(), Instant::now());
        overdue.add(digest(0), now);
        assert!(overdue.has(&digest(0), now) && !overdue.has(&digest(1), now));
        assert!(!overdue.has(&digest(0), now + BRIEFLY));
    }

    #[test]
    fn it_is_bounded_and_has_room_again_when_they_are_over() {
        let (overdue, now) = (Overdue::default(), Instant::now());
        for n in 0..=MOST {
            overdue.add(digest(n), now);
        }
        assert!(overdue.has(&digest(0), now) && !overdue.has(&digest(MOST), now));
        assert_eq!(overdue.all().len(), MOST);
        overdue.add(digest(MOST), now + BRIEFLY);
        assert_eq!(overdue.all().len(), 1);
    }
}
