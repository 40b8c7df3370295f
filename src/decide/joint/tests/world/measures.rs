//! What has come upstream, and what of it was promised.
//! It never changes what happens.

use std::{collections::BTreeMap, time::Duration};

use super::{World, trouble::Excess};

impl World {
    /// In no window more than the limit and `extra`, and what is stated of the trouble that there was.
    pub fn never_over(&mut self, extra: u64) {
        self.arrived.sort_unstable();
        let mut end = 0;
        for (begin, &(first, ..)) in self.arrived.iter().enumerate() {
            let ends = first + self.window;
            end += self.arrived[end..].iter().take_while(|(at, ..)| *at < ends).count();
            let calls = (end - begin) as u64;
            if calls <= self.limit + extra {
                continue;
            }
            let touches = |excess: &&Excess| excess.from < ends && excess.to + self.window > first;
            let stated: u64 = self.excess.iter().filter(touches).map(|e| e.calls).sum();
            let at = first - Duration::from_secs(1_000);
            let most = self.limit + extra + stated;
            let lately = self.troubles.iter().filter(|(then, ..)| *then < at + self.window);
            let lately: Vec<_> = lately.rev().take(12).collect();
            assert!(
                calls <= most,
                "seed {}: {calls} of {most} in a window, at {at:?}: {lately:?}",
                self.seed
            );
        }
    }

    /// Of what may be sent, since then: a window next to the time that as many calls took as it allows.
    pub fn used_since(&mut self, since: Duration) -> f64 {
        let since = Duration::from_secs(1_000) + since;
        self.arrived.sort_unstable();
        let sent: Vec<Duration> =
            self.arrived.iter().map(|(at, ..)| *at).filter(|at| *at >= since).collect();
        let limit = usize::try_from(self.limit).unwrap();
        let took: Vec<f64> =
            sent.windows(limit + 1).map(|pair| (pair[limit] - pair[0]).as_secs_f64()).collect();
        assert!(!took.is_empty(), "no more than a window was sent");
        self.window.as_secs_f64() * took.len() as f64 / took.iter().sum::<f64>()
    }

    pub fn sent(&self, number: usize) -> usize {
        self.arrived.iter().filter(|(_, from, _)| *from == number).count()
    }

    /// In the last two minutes before then.
    pub fn sent_since(&self, number: usize, since: Duration) -> usize {
        let from = Duration::from_secs(1_000) + since;
        let to = from + 2 * self.window;
        let inside = |at: Duration| at >= from && at < to;
        self.arrived.iter().filter(|(at, by, _)| *by == number && inside(*at)).count()
    }

    /// Jain's index of what each caller had.
    pub fn jain_since(&self, since: Duration) -> f64 {
        let from = Duration::from_secs(1_000) + since;
        let mut calls: BTreeMap<u64, f64> = BTreeMap::new();
        for (_, _, caller) in self.arrived.iter().filter(|(at, ..)| *at >= from) {
            *calls.entry(*caller).or_default() += 1.0;
        }
        let sum: f64 = calls.values().sum();
        let squares: f64 = calls.values().map(|calls| calls * calls).sum();
        sum * sum / (calls.len() as f64 * squares)
    }
}
