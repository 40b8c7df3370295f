//! One line in order of arrival before the gateway's own sliding window: what most proxies with a
//! queue do.
//! It never tells callers apart, and keeps no place for one that was told to come back.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use genesys_proxy::decide::budget::{Allowance, Budget};

use super::{Asked, CallId, MAX_QUEUE, MAX_WAIT, Policy, Step};
use crate::upstream::{LIMIT, WINDOW, whole_seconds};

/// The line and the window.
#[derive(Debug)]
pub struct Fifo {
    budget: Budget,
    line: VecDeque<CallId>,
    next: Option<Instant>,
}

impl Fifo {
    /// Nobody waits.
    pub fn new(now: Instant) -> Self {
        let limit = NonZeroU32::new(LIMIT);
        let allowance = Allowance { limit, window: WINDOW, even: false, reserve: 0 };
        Self { budget: Budget::new(allowance, now), line: VecDeque::new(), next: None }
    }
}

impl Policy for Fifo {
    fn arrive(&mut self, now: Instant, asked: Asked, steps: &mut Vec<Step>) {
        if self.line.is_empty() && self.budget.take(now, false).is_ok() {
            self.budget.leave(1, now);
            return steps.push(Step::Send(asked.id));
        }
        let wait =
            self.budget.available_at(now, self.line.len(), false).saturating_duration_since(now);
        if wait > MAX_WAIT || self.line.len() >= MAX_QUEUE {
            return steps.push(Step::Refuse(asked.id, whole_seconds(wait)));
        }
        self.line.push_back(asked.id);
        self.wake(now, steps);
    }

    fn refused(&mut self, now: Instant, id: CallId, retry_after: Duration, steps: &mut Vec<Step>) {
        self.budget.pause(now + retry_after);
        steps.push(Step::Refuse(id, retry_after));
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn wake(&mut self, now: Instant, steps: &mut Vec<Step>) {
        self.next = None;
        while let Some(&id) = self.line.front() {
            if let Err(later) = self.budget.take(now, false) {
                self.next = Some(later);
                break;
            }
            self.budget.leave(1, now);
            self.line.pop_front();
            steps.push(Step::Send(id));
        }
    }
}
