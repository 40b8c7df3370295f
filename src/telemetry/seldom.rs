//! Lines that strangers can cause: one now and then, with how many were left out.
//! It never lets a stranger fill a disk, and never forgets that there was something to say.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Between two lines of one kind.
pub const QUIET: Duration = Duration::from_secs(5);

/// One kind of line.
#[derive(Debug)]
pub struct Seldom {
    latest: Mutex<Option<Instant>>,
    left_out: AtomicU64,
}

impl Seldom {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self { latest: Mutex::new(None), left_out: AtomicU64::new(0) }
    }

    /// Whether to say it now, and how many were left out since it was last said.
    pub fn say(&self, now: Instant) -> Option<u64> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.is_some_and(|latest| now < latest + QUIET) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *latest = Some(now);
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_repeats_is_said_now_and_then_with_how_often_it_was_not() {
        let (seldom, begun) = (Seldom::new(), Instant::now());
        assert_eq!(seldom.say(begun), Some(0));
        assert!((0..9).all(|_| seldom.say(begun).is_none()));
        assert_eq!(seldom.say(begun + QUIET), Some(9));
        assert_eq!(seldom.say(begun + QUIET * 2), Some(0));
    }
}
