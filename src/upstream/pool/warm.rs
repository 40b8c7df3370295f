//! How many connections are kept ready before there is a request for them, and when one is dialled.
//! It never dials: the pool does, and tells how it went.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{decide::backoff::Backoff, upstream::connect::ConnectError};

/// Between two tries while upstream cannot be reached, or hangs up at once.
const BACKOFF: Backoff = Backoff {
    floor: Duration::from_millis(500),
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};
/// A connection that ends before without having carried anything was no success.
pub(super) const PROVED: Duration = Duration::from_secs(5);

/// What `upstream.warm_connections` asks for; all workers know together whether it works.
#[derive(Debug, Clone, Default)]
pub struct Warm {
    wanted: usize,
    down: Arc<AtomicBool>,
}

/// One pool's own tries.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// In a row.
    failures: u32,
    not_before: Option<Instant>,
    failed_at: Option<Instant>,
}

impl Warm {
    /// So many a worker; 0: none.
    pub fn new(wanted: usize) -> Self {
        Self { wanted, down: Arc::default() }
    }

    /// How many to dial now, when there are `ready` ones and others are `coming`. One HTTP/2
    /// connection carries everything.
    pub(super) fn missing(
        &self,
        ready: usize,
        coming: usize,
        http2: bool,
        tries: &Tries,
        now: Instant,
    ) -> usize {
        if tries.not_before.is_some_and(|at| now < at) {
            return 0;
        }
        // Of whom nobody knows how much it will carry, one is dialled first, and after a failure too.
        let wanted = if http2 || tries.failures > 0 { self.wanted.min(1) } else { self.wanted };
        wanted.saturating_sub(ready + coming)
    }

    /// A dial in the background ended. Told once for all workers, however often it is tried.
    pub(super) fn dialled(&self, error: Option<&ConnectError>) {
        let was_down = self.down.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_down => {
                tracing::warn!(%error, "no connection to upstream can be opened ahead; trying on");
            }
            None if was_down => tracing::info!("connections to upstream can be opened again"),
            Some(_) | None => {}
        }
    }
}

impl Tries {
    /// It did not work, or not for long. `dice` in `0.0..1.0`.
    pub(super) fn failed(&mut self, now: Instant, dice: f64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.not_before = Some(now + BACKOFF.delay(self.failures, dice));
    }

    /// A connection carried something, or stayed. One that is older than the last failure proves
    /// nothing about it.
    pub(super) fn proved(&mut self, born: Instant) {
        if self.failed_at.is_none_or(|failed| born > failed) {
            *self = Self::default();
        }
    }
}
