//! What came of a run, in numbers.
//! It never counts what happened before or after the measured time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::upstream::{LIMIT, WINDOW};

/// What is counted on the way.
#[derive(Debug)]
pub struct Tally {
    from: Instant,
    until: Instant,
    /// Accepted by upstream, each by its weight.
    used: f64,
    upstream_429: u64,
    outside_429: u64,
    caller_429: u64,
    served: Vec<u64>,
    told: u64,
    came: u64,
    kept: u64,
    waits: Vec<Duration>,
    watched: u64,
    unbothered: u64,
    asked: u64,
    asked_served: u64,
}

/// The fate of one call.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// When it first came.
    pub first: Instant,
    /// When it left for upstream, which accepted it.
    pub served: Option<Instant>,
    /// 429s that its caller saw.
    pub refusals: u32,
    /// Its caller's waits are looked at.
    pub watched: bool,
}

impl Tally {
    /// For so many callers.
    pub fn new(callers: usize, (from, until): (Instant, Instant)) -> Self {
        Self {
            from,
            until,
            used: 0.0,
            upstream_429: 0,
            outside_429: 0,
            caller_429: 0,
            served: vec![0; callers],
            told: 0,
            came: 0,
            kept: 0,
            waits: Vec::new(),
            watched: 0,
            unbothered: 0,
            asked: 0,
            asked_served: 0,
        }
    }

    fn counts(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// Who uses a window at once does so twenty or twenty-one times in twenty minutes: whether the
    /// last one is inside must not matter. So calls count less and less towards the ends.
    fn weight(&self, at: Instant) -> f64 {
        let inside = (at - self.from).min(self.until - at);
        inside.div_duration_f64(WINDOW).min(1.0)
    }

    /// Upstream accepted or refused a call of the callers.
    pub fn upstream(&mut self, at: Instant, caller: usize, accepted: bool) {
        if !self.counts(at) {
            return;
        }
        if accepted {
            self.used += self.weight(at);
            if let Some(served) = self.served.get_mut(caller) {
                *served += 1;
            }
        } else {
            self.upstream_429 += 1;
        }
    }

    /// Upstream accepted or refused a call from outside.
    pub fn outside(&mut self, at: Instant, accepted: bool) {
        if self.counts(at) {
            self.used += if accepted { self.weight(at) } else { 0.0 };
            self.outside_429 += u64::from(!accepted);
        }
    }

    /// A caller got a 429.
    pub fn refused(&mut self, at: Instant) {
        self.caller_429 += u64::from(self.counts(at));
    }

    /// A caller came back when it was told to, at `told`; whether it had its turn in time.
    pub fn promise(&mut self, told: Instant, kept: bool) {
        if self.counts(told) {
            self.told += 1;
            self.came += 1;
            self.kept += u64::from(kept);
        }
    }

    /// A caller was told to come back at `told`, and did not.
    pub fn unclaimed(&mut self, told: Instant) {
        self.told += u64::from(self.counts(told));
    }

    /// A call is over, or the run is.
    pub fn fate(&mut self, fate: Fate) {
        if !self.counts(fate.first) {
            return;
        }
        self.asked += 1;
        self.asked_served += u64::from(fate.served.is_some());
        if fate.watched {
            self.watched += 1;
            self.unbothered += u64::from(fate.served.is_some() && fate.refusals == 0);
            self.waits.extend(fate.served.map(|served| served - fate.first));
        }
    }

    /// The figures.
    pub fn json(mut self) -> Value {
        self.waits.sort_unstable();
        let windows = (self.until - self.from).div_duration_f64(WINDOW);
        // Half a window is lost to the weights at either end.
        let allowed = f64::from(LIMIT) * (windows - 1.0);
        let minutes = (self.until - self.from).as_secs_f64() / 60.0;
        json!({
            "used": self.used / allowed,
            "offered": count(self.asked) / (f64::from(LIMIT) * windows),
            "upstream_429": self.upstream_429,
            "outsider_429": self.outside_429,
            "caller_429_per_minute": count(self.caller_429) / minutes,
            "jain": jain(&self.served),
            "wait_p50": seconds(percentile(&self.waits, 0.50)),
            "wait_p99": seconds(percentile(&self.waits, 0.99)),
            "watched": self.watched,
            "watched_served": self.waits.len(),
            "watched_without_429": self.unbothered,
            "asked": self.asked,
            "asked_served": self.asked_served,
            "promises": self.told,
            "promises_claimed": self.came,
            "promises_kept": self.kept,
        })
    }
}

/// Jain's fairness index (1984): 1 when all have the same, 1/n when one has everything.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| count(share)).sum();
    let squares: f64 = shares.iter().map(|&share| count(share).powi(2)).sum();
    if squares > 0.0 { sum * sum / (count(shares.len() as u64) * squares) } else { 1.0 }
}

/// The smallest wait that this share of all does not exceed.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not more than there are"
    )]
    let rank = (count(sorted.len() as u64) * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn seconds(wait: Option<Duration>) -> Option<f64> {
    wait.map(|wait| (wait.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}
