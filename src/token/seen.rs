//! What people may see of a token.
//! It never shows the token: a fingerprint tells it from others.

use std::sync::Arc;

use super::{Token, Tokens};
use tokio::time::Instant;

/// One place for a token, as it is now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The id of its client.
    pub client: String,
    /// Its number, counted over all clients.
    pub number: u32,
    /// How many there have been in this place.
    pub generation: u64,
    /// The usable one.
    pub token: Option<Arc<Token>>,
}

impl Tokens {
    /// As it is now.
    pub fn seen(&self, now: Instant) -> Seen {
        Seen {
            client: self.of.client.clone(),
            number: self.of.token,
            generation: self.freshness().generation().number(),
            token: self.current(now),
        }
    }
}
