//! What a request for a turn says, and what a refusal does.
//! It never waits: it is what is handed to the line, and what comes back.

use http::{Method, uri::PathAndQuery};
use tokio::time::Instant;

use crate::decide::{
    callers::Principal,
    failure::Failure,
    turns::{Refused, Standing},
    urgency::Urgency,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The caller.
    pub principal: Principal,
    /// Among its own calls.
    pub urgency: Urgency,
}

/// A request for a turn.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Whose.
    pub asker: Asker,
    /// What is asked for.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a PathAndQuery,
    /// Until when it waits.
    pub deadline: Instant,
}

/// No turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnedAway {
    /// Why.
    pub failure: Failure,
    /// What its caller has left.
    pub standing: Option<Standing>,
}

impl From<Refused> for TurnedAway {
    fn from(refused: Refused) -> Self {
        let Refused { retry_after, full, standing } = refused;
        let failure = if full {
            Failure::QueueFull { retry_after }
        } else {
            Failure::RateLimited { retry_after }
        };
        Self { failure, standing }
    }
}
