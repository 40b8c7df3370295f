//! Genesys's rate limit, and the meter that says how close to it a client came.
//! It must never read a clock: `now` is an argument, counted from the simulator's start.

use std::{collections::VecDeque, time::Duration};

/// Whether a call fits the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fits, and has been counted.
    Admitted,
    /// It does not, and has not been counted.
    Exceeded {
        /// Whole seconds until the window ends, at least 1.
        retry_after: u64,
    },
}

/// A fixed window: it starts with the first call in it, and ends `length` later whatever comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    limit: u32,
    length: Duration,
    started: Option<Duration>,
    used: u32,
}

impl Window {
    /// `limit` calls in `length`; a limit of 0 admits everything.
    pub(super) const fn new(limit: u32, length: Duration) -> Self {
        Self { limit, length, started: None, used: 0 }
    }

    /// Counts a call at `now` if it fits.
    pub(super) fn take(&mut self, now: Duration) -> Verdict {
        if self.limit == 0 {
            return Verdict::Admitted;
        }
        let start = match self.started {
            Some(start) if now.saturating_sub(start) < self.length => start,
            Some(_) | None => {
                self.used = 0;
                *self.started.insert(now)
            }
        };
        if self.used < self.limit {
            self.used += 1;
            return Verdict::Admitted;
        }
        let left = (start + self.length).saturating_sub(now);
        let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Verdict::Exceeded { retry_after: whole.max(1) }
    }
}

/// The largest number of calls seen in any sliding window, exact to the millisecond. Memory is
/// bounded by the window: one mark for each of its milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Peak {
    length: Duration,
    marks: VecDeque<(u128, u32)>,
    inside: u32,
    highest: u32,
}

impl Peak {
    /// A meter over windows of `length`.
    pub(super) const fn new(length: Duration) -> Self {
        Self { length, marks: VecDeque::new(), inside: 0, highest: 0 }
    }

    /// Counts a call at `now`, which must not run backwards.
    pub(super) fn mark(&mut self, now: Duration) {
        let now = now.as_millis();
        while let Some(&(at, count)) = self.marks.front() {
            if at + self.length.as_millis() > now {
                break;
            }
            self.inside -= count;
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            Some((at, count)) if *at == now => *count += 1,
            Some(_) | None => self.marks.push_back((now, 1)),
        }
        self.inside += 1;
        self.highest = self.highest.max(self.inside);
    }

    /// The most calls in any one window so far.
    pub(super) const fn highest(&self) -> u32 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_window_starts_with_its_first_call_and_not_with_the_clock() {
        let mut window = Window::new(2, MINUTE);
        assert_eq!(window.take(at(59_000)), Verdict::Admitted);
        assert_eq!(window.take(at(61_000)), Verdict::Admitted);
        assert_eq!(window.take(at(61_001)), Verdict::Exceeded { retry_after: 58 });
        assert_eq!(window.take(at(118_999)), Verdict::Exceeded { retry_after: 1 });
        assert_eq!(window.take(at(119_000)), Verdict::Admitted);
    }

    #[test]
    fn retry_after_is_rounded_up_to_the_windows_end() {
        let mut window = Window::new(1, MINUTE);
        assert_eq!(window.take(at(0)), Verdict::Admitted);
        assert_eq!(window.take(at(18_000)), Verdict::Exceeded { retry_after: 42 });
        assert_eq!(window.take(at(18_001)), Verdict::Exceeded { retry_after: 42 });
        assert_eq!(window.take(at(59_999)), Verdict::Exceeded { retry_after: 1 });
    }

    #[test]
    fn a_refused_call_does_not_use_the_next_window() {
        let mut window = Window::new(1, MINUTE);
        window.take(at(0));
        for millis in 1..1000 {
            assert_ne!(window.take(at(millis)), Verdict::Admitted);
        }
        assert_eq!(window.take(at(60_000)), Verdict::Admitted);
    }

    #[test]
    fn a_limit_of_zero_admits_everything() {
        let mut window = Window::new(0, MINUTE);
        assert!((0..10_000).all(|_| window.take(at(1)) == Verdict::Admitted));
    }

    #[test]
    fn the_peak_spans_two_fixed_windows() {
        let mut peak = Peak::new(MINUTE);
        (0..300).for_each(|_| peak.mark(at(59_000)));
        (0..300).for_each(|_| peak.mark(at(61_000)));
        assert_eq!(peak.highest(), 600);
        peak.mark(at(119_000));
        assert_eq!((peak.inside, peak.highest()), (301, 600));
    }

    #[test]
    fn calls_a_whole_window_apart_are_never_counted_together() {
        let mut peak = Peak::new(MINUTE);
        (0..10).for_each(|minute| peak.mark(at(minute * 60_000)));
        assert_eq!(peak.highest(), 1);
    }
}
