//! What has happened to a call on its way, in its order.
//! It never grows without end: a call that is put off again and again notes its first steps.

use std::time::Duration;

use http::{HeaderValue, StatusCode, Version};
use tokio::time::Instant;

/// More steps than any call takes that is not turned away over and over.
const MOST: usize = 64;
/// Whatever took less was not waited for.
const LEAST: Duration = Duration::from_micros(100);

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its turn.
    Queue,
    /// A token.
    Token,
    /// Upstream, which is in trouble.
    Backoff,
}

/// How a try ended: with an answer's head, or why without.
pub type Ended = Result<(StatusCode, Version), &'static str>;

/// A part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Wait(Wait),
    Try {
        /// As upstream was told.
        span: u64,
        host: HeaderValue,
        ended: Ended,
    },
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    steps: Vec<Step>,
    /// The try that is under way.
    trying: Option<(u64, HeaderValue, Instant)>,
}

impl Notes {
    pub(super) fn waited(&mut self, what: Wait, from: Instant, until: Instant) {
        if until.saturating_duration_since(from) >= LEAST {
            self.push(Step { from, until, what: What::Wait(what) });
        }
    }

    pub(super) fn try_begins(&mut self, span: u64, host: &HeaderValue, now: Instant) {
        self.trying = Some((span, host.clone(), now));
    }

    pub(super) fn try_ended(&mut self, ended: Ended, until: Instant) {
        if let Some((span, host, from)) = self.trying.take() {
            self.push(Step { from, until, what: What::Try { span, host, ended } });
        }
    }

    /// All of them. A try that is still under way was given up: its caller left.
    pub(super) fn close(mut self, now: Instant) -> Vec<Step> {
        self.try_ended(Err("cancelled"), now);
        self.steps
    }

    fn push(&mut self, step: Step) {
        if self.steps.len() < MOST {
            self.steps.push(step);
        }
    }
}
