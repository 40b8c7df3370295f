//! Decisions without I/O: facts and `now` come in, an enum goes out.
//! It never reads a clock, rolls dice, takes a lock or logs, so that hundreds of seeded simulations
//! run in a second and a surprising answer can be replayed.

pub mod access;
pub mod answer;
pub mod asked;
pub mod audit;
pub mod backoff;
pub mod bend;
pub mod blame;
pub mod budget;
pub mod bytes;
pub mod callers;
pub mod course;
pub mod failure;
pub mod frames;
pub mod framing;
pub mod freshness;
pub mod headers;
pub mod joint;
pub mod keys;
pub mod lanes;
pub mod lease;
pub mod local_token;
pub mod offered;
pub mod pace;
pub mod pages;
pub mod path;
pub mod permissions;
pub mod policy;
pub mod queue;
pub mod quota;
pub mod rank;
pub mod redact;
pub mod renewals;
pub mod retry;
pub mod retry_budget;
pub mod rotation;
pub mod saving;
pub mod scopes;
pub mod shared_token;
pub mod skew;
pub mod suspicion;
pub mod trace;
pub mod turns;
pub mod urgency;

/// Some moment, for tests: only differences count.
#[cfg(test)]
pub(crate) fn t0() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
