//! Answers whose shape is the point: any status, a slow stream, trailers.
//! It must never be taken for Genesys's: these paths are the simulator's own.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{
    super::{
        answer::{self, Problem, with},
        body::{Lines, Trailed, boxed},
        journey::Call,
        random::sha256,
        received::number,
    },
    Outcome, reading,
};

/// `/api/v2/status/{code}`, for any method.
pub(super) fn status(call: &Call, code: &str) -> Outcome {
    let code = code.parse().ok().filter(|code: &u16| (200..=599).contains(code));
    let Some(status) = code.and_then(|code| StatusCode::from_u16(code).ok()) else {
        return Err(Problem::bad_request("The status must be between 200 and 599."));
    };
    match status.as_u16() {
        204 | 205 => Ok(answer::empty(status)),
        304 => Ok(with(answer::empty(status), header::ETAG, "\"simulated\"")),
        300..=399 => Ok(with(answer::empty(status), header::LOCATION, "/api/v2/status/200")),
        200..=299 => Ok(answer::json(status, &json!({"status": status.as_u16()}))),
        429 => Err(Problem::too_many(3)),
        _ => Ok(Problem::of(status).answer(&call.id)),
    }
}

/// `/api/v2/stream?chunks=N&gap_ms=M`: N lines, one every M milliseconds.
pub(super) fn stream(call: &Call) -> Outcome {
    reading(call)?;
    let chunks = number(&call.head, "chunks", 10);
    let gap = Duration::from_millis(number(&call.head, "gap_ms", 100));
    Ok(answer::content("application/x-ndjson", boxed(Lines::new(chunks, gap))))
}

/// `/api/v2/trailers`: a chunked body, and its SHA-256 in a trailer. HTTP/1.1 clients get the
/// trailer only when they say `TE: trailers`.
pub(super) fn trailers(call: &Call) -> Outcome {
    const BODY: &str = "the digest comes last\n";
    const NAME: HeaderName = HeaderName::from_static("x-body-sha256");
    reading(call)?;
    let digest = HeaderValue::from_str(&sha256(BODY.as_bytes()));
    let trailers = digest.into_iter().map(|digest| (NAME, digest)).collect();
    let answer = answer::content("text/plain", boxed(Trailed::new(BODY, trailers)));
    Ok(with(answer, header::TRAILER, NAME.as_str()))
}
