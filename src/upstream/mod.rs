//! Connections to Genesys Cloud: dialled, pooled per worker, and the bodies that go over them.
//! It never knows why a request is sent, nor decides whether to send it again.

pub mod answer;
pub mod connect;
pub mod deadline;
pub mod half_heard;
pub mod http1;
pub mod pool;
pub mod read_ahead;
pub mod replay;
pub mod tcp;
pub mod tls;
pub mod unbroken;

#[cfg(test)]
mod tests;
