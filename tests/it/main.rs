//! The program as a real process, against the simulator and against peers that misbehave.
//! One binary, one module a promise.

mod support;

mod hostile_login;
mod hostile_upstream;
mod http2_upstream;
mod hygiene;
mod layers;
mod malformed_http1;
mod malformed_http2;
mod serving;
mod slow_callers;
