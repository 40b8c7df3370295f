//! Whether a caller may make a call: by `access.deny`, then by its own rules.
//! It never grants what it cannot name a reason for, and says which rule refused.

use http::Method;
use tokio::time::Instant;

use super::{identify::Callers, said::Said};
use crate::{
    decide::{
        access::{Rule, denying},
        callers::Principal,
        failure::Failure,
        policy::Policy,
    },
    telemetry::access_log::{Record, Ruling},
};

/// A call and whose it is.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whose.
    pub principal: Principal,
    /// Its method.
    pub method: &'a Method,
    /// Its path, as it came.
    pub path: &'a str,
    /// It asks for a `WebSocket`.
    pub tunnel: bool,
}

/// Lets the call pass, or refuses it; what ruled stands in its record.
///
/// # Errors
/// With the failure that its caller gets.
pub fn authorize(
    call: &Call<'_>,
    deny: &[Rule],
    callers: &Callers,
    said: &Said,
    record: &mut Record,
) -> Result<(), Failure> {
    if let Some(rule) = denying(deny, call.method, call.path) {
        record.ruling = Ruling::new(format!("access.deny {rule}"), false);
        return Err(Failure::Denied);
    }
    let Some(policy) = callers.policy(call.principal) else { return Ok(()) };
    let tunnel = |()| if call.tunnel { policy.judge_tunnel() } else { Ok(()) };
    let judged = policy.judge(call.method, call.path).and_then(tunnel);
    let Err(refused) = judged else { return Ok(()) };
    let rule = refused.to_string();
    let Policy { observe, .. } = *policy;
    if said.news(&(call.principal, &rule, record.call()), Instant::now()) {
        let (caller, call) = (callers.name(call.principal), record.call());
        if observe {
            tracing::warn!(%caller, call, rule, "would be refused, and is let through: observe = true");
        } else {
            tracing::warn!(%caller, call, rule, "refused: the caller's rules do not allow this call");
        }
    }
    record.ruling = Ruling::new(rule, observe);
    if observe { Ok(()) } else { Err(Failure::NotAllowed) }
}
