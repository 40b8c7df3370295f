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
/// After the number; lines that were written before there were several gateways have none.
const CHAIN: &[u8] = b"\"chain\":\"";
const CHAIN_END: &[u8] = b"\",";

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// SHA-256 of a line, or its HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; SHA256_OUTPUT_LEN]);

impl Hash {
    /// As a line has it: 64 digits, lower case.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        digits(hex).map(Self)
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(hash)
    }

    fn push(&self, out: &mut Vec<u8>) {
        push(&self.0, out);
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which chain a line is of: of several gateways each has its own, for as long as its log goes on.
///
/// The hashes alone would tell, but only to whoever has all lines back to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain([u8; 8]);

impl Chain {
    /// Of bytes that no other chain has: random ones.
    pub fn new(random: [u8; 8]) -> Self {
        Self(random)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal digits, as many as there must be.
fn digits<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let nibble = |digit: u8| DIGITS.iter().position(|known| *known == digit);
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok()?;
    }
    Some(bytes)
}

fn push(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
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
    /// What it says of its chain.
    pub chain: Option<Chain>,
}

impl Head {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: Hash([0; SHA256_OUTPUT_LEN]), chain: None };

    /// Appends the line after this one, which tells `told`: members of a JSON object.
    #[must_use = "the line after it needs it"]
    pub fn append(self, told: &[u8], seal: &Seal, out: &mut Vec<u8>) -> Self {
        let (from, seq) = (out.len(), self.seq.saturating_add(1));
        out.extend_from_slice(BEGIN);
        out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
        out.push(b',');
        if let Some(Chain(id)) = self.chain {
            out.extend_from_slice(CHAIN);
            push(&id, out);
            out.extend_from_slice(CHAIN_END);
        }
        out.extend_from_slice(told);
        out.extend_from_slice(PREV);
        self.hash.push(out);
        out.push(b'"');
        let hash = seal.hash(out.get(from..).unwrap_or_default());
        out.extend_from_slice(HASH.get(1..).unwrap_or_default());
        hash.push(out);
        out.extend_from_slice(END);
        out.push(b'\n');
        Self { seq, hash, ..self }
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
    /// Which chain it is of, if it says so.
    pub chain: Option<Chain>,
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
        let (chain, told) = own_chain(told.strip_suffix(PREV)?);
        let after = HASH.len() - 1 + 2 * SHA256_OUTPUT_LEN + END.len();
        let hashed = bytes.get(..bytes.len().checked_sub(after)?)?;
        Some(Self { seq, prev, hash, chain, told, hashed })
    }

    /// Its hash is what its bytes and this seal make.
    pub fn whole(&self, seal: &Seal) -> bool {
        seal.hash(self.hashed) == self.hash
    }

    /// As the end of a chain.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash, chain: self.chain }
    }
}

fn own_chain(told: &[u8]) -> (Option<Chain>, &[u8]) {
    let read = || {
        let (hex, rest) = told.strip_prefix(CHAIN)?.split_at_checked(2 * 8)?;
        Some((Chain(digits(hex)?), rest.strip_prefix(CHAIN_END)?))
    };
    read().map_or((None, told), |(chain, rest)| (Some(chain), rest))
}

fn last_hash(bytes: &[u8]) -> Option<(&[u8], Hash)> {
    let (rest, hex) = bytes.split_at_checked(bytes.len().checked_sub(2 * SHA256_OUTPUT_LEN)?)?;
    Some((rest, Hash::parse(hex)?))
}

#[cfg(test)]
mod tests;
