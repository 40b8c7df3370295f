//! Whether the store can be used now, and one log line whenever that changes.
//! It never logs a command: hundreds of them fail for one reason.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::Script;
use crate::telemetry::metrics::Metrics;

/// Longer than replicas go without asking: a script that failed and did not within so long is mended.
const QUIET: Duration = Duration::from_secs(10);

/// Whether the store can be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The gateway has begun: it is the first attempt.
    Connecting,
    /// It does what it is asked.
    Up,
    /// It cannot be reached, is slow, refuses, or fails: why, for people.
    Down(String),
}

/// The one place where it changes.
pub(super) struct State {
    now: watch::Sender<Health>,
    /// As logs name it.
    name: String,
    metrics: Metrics,
    facts: Mutex<Facts>,
}

struct Facts {
    /// Of the last change.
    since: Instant,
    /// The script that the store forbids: as long as it does, nothing else proves that all is well.
    forbidden: Option<String>,
    /// When a script failed, the last time. Others may do well meanwhile, and it with other keys.
    failed: Option<Instant>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("now", &*self.now.borrow()).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(name: String, metrics: Metrics) -> Self {
        metrics.store.up(false);
        let facts = Facts { since: Instant::now(), forbidden: None, failed: None };
        let now = watch::Sender::new(Health::Connecting);
        Self { now, name, metrics, facts: Mutex::new(facts) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.now.subscribe()
    }

    /// Why it cannot be used.
    pub(super) fn why(&self) -> String {
        match &*self.now.borrow() {
            Health::Connecting => self.named("not connected yet"),
            // It was lost a moment ago.
            Health::Up => self.named("the connection was lost"),
            Health::Down(why) => why.clone(),
        }
    }

    /// With the server's name.
    pub(super) fn named(&self, why: &str) -> String {
        if why.contains(&self.name) { why.to_owned() } else { format!("{}: {why}", self.name) }
    }

    /// It answers, and does what it is asked.
    pub(super) fn up(&self) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = facts.failed.is_some_and(|at| at.elapsed() < QUIET);
        if facts.forbidden.is_some() || fails {
            return;
        }
        let before = self.now.send_replace(Health::Up);
        let away = whole(facts.since.elapsed());
        match before {
            Health::Up => return,
            Health::Connecting => tracing::info!(
                store = self.name,
                "the store is connected: replicas share tokens and the budget"
            ),
            Health::Down(_) => tracing::info!(
                store = self.name,
                away = %humantime::format_duration(away),
                "the store is back: replicas share tokens and the budget again"
            ),
        }
        facts.since = Instant::now();
        self.metrics.store.up(true);
    }

    /// There is no connection, or the store refuses; what to say of it.
    pub(super) fn down(&self, why: &str) -> String {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever connects may be another user.
        (facts.forbidden, facts.failed) = (None, None);
        self.fell(&mut facts, why)
    }

    /// The connection is good, and the store refuses; for want of a permission, this script.
    pub(super) fn refused(&self, why: &str, forbidden: Option<&Script>) -> String {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(script) = forbidden {
            facts.forbidden = Some(script.hash().to_owned());
        }
        self.fell(&mut facts, why)
    }

    /// The connection is good, and what the store does is of no use.
    pub(super) fn failed(&self, why: &str) -> String {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.failed = Some(Instant::now());
        self.fell(&mut facts, why)
    }

    fn fell(&self, facts: &mut Facts, why: &str) -> String {
        let why = self.named(why);
        let before = self.now.send_replace(Health::Down(why.clone()));
        if !matches!(before, Health::Down(_)) {
            facts.since = Instant::now();
            self.metrics.store.up(false);
            tracing::warn!(
                why,
                "the store cannot be used: this replica goes on alone, with the tokens and the share \
                 of the budget that it has"
            );
        }
        why
    }

    /// A script was run: if it is the one that was forbidden, it is so no more.
    pub(super) fn did(&self, script: &Script) {
        if *self.now.borrow() == Health::Up {
            return;
        }
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.forbidden.as_deref() == Some(script.hash()) {
            facts.forbidden = None;
        }
    }
}

/// Nobody needs its nanoseconds.
fn whole(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_script_that_fails_is_told_of_until_none_has_failed_for_a_while() {
        let state = State::new("h:1".to_owned(), Metrics::default());
        let now = || state.now.borrow().clone();
        state.up();
        for _ in 0..5 {
            assert_eq!(state.failed("a script failed: why"), "h:1: a script failed: why");
            // What else is asked goes well.
            tokio::time::advance(QUIET / 2).await;
            state.up();
            assert_eq!(now(), Health::Down("h:1: a script failed: why".to_owned()));
        }
        tokio::time::advance(QUIET / 2).await;
        state.up();
        assert_eq!(now(), Health::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn another_connection_has_its_own_failures() {
        let state = State::new("h:1".to_owned(), Metrics::default());
        state.failed("a script failed: why");
        state.down("no connection");
        state.up();
        assert_eq!(*state.now.borrow(), Health::Up);
    }
}
