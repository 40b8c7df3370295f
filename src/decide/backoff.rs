//! How long to wait after the n-th failure in a row.
//! It never rolls the dice itself: the caller brings a number in `0.0..1.0`.

use std::time::Duration;

/// Exponential backoff with full jitter: uniform between a floor and a doubling ceiling, so that
/// many clients that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Never sooner, whatever the dice say: a zero would be a tight loop.
    pub floor: Duration,
    /// The ceiling after the first failure.
    pub first: Duration,
    /// The ceiling never grows beyond this.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 is the first).
    pub fn delay(&self, failures: u32, dice: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.cap).max(self.floor);
        self.floor + ceiling.saturating_sub(self.floor).mul_f64(dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        floor: Duration::from_millis(100),
        first: Duration::from_secs(1),
        cap: Duration::from_secs(30),
    };

    #[test]
    fn the_ceiling_doubles_and_stops_at_the_cap() {
        let ceilings: Vec<u64> = (1..8).map(|n| BACKOFF.delay(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 30, 30]);
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_floor_and_cap(failures in 0u32.., dice in -1.0f64..2.0) {
            let delay = BACKOFF.delay(failures, dice);
            prop_assert!(delay >= BACKOFF.floor && delay <= BACKOFF.cap);
        }
    }
}
