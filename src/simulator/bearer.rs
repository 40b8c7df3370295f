//! Who calls: the bearer token against the tokens issued, and that token's limit.
//! It must never count a refused token against any limit.

use http::{StatusCode, header};

use super::{
    answer::{Answer, Problem, with},
    journey::Call,
    received,
    tokens::{Admission, Caller},
};

/// Why a call does not reach the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It carries no token.
    Missing,
    /// Its token is unknown, expired or revoked.
    Bad,
    /// Its token has made all its calls.
    Limited { retry_after: u64 },
}

impl Refusal {
    /// As Genesys says it.
    pub(super) fn answer(self, context_id: &str) -> Answer {
        match self {
            Self::Missing => {
                let message = "No authentication bearer token specified in authorization header.";
                Problem::new(StatusCode::UNAUTHORIZED, "authentication.required", message)
                    .answer(context_id)
            }
            Self::Bad => Problem::of(StatusCode::UNAUTHORIZED).answer(context_id),
            Self::Limited { retry_after } => {
                let answer = Problem::too_many(retry_after).answer(context_id);
                with(answer, header::RETRY_AFTER, &retry_after.to_string())
            }
        }
    }
}

/// The caller, when the token is good and within its limit.
pub(super) fn admit(call: &Call) -> Result<Caller, Refusal> {
    let lines = call.head.headers().get_all(header::AUTHORIZATION);
    // What SDKs send that have no token: "Bearer" and nothing after it.
    let empty = |line: &[u8]| line.trim_ascii().eq_ignore_ascii_case(b"bearer");
    let missing = lines.iter().all(|line| empty(line.as_bytes()));
    call.site.world.with(|state, now| {
        let admission = match received::bearer(&call.head) {
            Some(token) => state.tokens.admit(token, now),
            None => Admission::Unknown,
        };
        let counters = &mut state.report.counters;
        counters.most_in_window = state.tokens.most_in_window();
        match admission {
            Admission::Admitted(caller) => Ok(caller),
            Admission::Limited { retry_after } => {
                counters.rate_limited += 1;
                Err(Refusal::Limited { retry_after })
            }
            Admission::Unknown => {
                counters.unauthorized += 1;
                Err(if missing { Refusal::Missing } else { Refusal::Bad })
            }
        }
    })
}
