//! The API: which resource answers which path, with data that never changes between runs.
//! It must never look at a bearer or a limit: whoever comes here has passed both.

mod analytics;
mod echo;
mod notifications;
mod page;
mod people;
mod queues;
mod recordings;
mod shapes;
mod transfer;
mod upgrade;

use http::{Method, StatusCode};
use serde_json::json;

pub use self::{people::user_ids, queues::queue_ids};
pub use super::body::media_bytes;
use super::{
    answer::{Answer, Problem},
    journey::Call,
    tokens::Caller,
};

/// What the API remembers between calls.
#[derive(Debug, Default)]
pub(super) struct State {
    jobs: analytics::Jobs,
    channels: notifications::Channels,
}

/// An answer, or the problem that becomes one.
type Outcome = Result<Answer, Problem>;

/// Answers a call that is allowed.
pub(super) fn answer(call: &Call, caller: &Caller) -> Answer {
    route(call, caller).unwrap_or_else(|problem| problem.answer(&call.id))
}

fn route(call: &Call, caller: &Caller) -> Outcome {
    let path = call.head.uri().path();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api", "v2", rest @ ..] => match rest {
            ["tokens", "me"] => people::token(call, caller),
            ["organizations", "me"] => people::organization(call),
            ["users"] => people::users(call),
            ["users", id] => people::user(call, id),
            ["routing", "queues"] => queues::list(call),
            ["routing", "queues", id] => queues::one(call, id),
            ["analytics", "conversations", "details", rest @ ..] => analytics::route(call, rest),
            ["notifications", "channels", rest @ ..] => notifications::route(call, caller, rest),
            ["recordings", id, "media"] => recordings::media(call, id),
            ["downloads", id] => transfer::download(call, id),
            ["echo", ..] => Ok(echo::answer(call)),
            ["status", code] => shapes::status(call, code),
            ["stream"] => shapes::stream(call),
            ["trailers"] => shapes::trailers(call),
            ["upgrade"] => upgrade::answer(call),
            ["audits", "query", ..] => Err(forbidden()),
            _ => Err(Problem::of(StatusCode::NOT_FOUND)),
        },
        ["uploads", "v2", kind @ ("contactlist" | "scripter")] => transfer::upload(call, kind),
        _ => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}

/// Refuses every method but these.
fn only(call: &Call, methods: &[Method]) -> Result<(), Problem> {
    if methods.contains(call.head.method()) {
        Ok(())
    } else {
        Err(Problem::of(StatusCode::METHOD_NOT_ALLOWED))
    }
}

/// Refuses every method but GET and HEAD.
fn reading(call: &Call) -> Result<(), Problem> {
    only(call, &[Method::GET, Method::HEAD])
}

/// The simulated client's role lacks one permission.
fn forbidden() -> Problem {
    let message = "You are missing the following permission(s): audits:audit:view";
    Problem::new(StatusCode::FORBIDDEN, "missing.permissions", message)
        .with_params(json!({"permissions": "audits:audit:view"}))
}
