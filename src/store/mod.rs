//! What replicas share, in Redis: every value read there is a hint, and nothing waits for it for long.
//! It never holds a request up for the store's sake: without it each replica goes on alone.

mod attempt;
pub mod budget;
mod ear;
mod health;
mod keeper;
mod link;
pub mod logins;
#[cfg(test)]
pub(crate) mod memory;
mod refusal;
mod replica;
pub mod scope;
mod script;
pub mod seal;
pub mod token;
mod way;

use bytes::Bytes;
use tokio::sync::broadcast::{self, error::RecvError};

pub use attempt::Attempt;
pub use health::Health;
pub use link::Link;
pub use replica::ReplicaId;
pub use scope::Scope;
pub use script::Script;
pub use way::Unbuildable;

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

impl Heard {
    /// The next one. A receiver that is too slow has missed some; when the gateway ends, there is none
    /// any more.
    pub async fn next(receiver: &mut broadcast::Receiver<Self>) -> Self {
        match receiver.recv().await {
            Ok(heard) => heard,
            Err(RecvError::Lagged(_)) => Self::Gap,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
