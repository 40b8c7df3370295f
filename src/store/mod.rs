//! What replicas share, in Redis: every value read there is a hint, and nothing waits for it for long.
//! It never holds a request up for the store's sake: without it each replica goes on alone.

mod link;

use bytes::Bytes;

pub use link::{Link, Script, Unbuildable};

/// The store did not answer as it should. What was asked may have been done all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Down {
    /// For the log: names the server, holds no secret.
    pub why: String,
}

/// What comes from other replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message of one of them, perhaps.
    Said(Bytes),
    /// Messages may have been missed: what they would have told is to be read.
    Gap,
}
