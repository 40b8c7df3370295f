//! When the keys that sign tokens are fetched again.
//! It never makes a token with a known key wait: only one that no key at hand verifies.

use std::time::{Duration, Instant};

/// Between two fetches for keys that are not among those at hand. A token signed with a key that
/// nobody publishes must not cost the issuer a request each time.
pub const COOL_DOWN: Duration = Duration::from_secs(30);
/// The same for keys of callers' tokens, from the end of one fetch to the begin of the next.
pub const CALLERS_COOL_DOWN: Duration = Duration::from_secs(5);

/// What to do about a token that no key at hand verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fetch, then look again.
    Fetch,
    /// It was looked up a moment ago: the token is not trusted.
    Refuse {
        /// When a fetch is due again.
        fetch_at: Instant,
    },
}

/// `fetched_at` is when the last fetch began, whether it worked or not. Without any key every mint
/// may fetch: the pace of mints is enough, and a cool-down would only prolong an outage.
pub fn missing(
    now: Instant,
    known: usize,
    fetched_at: Option<Instant>,
    cool_down: Duration,
) -> Step {
    match fetched_at.map(|at| at + cool_down) {
        Some(fetch_at) if known > 0 && now < fetch_at => Step::Refuse { fetch_at },
        Some(_) | None => Step::Fetch,
    }
}

/// What somebody does who needs a key of callers' tokens that is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Wait for the fetch of this number, which begins now.
    Begin(u64),
    /// Wait for the fetch of this number, which has begun.
    Join(u64),
    /// The last one has ended a moment ago: no wait.
    Pause,
}

/// The fetches of one provider's keys, one at a time: strangers with made-up tokens ask for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetches {
    begun: u64,
    ended: u64,
    ended_at: Option<Instant>,
    answered: bool,
}

impl Fetches {
    /// Somebody needs a key. Also without any key at hand there is a pause: it counts from the end,
    /// or a provider that never answers would be asked all the time.
    pub fn ask(&mut self, now: Instant) -> Turn {
        if self.under_way() {
            return Turn::Join(self.begun);
        }
        if self.ended_at.is_some_and(|at| now < at + CALLERS_COOL_DOWN) {
            return Turn::Pause;
        }
        Turn::Begin(self.begin())
    }

    /// The next one begins, unless one has.
    pub fn begin(&mut self) -> u64 {
        if !self.under_way() {
            self.begun += 1;
        }
        self.begun
    }

    /// It has ended; with keys or without.
    pub fn end(&mut self, now: Instant, answered: bool) {
        (self.ended, self.ended_at, self.answered) = (self.begun, Some(now), answered);
    }

    /// One has begun, and has not ended.
    pub fn under_way(&self) -> bool {
        self.begun > self.ended
    }

    /// The fetch of this number has ended: whether it, or a later one, brought keys.
    pub fn result(&self, number: u64) -> Option<bool> {
        (self.ended >= number).then_some(self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    #[test]
    fn an_unknown_key_is_looked_up_at_most_once_in_thirty_seconds() {
        let t0 = t0();
        let fetch_at = t0 + COOL_DOWN;
        assert_eq!(missing(t0, 3, None, COOL_DOWN), Step::Fetch);
        assert_eq!(missing(t0, 3, Some(t0), COOL_DOWN), Step::Refuse { fetch_at });
        let just_before = fetch_at.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(missing(just_before, 3, Some(t0), COOL_DOWN), Step::Refuse { fetch_at });
        assert_eq!(missing(fetch_at, 3, Some(t0), COOL_DOWN), Step::Fetch);
    }

    #[test]
    fn without_any_key_nothing_holds_a_fetch_back() {
        assert_eq!(missing(t0(), 0, Some(t0()), COOL_DOWN), Step::Fetch);
    }

    #[test]
    fn callers_keys_are_fetched_once_at_a_time_and_not_again_for_five_seconds_after_the_end() {
        let (mut fetches, t0) = (Fetches::default(), t0());
        assert_eq!(fetches.ask(t0), Turn::Begin(1));
        let end = t0 + Duration::from_secs(60);
        assert_eq!(fetches.ask(end), Turn::Join(1), "however long it takes");
        assert_eq!(fetches.result(1), None);
        fetches.end(end, false);
        assert_eq!(fetches.result(1), Some(false));
        let due = end + CALLERS_COOL_DOWN;
        assert_eq!(fetches.ask(due.checked_sub(Duration::from_millis(1)).unwrap()), Turn::Pause);
        assert_eq!(fetches.ask(due), Turn::Begin(2));
        assert_eq!((fetches.begin(), fetches.result(2)), (2, None), "it is the same one");
    }
}
