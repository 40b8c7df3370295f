//! Who calls how often, and what: since the start, and in the last minute.
//! It never grows: what is older is forgotten, and there are as many names as the metrics have.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use super::status::Calls;
use crate::telemetry::metrics::Count;

/// A minute of looks, five seconds apart.
const LOOKS: usize = 12;
/// So many are told of.
const TOLD: usize = 20;

/// What there was at each look.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<VecDeque<HashMap<String, u64>>>);

impl Busy {
    /// So much has been counted by now.
    pub(super) fn look(&self, counts: Vec<Count>) {
        let now = counts.into_iter().map(|count| (count.name, count.calls)).collect();
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= LOOKS {
            looks.pop_front();
        }
        looks.push_back(now);
    }

    /// Of these, those with the most calls in the last minute, then since the start.
    pub(super) fn most(&self, counts: Vec<Count>) -> Vec<Calls> {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |name: &str| looks.front().and_then(|look| look.get(name)).copied();
        let calls = |Count { name, calls, errors }| {
            let last_minute = calls - before(&name).unwrap_or_default().min(calls);
            Calls { name, last_minute, calls, errors }
        };
        let mut all: Vec<_> = counts.into_iter().map(calls).collect();
        all.sort_by(|a, b| {
            let key = |it: &Calls| (Reverse(it.last_minute), Reverse(it.calls));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        all.truncate(TOLD);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, u64)]) -> Vec<Count> {
        let count = |(name, calls): &(&str, u64)| Count {
            name: (*name).to_owned(),
            calls: *calls,
            errors: 0,
        };
        all.iter().map(count).collect()
    }

    fn lately(busy: &Busy, all: &[(&str, u64)]) -> Vec<(String, u64)> {
        busy.most(counts(all)).into_iter().map(|it| (it.name, it.last_minute)).collect()
    }

    #[test]
    fn who_called_most_in_the_last_minute_stands_first_however_many_there_were_before() {
        let busy = Busy::default();
        busy.look(counts(&[("old", 1000)]));
        let now = [("old", 1001), ("new", 5), ("quiet", 0)];
        let owned = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
            all.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect()
        };
        assert_eq!(lately(&busy, &now), owned(&[("new", 5), ("old", 1), ("quiet", 0)]));
        for _ in 0..LOOKS {
            busy.look(counts(&now));
        }
        assert_eq!(lately(&busy, &now), owned(&[("old", 0), ("new", 0), ("quiet", 0)]));
    }

    #[test]
    fn twenty_are_told_of() {
        let busy = Busy::default();
        let names: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(lately(&busy, &all).len(), TOLD);
    }
}
