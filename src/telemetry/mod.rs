//! What the gateway says about itself.
//! It never holds a token, a secret, a query value or a body.

pub mod access_log;
pub mod audit;
pub mod callers;
pub mod causes;
pub mod colours;
pub mod digits;
pub mod errors;
pub mod level;
pub mod log;
pub mod metrics;
pub mod output;
pub mod panics;
mod printable;
pub mod seldom;
pub mod stamp;
pub mod traces;
pub mod words;
