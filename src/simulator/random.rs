//! What looks random: token strings, correlation ids, digests and the ids made from them.
//! It must never be asked for a key that guards anything real.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// A fresh opaque access token: 64 random bytes, as long as Genesys's own.
pub(super) fn token() -> String {
    let mut bytes = [0; 64];
    fastrand::fill(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A fresh random UUID.
pub(super) fn uuid() -> String {
    dashed(&format!("{:032x}", fastrand::u128(..)))
}

/// The UUID that always stands for `name`.
pub(super) fn uuid_of(name: &str) -> String {
    dashed(&sha256(name.as_bytes()))
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// How a token is named where the token itself must not appear: the first 12 hex digits of its
/// SHA-256.
pub fn fingerprint(token: &str) -> String {
    sha256(token.as_bytes()).chars().take(12).collect()
}

/// The first 32 of `hex` in the dashed form of a version 4 UUID.
fn dashed(hex: &str) -> String {
    let mut uuid = String::with_capacity(36);
    for (at, digit) in hex.chars().take(32).enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            uuid.push('-');
        }
        uuid.push(match at {
            12 => '4',
            16 => 'a',
            _ => digit,
        });
    }
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_always_has_the_same_uuid() {
        assert_eq!(uuid_of("user/0"), uuid_of("user/0"));
        assert_ne!(uuid_of("user/0"), uuid_of("user/1"));
        assert_eq!(uuid_of("user/0").len(), 36);
    }

    #[test]
    fn a_fingerprint_says_nothing_but_which() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(fingerprint(""), "e3b0c44298fc");
    }

    #[test]
    fn tokens_are_unique() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 86);
    }
}
