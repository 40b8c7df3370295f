//! The program as a real process, against the simulator and against peers that misbehave.
//! One binary, one module a promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its support too")]

mod support;

mod cold_start;
mod commands;
mod draining;
mod layers;
mod rate;
mod revoked;
mod serving;
mod short_lives;
mod simulate;
mod streaming;
mod token_trouble;
mod upstream_tls;
