//! The program as a real process, against the simulator and against peers that misbehave.
//! One binary, one module a promise.

mod support;

mod layers;
mod malformed_http1;
mod serving;
