//! A token bucket without a queue, as in front of many an API: a call finds a token or a 429.
//! It never learns from upstream: a 429 is handed on.

use std::time::{Duration, Instant};

use super::{Asked, CallId, Policy, Step};
use crate::upstream::{LIMIT, WINDOW, whole_seconds};

/// It fills at upstream's rate.
#[derive(Debug)]
pub struct Bucket {
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Full, with room for `burst`.
    pub fn new(burst: u32, now: Instant) -> Self {
        Self { burst: burst.into(), tokens: burst.into(), at: now }
    }
}

impl Policy for Bucket {
    fn arrive(&mut self, now: Instant, asked: Asked, steps: &mut Vec<Step>) {
        let rate = f64::from(LIMIT) / WINDOW.as_secs_f64();
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * rate).min(self.burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            steps.push(Step::Send(asked.id));
        } else {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / rate);
            steps.push(Step::Refuse(asked.id, whole_seconds(wait)));
        }
    }

    fn refused(&mut self, _now: Instant, id: CallId, retry_after: Duration, steps: &mut Vec<Step>) {
        steps.push(Step::Refuse(id, retry_after));
    }
}
