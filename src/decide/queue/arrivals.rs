//! How often a caller's new calls come, in calls for each turn that there is.
//! It never remembers longer than a window: who stopped calling is not reckoned with.

use std::time::{Duration, Instant};

use super::flow::number;

/// The time of a line.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The time of one turn, when it is full.
    pace: Duration,
    half: Duration,
    /// The first moment of this crowd.
    began: Option<Instant>,
}

/// A moment: which half window of the crowd it is in, and how many turns there were in that and in
/// the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    half: u64,
    turns: f64,
}

/// New calls in this half window and in the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrivals {
    half: u64,
    now: u32,
    before: u32,
}

impl Clock {
    pub(super) fn new(pace: Duration, window: Duration) -> Self {
        let half = (window / 2).max(Duration::from_nanos(1));
        Self { pace: pace.max(Duration::from_nanos(1)), half, began: None }
    }

    pub(super) fn paced(&mut self, pace: Duration) {
        self.pace = pace.max(Duration::from_nanos(1));
    }

    #[cfg(test)]
    pub(super) fn pace(&self) -> Duration {
        self.pace
    }

    pub(super) fn start(&mut self, now: Instant) -> Moment {
        self.began.get_or_insert(now);
        self.at(now)
    }

    pub(super) fn stop(&mut self) {
        self.began = None;
    }

    pub(super) fn at(&self, now: Instant) -> Moment {
        let began = self.began.unwrap_or(now);
        let passed = now.saturating_duration_since(began).as_nanos();
        let half = u64::try_from(passed / self.half.as_nanos()).unwrap_or(u64::MAX);
        let rest = passed % self.half.as_nanos();
        // A rate is not told from less than a quarter of a window.
        let span = rest + if half > 0 { self.half.as_nanos() } else { 0 };
        let turns = span.max(self.half.as_nanos() / 2) / self.pace.as_nanos();
        Moment { half, turns: number(usize::try_from(turns).unwrap_or(usize::MAX)).max(1.0) }
    }
}

impl Arrivals {
    /// One more.
    pub(super) fn add(&mut self, moment: Moment) {
        *self = match self.age(moment) {
            0 => Self { now: self.now.saturating_add(1), ..*self },
            1 => Self { half: moment.half, now: 1, before: self.now },
            _ => Self { half: moment.half, now: 1, before: 0 },
        };
    }

    /// How many come for each turn there is. One is no rate yet.
    pub(super) fn rate(&self, moment: Moment) -> f64 {
        let calls = match self.age(moment) {
            0 => self.now.saturating_add(self.before),
            1 => self.now,
            _ => 0,
        };
        f64::from(calls.saturating_sub(1)) / moment.turns
    }

    fn age(&self, moment: Moment) -> u64 {
        moment.half.saturating_sub(self.half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    #[test]
    fn who_calls_evenly_has_that_rate_and_who_stops_soon_has_none() {
        let (second, start) = (Duration::from_secs(1), t0());
        let mut clock = Clock::new(second, second * 60);
        let mut arrivals = Arrivals::default();
        for call in 0..60 {
            arrivals.add(clock.start(start + second * call * 5));
        }
        let rate = |seconds| arrivals.rate(clock.at(start + second * seconds));
        assert!((0.15..=0.2).contains(&rate(299)), "{}", rate(299));
        assert!(rate(330) < 0.1 && rate(360) == 0.0);
    }

    #[test]
    fn one_call_is_no_rate_and_the_first_few_are_not_taken_for_a_flood() {
        let (second, start) = (Duration::from_secs(1), t0());
        let mut clock = Clock::new(second, second * 60);
        let mut arrivals = Arrivals::default();
        let now = clock.start(start);
        arrivals.add(now);
        assert!(arrivals.rate(now) == 0.0);
        arrivals.add(now);
        assert!(arrivals.rate(now) < 0.1);
    }
}
