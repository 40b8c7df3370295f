//! 401s that no renewal explains: when so many come at once that the token is to be checked.
//! It never asks for a check twice in a cool-down: a bad endpoint must not turn into a load of checks.

use std::time::{Duration, Instant};

/// So many within `SPAN` are no accident.
const BURST: usize = 3;
const SPAN: Duration = Duration::from_secs(10);
/// After a check for this reason, the next one is the timer's.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// The latest 401s that went on to their callers.
#[derive(Debug, Default)]
pub struct Suspicion {
    seen: [Option<Instant>; BURST],
    quiet_until: Option<Instant>,
}

impl Suspicion {
    /// One more; tells whether the token is to be checked now.
    pub fn unexplained(&mut self, now: Instant) -> bool {
        self.seen.rotate_left(1);
        if let Some(last) = self.seen.last_mut() {
            *last = Some(now);
        }
        let burst = self.seen.iter().all(|at| at.is_some_and(|at| now <= at + SPAN));
        let quiet = self.quiet_until.is_some_and(|until| now < until);
        if burst && !quiet {
            self.quiet_until = Some(now + COOL_DOWN);
        }
        burst && !quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    #[test]
    fn a_burst_asks_for_one_check_and_single_ones_for_none() {
        let t0 = t0();
        let mut suspicion = Suspicion::default();
        let asked = |suspicion: &mut Suspicion, at: f64| {
            suspicion.unexplained(t0 + Duration::from_secs_f64(at))
        };
        assert!(![0.0, 8.0, 16.0].map(|at| asked(&mut suspicion, at)).contains(&true));
        assert!(asked(&mut suspicion, 17.0), "the third within ten seconds");
        assert!(!(0..29).any(|n| asked(&mut suspicion, 17.0 + f64::from(n))), "once");
        assert!(asked(&mut suspicion, 47.0), "and again when it goes on");
    }
}
