//! Genesys as seen from outside: its fixed window, its 429, and how long it takes.
//! It never knows who calls: a second program with the same token is like any other.

use std::time::{Duration, Instant};

/// Calls in a window.
pub const LIMIT: u32 = 300;
/// What they are counted over.
pub const WINDOW: Duration = Duration::from_secs(60);

/// A fixed window as in `simulator::limits`: it starts with the first call in it, and ends a minute
/// later whatever comes.
#[derive(Debug, Default)]
pub struct Upstream {
    started: Option<Instant>,
    used: u32,
}

impl Upstream {
    /// Counts a call that arrives `now`; else how many whole seconds are left, rounded up.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let start = match self.started {
            Some(start) if now.saturating_duration_since(start) < WINDOW => start,
            Some(_) | None => {
                self.used = 0;
                *self.started.insert(now)
            }
        };
        if self.used < LIMIT {
            self.used += 1;
            return Ok(());
        }
        Err(whole_seconds((start + WINDOW).saturating_duration_since(now)))
    }
}

/// Rounded up, and at least one.
pub fn whole_seconds(wait: Duration) -> Duration {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(whole.max(1))
}

/// One way through the network.
pub fn delay(random: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(random.u64(2_000..8_000))
}

/// What an answer takes at upstream.
pub fn work(random: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(random.u64(50_000..150_000))
}
