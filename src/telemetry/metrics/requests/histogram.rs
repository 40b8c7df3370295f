//! How many values fell into each of some ranges.
//! It never waits and never allocates: a value is counted by two additions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::tally::increase;

/// Microseconds, from what a cached answer takes to what no caller waits for. 12 s is
/// `rate_limit.max_wait`, 15 s is just before the JavaScript and Go SDKs hang up.
const TIMES: [u64; 17] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 12_000_000, 15_000_000, 30_000_000, 60_000_000,
];
const MICROS: f64 = 1e-6;
/// Of one call; `retry.attempts` is 3.
const COUNTS: [u64; 6] = [1, 2, 3, 4, 5, 10];

/// Of one worker's.
#[derive(Debug)]
pub struct Histogram {
    /// Each range up to and including this.
    bounds: &'static [u64],
    /// What a bound and the sum are to be multiplied with.
    unit: f64,
    /// One more than there are bounds.
    ranges: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Of times, in seconds.
    pub fn of_times() -> Self {
        Self::new(&TIMES, MICROS)
    }

    /// Of small counts.
    pub fn of_counts() -> Self {
        Self::new(&COUNTS, 1.0)
    }

    fn new(bounds: &'static [u64], unit: f64) -> Self {
        let ranges = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, unit, ranges, sum: AtomicU64::default() }
    }

    /// One value more.
    pub fn count(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(range) = self.ranges.get(at) {
            increase(range, 1);
        }
        increase(&self.sum, value);
    }

    /// One time more.
    pub fn took(&self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Several workers' histograms of one kind, added up.
#[derive(Debug, Default)]
pub struct Sum {
    /// What all values are together.
    pub total: f64,
    /// How many there are.
    pub count: u64,
    /// Each range by its upper bound; the last has none.
    pub ranges: Vec<(f64, u64)>,
}

impl Sum {
    /// Of all of them.
    #[expect(clippy::cast_precision_loss, reason = "a page that is off by a microsecond is good")]
    pub fn of<'h>(all: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut added = Self::default();
        for histogram in all {
            let Histogram { bounds, unit, ranges, sum } = histogram;
            if added.ranges.is_empty() {
                let ends = bounds.iter().map(|bound| *bound as f64 * unit).chain([f64::INFINITY]);
                added.ranges = ends.map(|end| (end, 0)).collect();
            }
            for ((_, total), range) in added.ranges.iter_mut().zip(ranges) {
                let count = range.load(Ordering::Relaxed);
                *total += count;
                added.count += count;
            }
            added.total += sum.load(Ordering::Relaxed) as f64 * unit;
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_and_including_its_bound_and_none_is_lost() {
        let (one, other) = (Histogram::of_times(), Histogram::of_times());
        for micros in [0, 1_000, 1_001, 60_000_000] {
            one.took(Duration::from_micros(micros));
        }
        other.took(Duration::from_secs(3600));
        let sum = Sum::of([&one, &other].into_iter());
        let counts: Vec<u64> = sum.ranges.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[16], counts[17], sum.count), (2, 1, 1, 1, 5));
        assert!((sum.ranges[0].0 - 0.001).abs() < 1e-9 && sum.ranges[17].0.is_infinite());
        assert!((sum.total - 3_660.002_001).abs() < 1e-6, "{}", sum.total);
    }
}
