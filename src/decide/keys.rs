//! When the keys that sign tokens are fetched again.
//! It never makes a token with a known key wait: only one that no key at hand verifies.

use std::time::{Duration, Instant};

/// Between two fetches for keys that are not among those at hand. A token signed with a key that
/// nobody publishes must not cost the issuer a request each time.
pub const COOL_DOWN: Duration = Duration::from_secs(30);
/// The same for keys of callers' tokens: who shows one signed with a new key waits so long at most.
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
}
