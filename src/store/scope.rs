//! Whose a shared value is: one OAuth client at one login and one API.
//! It never shows any of the three: who lists a store's keys learns that there are clients, no more.

use std::fmt::{self, Write as _};

use aws_lc_rs::digest::{Context, SHA256};

/// In a key's name it takes 16 characters.
const SHOWN_BYTES: usize = 8;

/// The part of every key's name that keeps clients apart, written as `{…}` so that a cluster has all
/// of one client's keys on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(String);

impl Scope {
    /// Of the client `id`, which logs in at `token_url` and calls `api`.
    pub fn new(token_url: &str, api: &str, id: &str) -> Self {
        let mut digest = Context::new(&SHA256);
        for part in ["genesys-proxy", token_url, api] {
            digest.update(part.as_bytes());
            // No URL holds it, so that no two clients read alike.
            digest.update(&[0]);
        }
        digest.update(id.as_bytes());
        Self(hex(digest.finish().as_ref().get(..SHOWN_BYTES).unwrap_or_default()))
    }

    /// The full name of a key or a channel.
    pub fn name(&self, what: &str) -> String {
        name(&self.0, what)
    }
}

/// The same for any tag.
pub(super) fn name(tag: &str, what: &str) -> String {
    format!("gp1:{{{tag}}}:{what}")
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_logins_and_apis_are_kept_apart_and_names_tell_none_of_them() {
        let (login, api) = ("https://login.example/oauth/token", "https://api.example");
        let scope = Scope::new(login, api, "an-id");
        for other in [
            Scope::new(login, api, "another-id"),
            Scope::new(login, "https://api.example.eu", "an-id"),
            Scope::new("https://login.example.eu/oauth/token", api, "an-id"),
        ] {
            assert_ne!(scope, other);
        }
        assert_eq!(scope, Scope::new(login, api, "an-id"));
        let name = scope.name("token:0");
        assert_eq!(name, format!("gp1:{{{scope}}}:token:0"));
        assert_eq!(scope.to_string().len(), 16);
        assert!(!name.contains("example") && !name.contains("an-id"), "{name}");
    }
}
