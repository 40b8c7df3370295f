//! What reached Genesys Cloud, held against what the steps allow.
//! It never allows for what nobody promised to be otherwise in a failure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use genesys_proxy::simulator::Record;

use super::{
    LEASE, LIFE, LIMIT, SEATS, WINDOW,
    schedule::{Step, Trouble},
};
use crate::support::{callers::nearly, redis::Data};

/// A step that has ended, by the simulator's clock.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    pub number: usize,
    pub step: Step,
    pub began: u64,
    pub ended: u64,
}

/// That has arrived.
#[derive(Debug, Clone)]
struct Call {
    token: String,
    /// By the simulator's clock.
    at: u64,
    seat: String,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// By their correlation ids.
    calls: HashMap<String, Call>,
    pasts: Vec<Past>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// A window, as far as its calls are sure to arrive as they left.
fn window() -> u64 {
    millis(nearly(WINDOW))
}

impl Past {
    fn troubles(&self) -> impl Iterator<Item = Trouble> {
        [Some(self.step.trouble), self.step.meanwhile].into_iter().flatten()
    }

    fn lasted(&self) -> Duration {
        Duration::from_millis(self.ended - self.began)
    }

    /// Calls in a window beyond the limit, as docs/replicas.md has it. `others`: what else went wrong
    /// shortly before, or meanwhile.
    fn extra(&self, others: &[Trouble]) -> u32 {
        let part = |replicas: usize| LIMIT / u32::try_from(replicas).unwrap();
        let long = self.lasted() >= LEASE + WINDOW;
        let gone = others.iter().any(|trouble| trouble.takes_one_away());
        self.troubles()
            .map(|trouble| match trouble {
                // The others have its part by then, and it has an even one.
                Trouble::Cut(..) if long => part(SEATS),
                // Nobody tells it again what one had sent that is gone.
                Trouble::StoreKilled(_) | Trouble::StoreFlushed if gone => part(SEATS - 1),
                // Who is new takes the token of all, and a fourth: it cannot ask.
                Trouble::StoreFull | Trouble::StoreReadOnly if gone => part(4),
                Trouble::StoreKilled(_)
                | Trouble::StoreFlushed
                | Trouble::StorePaused
                | Trouble::StoreFull
                | Trouble::StoreReadOnly
                | Trouble::Cut(..)
                | Trouble::Killed(_)
                | Trouble::Replaced(_)
                | Trouble::Stopped(_)
                | Trouble::Revoked
                | Trouble::SlowLogin => 0,
            })
            .sum()
    }

    /// Tokens that are asked for beside the one of each renewal.
    fn mints(&self) -> u64 {
        let replicas = SEATS as u64;
        let renewals = millis(self.lasted()) / millis(LIFE / 2) + 1;
        self.troubles()
            .map(|trouble| match trouble {
                // Each for itself, and once more who comes meanwhile.
                Trouble::StoreKilled(Data::Kept | Data::Lost)
                | Trouble::StorePaused
                | Trouble::StoreFull
                | Trouble::StoreReadOnly => renewals * replicas + 1,
                Trouble::Cut(..) => renewals,
                // Dead in mid-mint; or in a hurry, with nobody to ask.
                Trouble::Killed(_)
                | Trouble::Stopped(_)
                | Trouble::StoreFlushed
                | Trouble::Revoked => 1,
                Trouble::Replaced(_) | Trouble::SlowLogin => 0,
            })
            .sum()
    }
}

impl Ledger {
    pub fn past(&mut self, past: Past) {
        self.pasts.push(past);
    }

    /// The simulator keeps the newest ones only.
    pub fn keep(&mut self, records: Vec<Record>, target: &str) {
        for record in records {
            let Some(path) = record.target.strip_prefix(target) else { continue };
            let seat = path.trim_start_matches('/').chars().take(1).collect();
            let call = Call { token: record.token.unwrap_or_default(), at: record.at_ms, seat };
            self.calls.insert(record.correlation_id, call);
        }
    }

    /// Windows with more calls than what is allowed in them.
    pub fn overruns(&self) -> Vec<String> {
        let mut tokens: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in self.calls.values() {
            tokens.entry(&call.token).or_default().push(call);
        }
        tokens.into_iter().filter_map(|(token, calls)| self.overrun(token, calls)).collect()
    }

    /// The worst of one token.
    fn overrun(&self, token: &str, mut calls: Vec<&Call>) -> Option<String> {
        calls.sort_unstable_by_key(|call| call.at);
        let inside = |from: u64| {
            let before = |at: u64| calls.partition_point(|call| call.at < at);
            &calls[before(from)..before(from + window())]
        };
        let many = |from: u64| u32::try_from(inside(from).len()).unwrap();
        let over = |from: &u64| i64::from(many(*from)) - i64::from(self.allowed(*from));
        let worst = calls.iter().map(|call| call.at).max_by_key(over)?;
        (over(&worst) > 0).then(|| {
            let allowed = self.allowed(worst);
            format!(
                "{} calls under {token} in the window from {worst} ms on, {allowed} allowed, {}{}",
                many(worst),
                self.around(worst),
                profile(&calls, worst),
            )
        })
    }

    fn allowed(&self, from: u64) -> u32 {
        // What a step did to a part is undone when all have been heard, and what was sent is gone.
        let kept = millis(LEASE + WINDOW);
        let over = |past: &&Past| past.began < from + window() && from < past.ended + 2 * kept;
        let extra = |past: &Past| {
            let near =
                |other: &&Past| other.began <= past.ended && past.began <= other.ended + kept;
            let others = self.pasts.iter().filter(near).flat_map(Past::troubles);
            past.extra(&others.collect::<Vec<_>>())
        };
        LIMIT + self.pasts.iter().filter(over).map(extra).sum::<u32>()
    }

    fn around(&self, at: u64) -> String {
        let latest = self.pasts.iter().rev().find(|past| past.began <= at + window());
        latest.map_or("before any step".to_owned(), |past| {
            let Past { number, step, began, ended } = past;
            format!("in or after step {number} ({began} to {ended} ms): {step}")
        })
    }

    /// Tokens that may have been asked for in so long.
    pub fn most_mints(&self, lasted: Duration) -> u64 {
        // Renewals are up to a tenth early.
        let renewals = millis(lasted) / (millis(LIFE / 2) * 9 / 10);
        1 + renewals + self.pasts.iter().map(Past::mints).sum::<u64>()
    }

    pub fn calls(&self) -> usize {
        self.calls.len()
    }
}

/// Who called how often, every half second around a moment.
fn profile(calls: &[&Call], around: u64) -> String {
    let slots = (around.saturating_sub(8_000)..around + 2 * window()).step_by(500);
    let lines = slots.map(|from| {
        let mut seats: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls.iter().filter(|call| (from..from + 500).contains(&call.at)) {
            *seats.entry(&call.seat).or_default() += 1;
        }
        format!("\n    {from} ms: {seats:?}")
    });
    lines.collect()
}
