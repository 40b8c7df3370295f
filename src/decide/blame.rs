//! Whose limit a 429 speaks of: one path family's, or the whole token's.
//! It never pauses more than the evidence asks for: a limit on one endpoint must not stop the rest.
//!
//! Upstream says 429 and a time, not of what. A token that is used up refuses every family until
//! its window ends. So a family is blamed first; when another family is refused too, and nothing
//! passed since the first refusal, it is the token. A time longer than the token's window cannot be
//! the token's at all.

use std::time::{Duration, Instant};

/// A path family: the key of `path::Family`.
pub type Family = u64;

/// A token's window may be said a little longer than it is.
const LATE: f64 = 1.05;

/// Whose limit it may be, other than the token's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspect {
    /// That of the n-th of `rate_limit.families`: its calls share one, whatever their paths.
    Named(u16),
    /// A path family's.
    Family(Family),
}

/// Whether what is blamed may yet turn out to be the token's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It cannot.
    None,
    /// It may, since now.
    New,
    /// It may, since an earlier refusal.
    Known,
}

/// Whose limit it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The suspect's.
    Suspect(Doubt),
    /// The token's: this other one was blamed before, wrongly.
    Token(Suspect),
}

/// A refusal that may turn out to be the token's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Suspicion(Option<Refusal>);

#[derive(Debug, Clone, Copy)]
struct Refusal {
    suspect: Suspect,
    at: Instant,
    until: Instant,
}

impl Suspicion {
    /// A call was refused until `until`, by an upstream that counts over `window`.
    pub fn limited(
        &mut self,
        suspect: Suspect,
        window: Duration,
        now: Instant,
        until: Instant,
    ) -> Blame {
        if longer_than(window, now, until) {
            return Blame::Suspect(Doubt::None);
        }
        match self.0.filter(|known| known.until > now) {
            Some(known) if known.suspect != suspect => {
                self.0 = None;
                Blame::Token(known.suspect)
            }
            Some(known) => {
                self.0 = Some(Refusal { until: known.until.max(until), ..known });
                Blame::Suspect(Doubt::Known)
            }
            None => {
                self.0 = Some(Refusal { suspect, at: now, until });
                Blame::Suspect(Doubt::New)
            }
        }
    }

    /// A call that left at `sent` was not refused: whatever was refused before it was a family's.
    pub fn passed(&mut self, sent: Instant) {
        self.0 = self.0.filter(|known| known.at > sent);
    }

    /// Nothing is suspected: answers need not be looked at.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

/// Upstream asks for a longer wait than any window of the token's could be.
pub fn longer_than(window: Duration, now: Instant, until: Instant) -> bool {
    until.saturating_duration_since(now) > window.mul_f64(LATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const SECOND: Duration = Duration::from_secs(1);
    const WINDOW: Duration = Duration::from_secs(60);
    const ONE: Suspect = Suspect::Family(1);
    const TWO: Suspect = Suspect::Family(2);

    #[test]
    fn one_family_refused_is_that_familys_limit_however_often() {
        let (now, mut suspicion) = (t0(), Suspicion::default());
        for later in 0..5 {
            let at = now + SECOND * later;
            let blame = suspicion.limited(ONE, WINDOW, at, now + SECOND * 30);
            let doubt = if later == 0 { Doubt::New } else { Doubt::Known };
            assert_eq!(blame, Blame::Suspect(doubt));
        }
    }

    #[test]
    fn a_second_family_refused_while_nothing_passes_is_the_tokens_limit() {
        let (before, mut suspicion) = (t0(), Suspicion::default());
        let now = before + SECOND;
        let until = now + SECOND * 30;
        suspicion.limited(ONE, WINDOW, now, until);
        suspicion.passed(before);
        let blame = suspicion.limited(TWO, WINDOW, now + SECOND, until);
        assert_eq!(blame, Blame::Token(ONE));
        assert!(suspicion.is_none());
    }

    #[test]
    fn what_passed_since_clears_the_token() {
        let (now, mut suspicion) = (t0(), Suspicion::default());
        let until = now + SECOND * 30;
        suspicion.limited(ONE, WINDOW, now, until);
        suspicion.passed(now + SECOND);
        let blame = suspicion.limited(TWO, WINDOW, now + SECOND * 2, until);
        assert_eq!(blame, Blame::Suspect(Doubt::New));
    }

    #[test]
    fn a_pause_that_is_over_or_too_long_for_a_window_says_nothing_of_the_token() {
        let (now, mut suspicion) = (t0(), Suspicion::default());
        suspicion.limited(ONE, WINDOW, now, now + SECOND);
        let later = now + SECOND * 2;
        let blame = suspicion.limited(TWO, WINDOW, later, later + SECOND);
        assert_eq!(blame, Blame::Suspect(Doubt::New));
        let long = later + SECOND * 120;
        assert_eq!(suspicion.limited(ONE, WINDOW, later, long), Blame::Suspect(Doubt::None));
        assert_eq!(
            suspicion.limited(Suspect::Named(0), WINDOW, later, long),
            Blame::Suspect(Doubt::None)
        );
    }
}
