//! The chain of the audit log: which bytes the next line has, and whether a line is one of a chain.
//! It never touches a file, and never judges what a line tells, only that nobody has changed it.
//!
//! A line's hash is over all its bytes before the hash, and among those is the hash of the line
//! before: a line cannot be changed, taken out, moved or put in without the next one telling.

pub mod check;
pub mod strangers;

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, SHA256_OUTPUT_LEN, digest},
    hmac,
};

/// No line is longer, its newline included: what is longer is none of ours.
pub const LONGEST: usize = 8 * 1024;

/// Between what a line tells and its end.
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const END: &[u8] = b"\"}";
const BEGIN: &[u8] = b"{\"seq\":";

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// SHA-256 of a line, or its HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; SHA256_OUTPUT_LEN]);

impl Hash {
    /// As a line has it: 64 digits, lower case.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let nibble = |digit: u8| DIGITS.iter().position(|known| *known == digit);
        let (pairs, []) = hex.as_chunks::<2>() else { return None };
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok()?;
        }
        Some(Self(bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(hash)
    }

    fn push(&self, out: &mut Vec<u8>) {
        for byte in self.0 {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What makes a line's hash.
#[derive(Debug, Clone)]
pub enum Seal {
    /// Anybody can make one: it shows accidents, and changes by who cannot write all the rest anew.
    Plain,
    /// Only who has the key can.
    Keyed(Box<hmac::Key>),
}

impl Seal {
    /// With a key of any length.
    pub fn keyed(key: &[u8]) -> Self {
        Self::Keyed(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// What the log calls it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Plain => "sha256",
            Self::Keyed(_) => "hmac-sha256",
        }
    }

    fn hash(&self, bytes: &[u8]) -> Hash {
        match self {
            Self::Plain => Hash::of(digest(&SHA256, bytes).as_ref()),
            Self::Keyed(key) => Hash::of(hmac::sign(key, bytes).as_ref()),
        }
    }
}

/// The newest line of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: Hash([0; SHA256_OUTPUT_LEN]) };

    /// Appends the line after this one, which tells `told`: members of a JSON object.
    #[must_use = "the line after it needs it"]
    pub fn append(self, told: &[u8], seal: &Seal, out: &mut Vec<u8>) -> Self {
        let (from, seq) = (out.len(), self.seq.saturating_add(1));
        out.extend_from_slice(BEGIN);
        out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
        out.push(b',');
        out.extend_from_slice(told);
        out.extend_from_slice(PREV);
        self.hash.push(out);
        out.push(b'"');
        let hash = seal.hash(out.get(from..).unwrap_or_default());
        out.extend_from_slice(HASH.get(1..).unwrap_or_default());
        hash.push(out);
        out.extend_from_slice(END);
        out.push(b'\n');
        Self { seq, hash }
    }
}

/// A line of a chain, as it stands there.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// What it says of the line before.
    pub prev: Hash,
    /// Its own.
    pub hash: Hash,
    /// What it tells.
    pub told: &'a [u8],
    hashed: &'a [u8],
}

impl<'a> Line<'a> {
    /// Of bytes without their newline; `None` when they have not the form of a line.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() >= LONGEST {
            return None;
        }
        let rest = bytes.strip_prefix(BEGIN)?;
        let comma = rest.iter().position(|byte| *byte == b',')?;
        let (digits, rest) = rest.split_at_checked(comma)?;
        let rest = rest.strip_prefix(b",")?;
        let digits = std::str::from_utf8(digits).ok()?;
        let seq = digits.parse().ok().filter(|seq: &u64| *seq > 0 && seq.to_string() == digits)?;
        let (rest, hash) = last_hash(rest.strip_suffix(END)?)?;
        let (told, prev) = last_hash(rest.strip_suffix(HASH)?)?;
        let told = told.strip_suffix(PREV)?;
        let after = HASH.len() - 1 + 2 * SHA256_OUTPUT_LEN + END.len();
        let hashed = bytes.get(..bytes.len().checked_sub(after)?)?;
        Some(Self { seq, prev, hash, told, hashed })
    }

    /// Its hash is what its bytes and this seal make.
    pub fn whole(&self, seal: &Seal) -> bool {
        seal.hash(self.hashed) == self.hash
    }

    /// As the end of a chain.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

fn last_hash(bytes: &[u8]) -> Option<(&[u8], Hash)> {
    let (rest, hex) = bytes.split_at_checked(bytes.len().checked_sub(2 * SHA256_OUTPUT_LEN)?)?;
    Some((rest, Hash::parse(hex)?))
}

#[cfg(test)]
mod tests;
