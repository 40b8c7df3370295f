//! A secret in a file, less one newline at its end.
//! It never reads more than any secret is long.

use std::path::Path;

use secrecy::SecretString;

use super::Unreadable;
use crate::config::{read_credential, without_newline};

/// The file's text.
pub(super) fn read(path: &Path) -> Result<SecretString, Unreadable> {
    let bytes = read_credential(path)
        .map_err(|error| Unreadable(format!("cannot read {}: {error}", path.display())))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Unreadable(format!("{} is not text", path.display())))?;
    Ok(SecretString::from(without_newline(text)))
}
