//! What a path means to us: which family of calls it belongs to.
//! It never changes what is forwarded: upstream gets the caller's own bytes.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// A path with its ids folded to `*`, so that all calls of one kind count together.
#[derive(Debug, Clone, Copy)]
pub struct Family<'a>(&'a str);

/// Segments shown; the rest is cut, so that a line in a log stays bounded.
const MAX_SEGMENTS: usize = 16;
/// A longer segment is an id, a query in disguise, or an attack.
const MAX_SEGMENT: usize = 40;

/// The family of a path; the query is not part of it.
pub fn family(path: &str) -> Family<'_> {
    Family(path)
}

/// A call by its method and its target's bytes, for tables; stable within one process.
pub fn call(method: &http::Method, target: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (method, target).hash(&mut hasher);
    hasher.finish()
}

impl<'a> Family<'a> {
    /// Its segments, ids folded; each is preceded by a `/`.
    pub fn segments(self) -> impl Iterator<Item = &'a str> {
        let mut rest = Some(self.0.strip_prefix('/').unwrap_or(self.0));
        // `str::split` sets up a search for each segment; they are too short for that.
        let segments = std::iter::from_fn(move || {
            let text = rest?;
            let at = text.bytes().position(|byte| byte == b'/').unwrap_or(text.len());
            let (segment, tail) = text.split_at(at);
            rest = tail.get(1..);
            Some(segment)
        });
        segments.take(MAX_SEGMENTS).map(|segment| if is_id(segment) { "*" } else { segment })
    }

    /// For tables of families; stable within one process.
    pub fn key(self, method: &http::Method) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        method.hash(&mut hasher);
        for segment in self.segments() {
            segment.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl fmt::Display for Family<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// UUIDs, numbers, hashes: anything with digits that is not a version (`v2`) or a word.
fn is_id(segment: &str) -> bool {
    let (length, mut digits, mut hex) = (segment.len(), 0, true);
    if length > MAX_SEGMENT {
        return true;
    }
    for byte in segment.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' | b'-' => {}
            b'%' => return true,
            _ => hex = false,
        }
    }
    digits > 0 && (digits == length || (hex && length >= 8) || (digits >= 3 && length >= 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_folded_and_words_are_kept() {
        for (path, folded) in [
            ("/api/v2/users/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c", "/api/v2/users/*"),
            ("/api/v2/routing/queues", "/api/v2/routing/queues"),
            ("/api/v2/users/42/presence", "/api/v2/users/*/presence"),
            ("/api/v2/users/a%2Fb", "/api/v2/users/*"),
            ("/api/v2/deadbeef", "/api/v2/deadbeef"),
            ("/", "/"),
            ("//a/", "//a/"),
            ("", "/"),
        ] {
            assert_eq!(family(path).to_string(), folded);
        }
    }

    #[test]
    fn calls_of_one_kind_share_a_key_and_methods_do_not() {
        let (get, put) = (http::Method::GET, http::Method::PUT);
        assert_eq!(family("/users/1").key(&get), family("/users/2").key(&get));
        assert_ne!(family("/users/1").key(&get), family("/users/1").key(&put));
    }
}
