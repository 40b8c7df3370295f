//! A login that ends: when it is renewed, and when only a new one helps.
//! It never renews late: two thirds of a life leave a third for trouble.

use std::time::{Duration, Instant};

/// Between two tries of a renewal that fails.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// What a login or a renewal granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// `None`: it never ends.
    pub life: Option<Duration>,
    /// Asking for more is worth it.
    pub renewable: bool,
}

/// What comes next for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It lasts.
    Nothing,
    /// Renew it at this time.
    Renew(Instant),
    /// Log in anew at this time, or when it is next used after it.
    LogIn(Instant),
}

/// A login under way to its end.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Of the login, not of its renewals.
    first_life: Option<Duration>,
    ends: Option<Instant>,
    next: Next,
}

impl Lease {
    /// Granted by a login that was asked for at `now`.
    pub fn new(now: Instant, grant: Grant) -> Self {
        let life = grant.life.filter(|life| !life.is_zero());
        let next = match life {
            None => Next::Nothing,
            Some(life) if grant.renewable => Next::Renew(now + life * 2 / 3),
            Some(life) => Next::LogIn(now + life * 2 / 3),
        };
        Self { first_life: life, ends: life.map(|life| now + life), next }
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        self.next
    }

    /// It can be used.
    pub fn good(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// A renewal that was asked for at `now` was granted. When it grants less than half of the
    /// first life, the limit of renewals is near: the next step is a new login.
    pub fn renewed(&mut self, now: Instant, grant: Grant) {
        let first_life = self.first_life;
        let short = first_life.zip(grant.life).is_some_and(|(first, life)| life < first / 2);
        *self = Self::new(now, Grant { renewable: grant.renewable && !short, ..grant });
        self.first_life = first_life;
    }

    /// A renewal got no answer: again after a quarter of what is left, and a login at the end.
    pub fn unanswered(&mut self, now: Instant) {
        if let Some(ends) = self.ends {
            let pause = (ends.saturating_duration_since(now) / 4).max(LEAST_PAUSE);
            self.next =
                if now + pause < ends { Next::Renew(now + pause) } else { Next::LogIn(ends) };
        }
    }

    /// A renewal was refused: only a login helps.
    pub fn refused(&mut self, now: Instant) {
        self.ends = Some(now);
        self.next = Next::LogIn(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const SECOND: Duration = Duration::from_secs(1);

    fn grant(seconds: u32, renewable: bool) -> Grant {
        Grant { life: Some(SECOND * seconds), renewable }
    }

    #[test]
    fn a_login_is_renewed_at_two_thirds_or_followed_by_another() {
        let t = t0();
        assert_eq!(Lease::new(t, grant(60, true)).next(), Next::Renew(t + SECOND * 40));
        assert_eq!(Lease::new(t, grant(60, false)).next(), Next::LogIn(t + SECOND * 40));
        for life in [None, Some(Duration::ZERO)] {
            let lease = Lease::new(t, Grant { life, renewable: true });
            assert_eq!(lease.next(), Next::Nothing);
            assert!(lease.good(t + SECOND * 1_000_000));
        }
    }

    #[test]
    fn it_is_good_until_its_end_and_a_renewal_moves_the_end() {
        let t = t0();
        let mut lease = Lease::new(t, grant(60, true));
        assert!(lease.good(t + SECOND * 59) && !lease.good(t + SECOND * 60));
        lease.renewed(t + SECOND * 40, grant(60, true));
        assert_eq!(lease.next(), Next::Renew(t + SECOND * 80));
        assert!(lease.good(t + SECOND * 99) && !lease.good(t + SECOND * 100));
    }

    #[test]
    fn near_the_limit_of_renewals_a_login_comes_instead_of_ever_shorter_renewals() {
        let t = t0();
        let mut lease = Lease::new(t, grant(60, true));
        lease.renewed(t, grant(40, true));
        assert_eq!(lease.next(), Next::Renew(t + SECOND * 80 / 3));
        // Half of the first life, not of the life before.
        lease.renewed(t, grant(29, true));
        assert_eq!(lease.next(), Next::LogIn(t + SECOND * 58 / 3));
    }

    #[test]
    fn a_renewal_without_an_answer_is_tried_again_until_the_end() {
        let t = t0();
        let mut lease = Lease::new(t, grant(60, true));
        let mut now = t + SECOND * 40;
        let mut tries = 0;
        loop {
            lease.unanswered(now);
            match lease.next() {
                Next::Renew(at) => {
                    assert!(at >= now + SECOND && lease.good(at));
                    now = at;
                }
                Next::LogIn(at) => break assert_eq!(at, t + SECOND * 60),
                Next::Nothing => panic!("it ends"),
            }
            tries += 1;
        }
        assert!((5..20).contains(&tries), "{tries}");
    }

    #[test]
    fn a_refused_renewal_ends_it() {
        let t = t0();
        let mut lease = Lease::new(t, grant(60, true));
        lease.refused(t + SECOND);
        assert_eq!(lease.next(), Next::LogIn(t + SECOND));
        assert!(!lease.good(t + SECOND));
    }
}
