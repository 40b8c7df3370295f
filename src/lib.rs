//! genesys-proxy: an authenticating reverse proxy for Genesys Cloud.
//!
//! # The journey of a request
//!
//! [`server`] accepts a connection on one of its workers and watches its framing; hyper parses it;
//! [`gateway`] carries the request, and `gateway/mod.rs` shows the whole way on one screen:
//!
//! | step | file | what it hands on |
//! |---|---|---|
//! | refuse what must not pass | `gateway/guard` | nothing, or a `Failure` |
//! | answer what is asked of ourselves | `gateway/login` | a token of ours |
//! | tell whose call it is | `gateway/identify` | a `Principal` |
//! | by its rules, let it pass | `gateway/authorize` | nothing, or a `Failure` |
//! | an answer that need not be asked for | `gateway/saving` | it, or the call to be sent |
//! | wait for a turn in the budget | `gateway/admit` | a `Permit`, held until the last byte |
//! | strip, then sign | `gateway/credential` | a request that upstream may see |
//! | one try | `gateway/forward` | `Answered` or `Broken` |
//! | renew, wait, move, or stop | `gateway/recover` | the answer that counts |
//! | pass on, or refuse | `gateway/respond` | the response, its record written at the last byte |
//!
//! # The arrows
//!
//! ```text
//! main → cli → { config, server, admin, simulator }
//! server → gateway → { token, upstream, store } → decide     token → { secret, store } → decide
//! store → secret
//! config → decide      admin → { token, gateway, store }      everyone may use telemetry and config
//! ```
//!
//! [`decide`] imports nothing of ours, has no I/O, no clock and no dice: every rule in it can be
//! replayed from a seed. [`token`] and [`upstream`] do not know [`gateway`]. `tests/it/layers.rs`
//! holds the arrows.
//!
//! # Two sides
//!
//! The hot side is one current-thread runtime a core, each with its own listeners and its own
//! upstream connections; what workers share is read without waiting. The slow side (minting,
//! pacing, admin) is one runtime of its own.
//!
//! A reload swaps what a worker serves by ([`server::door::Hall`]): a request keeps what it began with,
//! the next one on the same connection goes by the new.

pub mod admin;
pub mod cli;
pub mod config;
pub mod decide;
pub mod gateway;
pub mod secret;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod upstream;
