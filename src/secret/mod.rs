//! Secrets where they are kept: read anew for every mint, so that a changed one needs no restart.
//! It never logs a value, and never gives up the last good one because its source fails.

mod file;

use std::fmt;

use secrecy::SecretString;

use crate::config::SecretSource;

/// Why a secret cannot be read: for the log and for `check --live`. Never holds a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// One secret and its source.
#[derive(Debug, Clone)]
pub struct Secret {
    source: SecretSource,
}

impl Secret {
    /// Nothing is read yet.
    pub fn new(source: SecretSource) -> Self {
        Self { source }
    }

    /// As it is now.
    #[expect(clippy::unused_async, reason = "commands and Vault are asked, and waited for")]
    pub async fn fresh(&self) -> Result<SecretString, Unreadable> {
        match &self.source {
            SecretSource::Variable { value, .. } => Ok(value.clone()),
            SecretSource::File(path) => file::read(path),
            SecretSource::Command(_) | SecretSource::Vault(_) => {
                Err(Unreadable(format!("{} cannot be read", self.source)))
            }
        }
    }
}
