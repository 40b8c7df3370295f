//! Our token in what upstream answers: it is taken out before anybody sees or logs it.
//! It never looks into a body: who may read answers of Genesys Cloud reads what it says there.

use http::HeaderMap;
use hyper::ext::ReasonPhrase;
use tokio::time::Instant;

use crate::{
    decide::redact::{REDACTED, holds, redact},
    telemetry::seldom::Seldom,
    token::Token,
    upstream::answer::Answered,
};

static REFLECTED: Seldom = Seldom::new();

/// Out of an answer's head, and out of what it told us.
pub(super) fn conceal(answer: &mut Answered, token: &Token) {
    let secret = token.secret();
    let Answered { parts, told, body: _ } = answer;
    let in_reason = parts
        .extensions
        .get::<ReasonPhrase>()
        .is_some_and(|reason| holds(reason.as_bytes(), secret));
    if in_reason {
        parts.extensions.remove::<ReasonPhrase>();
    }
    if redact(&mut parts.headers, secret) {
        // It goes to logs.
        for value in [&mut told.correlation_id, &mut told.retry_after].into_iter().flatten() {
            if holds(value.as_bytes(), secret) {
                *value = REDACTED;
            }
        }
        say();
    } else if in_reason {
        say();
    }
}

/// Out of what comes before an answer, or after it.
pub fn conceal_in(fields: &mut HeaderMap, token: &Token) {
    if redact(fields, token.secret()) {
        say();
    }
}

fn say() {
    if let Some(left_out) = REFLECTED.say(Instant::now()) {
        tracing::warn!(left_out, "upstream said our token back in a field: taken out");
    }
}
