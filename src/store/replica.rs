//! Which replica: a random name for each process.
//! It never tells of a host, a user or a place.

use std::fmt;

use aws_lc_rs::rand;

use super::scope::hex;

/// 64 random bits, as 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// A new one.
    pub fn random() -> Self {
        let mut bits = [0; 8];
        // Without the system's randomness, ours will do: it only tells replicas apart.
        if rand::fill(&mut bits).is_err() {
            bits = fastrand::u64(..).to_be_bytes();
        }
        Self(hex(&bits))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
