//! One `[[caller]]`: by what it is known, and what it is granted.
//! It never holds a key, only its digest, and shows neither.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, SHA256_OUTPUT_LEN, digest},
};
use ipnet::IpNet;

use crate::decide::{callers::Terms, policy::Policy};

/// `[[caller]]`
#[derive(Debug, Clone)]
pub struct Caller {
    /// A plain word, unlike every other caller's.
    pub name: String,
    /// Where it calls from; no other caller has one of these.
    pub networks: Vec<IpNet>,
    /// Of what it sends in `X-Api-Key`; no other caller has the same.
    pub key: Option<KeyDigest>,
    /// Its user ids, on a unix socket; no other caller has one of these.
    pub uids: Vec<u32>,
    /// The claims of its tokens, name and value, all of them; empty: it has none.
    pub claims: BTreeMap<String, String>,
    /// Names in the certificate that it shows; no other caller has one of these.
    pub certificates: Vec<CertName>,
    /// What it is granted.
    pub terms: Terms,
    /// What it may call.
    pub policy: Policy,
}

impl Caller {
    /// What it sends or where it comes from tells who it is.
    pub fn is_known_by_something(&self) -> bool {
        self.key.is_some()
            || !self.networks.is_empty()
            || !self.certificates.is_empty()
            || !self.uids.is_empty()
            || !self.claims.is_empty()
    }
}

/// A name in a caller's certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertName {
    /// A common name of its subject, as it is there.
    CommonName(String),
    /// A DNS name among its subject's alternative names, in lower case.
    Dns(String),
    /// A URI among them, as it is there, such as a SPIFFE id.
    Uri(String),
}

impl CertName {
    /// `CN=…`, `DNS:…` or `URI:…`, the three words in any case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let clean = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_control());
        let split = |at| text.split_at_checked(at).filter(|(_, name)| clean(name));
        let (three, four) = (split(3), split(4));
        match (three, four) {
            (Some((kind, name)), _) if kind.eq_ignore_ascii_case("CN=") => {
                (name == name.trim()).then(|| Self::CommonName(name.to_owned()))
            }
            (_, Some((kind, name))) if kind.eq_ignore_ascii_case("DNS:") => {
                (!name.contains(char::is_whitespace)).then(|| Self::Dns(name.to_ascii_lowercase()))
            }
            (_, Some((kind, name))) if kind.eq_ignore_ascii_case("URI:") => {
                (!name.contains(char::is_whitespace)).then(|| Self::Uri(name.to_owned()))
            }
            _ => None,
        }
    }
}

/// As it is written.
impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(name) => write!(f, "CN={name}"),
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Uri(name) => write!(f, "URI:{name}"),
        }
    }
}

/// SHA-256 of a caller's key.
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; SHA256_OUTPUT_LEN]);

/// In constant time: how far a guess is right must not show.
impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl KeyDigest {
    /// The digest of a key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, from) in bytes.iter_mut().zip(digest(&SHA256, key).as_ref()) {
            *byte = *from;
        }
        Self(bytes)
    }

    /// Its bytes; a digest of few words tells them to who tries all.
    pub fn bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }

    /// Of its bytes.
    pub fn new(bytes: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(bytes)
    }

    /// As `sha256sum` writes it: 64 digits of either case.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(bytes))
    }
}

/// Without the digest: a short key can be guessed from it.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyDigest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_read_as_sha256sum_writes_it() {
        assert_eq!(KeyDigest::parse(ABC), Some(KeyDigest::of(b"abc")));
        assert_eq!(KeyDigest::parse(&ABC.to_uppercase()), Some(KeyDigest::of(b"abc")));
        for wrong in ["", "abc", &ABC[1..], &ABC.replace('b', "g"), &format!("{ABC}00")] {
            assert_eq!(KeyDigest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_digest_does_not_show() {
        assert_eq!(format!("{:?}", KeyDigest::of(b"abc")), "KeyDigest { .. }");
    }
}
