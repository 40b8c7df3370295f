//! Budgets and lines of the last ten minutes, for a plot, and who called in the last one.
//! It never grows: what is older is forgotten.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    busy::Busy,
    status::{Calls, Sample},
};
use crate::gateway::Shared;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Ten minutes.
const MOST: usize = 120;

/// Of each organisation, in their order.
#[derive(Debug)]
pub(super) struct History(Vec<Seen>);

/// One organisation's.
#[derive(Debug, Default)]
struct Seen {
    samples: Mutex<VecDeque<Sample>>,
    callers: Busy,
    families: Busy,
}

impl History {
    /// Of so many, nothing yet.
    pub(super) fn new(organisations: usize) -> Self {
        Self((0..organisations).map(|_| Seen::default()).collect())
    }

    /// Looks at once and from then on. Does not end.
    pub(super) async fn follow(&self, all: &[Arc<Shared>]) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            for (number, shared) in all.iter().enumerate() {
                if let Some(seen) = self.0.get(number) {
                    seen.callers.look(shared.metrics.callers());
                    seen.families.look(shared.metrics.families());
                }
                let spending = shared.admission.spending(Instant::now());
                self.add(
                    number,
                    Sample {
                        at: at.as_secs(),
                        used: spending.used,
                        allowed: spending.allowed,
                        waiting: shared.admission.waiting() as u64,
                    },
                );
            }
        }
    }

    /// The oldest first.
    pub(super) fn of(&self, organisation: usize) -> Vec<Sample> {
        let Some(seen) = self.0.get(organisation) else { return Vec::new() };
        seen.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// The busiest callers and families.
    pub(super) fn busiest(&self, organisation: usize, shared: &Shared) -> [Vec<Calls>; 2] {
        let Some(Seen { callers, families, .. }) = self.0.get(organisation) else {
            return <[Vec<Calls>; 2]>::default();
        };
        [callers.most(shared.metrics.callers()), families.most(shared.metrics.families())]
    }

    fn add(&self, organisation: usize, sample: Sample) {
        let Some(seen) = self.0.get(organisation) else { return };
        let mut ring = seen.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= MOST {
            ring.pop_front();
        }
        ring.push_back(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_minutes_are_kept_of_each_organisation() {
        let history = History::new(2);
        for at in 0..200 {
            history.add(1, Sample { at, used: 0, allowed: None, waiting: 0 });
        }
        assert!(history.of(0).is_empty() && history.of(2).is_empty());
        let times: Vec<u64> = history.of(1).iter().map(|sample| sample.at).collect();
        assert_eq!(times, (80..200).collect::<Vec<_>>());
    }
}
