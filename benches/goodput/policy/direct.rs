//! Nothing between: each caller hears upstream's own 429.
//! It never holds a call.

use std::time::{Duration, Instant};

use super::{Asked, CallId, Policy, Step};

/// Calls go to upstream as they come.
#[derive(Debug)]
pub struct Direct;

impl Policy for Direct {
    fn arrive(&mut self, _now: Instant, asked: Asked, steps: &mut Vec<Step>) {
        steps.push(Step::Send(asked.id));
    }

    fn refused(&mut self, _now: Instant, id: CallId, retry_after: Duration, steps: &mut Vec<Step>) {
        steps.push(Step::Refuse(id, retry_after));
    }
}
