//! What the caller gets when there is no other try.
//! It never sends anything.

use std::sync::Arc;

use http::StatusCode;

use super::{Broken, Call, Last, Permit, retries::Tried};
use crate::{
    decide::failure::Failure,
    telemetry::traces::Ended,
    token::Token,
    upstream::{
        answer::Answered,
        connect::ConnectError,
        replay::{Fault, Replay},
    },
};

/// The answer that the caller gets, and what must live as long as it.
#[derive(Debug)]
pub struct Recovered {
    /// Upstream's answer.
    pub answer: Box<Answered>,
    /// Held until the last byte. `None`: all of it has come, and its call was no load since.
    pub permit: Option<Permit>,
    /// The body was too large to be sent again after this 401.
    pub not_replayable: bool,
    /// The answer came before the upload ended.
    pub early: bool,
    /// What it was asked with: no trailer may say it.
    pub token: Arc<Token>,
}

/// There is no other try: the caller gets what came of the last one.
pub(super) fn hand_on(call: Call, last: Last, token: Arc<Token>) -> Result<Recovered, Failure> {
    match last.tried {
        Ok(answer) => Ok(settle(call, answer, last.permit, token)),
        Err(broken) => Err(failure(&broken, &call.body)),
    }
}

pub(super) fn settle(
    call: Call,
    answer: Box<Answered>,
    permit: impl Into<Option<Permit>>,
    token: Arc<Token>,
) -> Recovered {
    let refused = answer.parts.status == StatusCode::UNAUTHORIZED;
    let not_replayable = refused && !call.body.replayable();
    if not_replayable {
        tracing::warn!(
            generation = token.generation.number(),
            "a 401 was passed on: the request body is larger than replay.per_request"
        );
    }
    let early = call.body.unread();
    call.body.settle();
    Recovered { answer, permit: permit.into(), not_replayable, early, token }
}

pub(super) fn failure(broken: &Broken, body: &Replay) -> Failure {
    match (body.fault(), broken) {
        (Some(Fault::Broken), _) => Failure::BodyBroken,
        (Some(Fault::Left), _) => Failure::CallerLeft,
        (Some(Fault::Timeout), _) => Failure::BodyTimeout,
        (None, Broken::Unsent | Broken::Cut { .. } | Broken::Caller) => Failure::UpstreamBroken,
        (None, Broken::Timeout) => Failure::ResponseTimeout,
        (None, Broken::BadAnswer) => Failure::BadAnswer,
        (None, Broken::NoConnection(error)) => unreachable_upstream(error),
    }
}

/// How a try ended, for its span.
pub(super) fn told(tried: &Tried) -> Ended {
    match tried {
        Ok(answer) => Ok((answer.parts.status, answer.parts.version)),
        Err(Broken::NoConnection(error)) => Err(unreachable_upstream(error).facts().code),
        Err(Broken::Unsent) => Err("unsent"),
        Err(Broken::Cut { .. }) => Err("broken"),
        Err(Broken::Timeout) => Err("timeout"),
        Err(Broken::BadAnswer) => Err("bad_answer"),
        Err(Broken::Caller) => Err("caller"),
    }
}

fn unreachable_upstream(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Timeout => Failure::ConnectTimeout,
        ConnectError::Unreachable(_) | ConnectError::Http(_) => Failure::Unreachable,
        ConnectError::Tls(_) => Failure::TlsFailed,
    }
}
