//! What a path means to us: which family of calls it belongs to.
//! It never changes what is forwarded: upstream gets the caller's own bytes.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use super::access;

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

    /// For tables of families; stable within one process. One path has one key, however it is
    /// spelled: what was learned of it holds for all of its spellings.
    pub fn key(self, method: &http::Method) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        method.hash(&mut hasher);
        let plain;
        let family =
            if access::is_plain(self.0) && !self.0.bytes().any(|byte| byte.is_ascii_uppercase()) {
                self
            } else {
                plain = normal(self.0);
                Family(&plain)
            };
        for segment in family.segments().filter(|segment| !segment.is_empty()) {
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

/// As RFC 3986 section 6.2.2 has it, which any server may: dot segments resolved, and decoded what
/// need not have been encoded. Other encodings stay, as they are part of a name. Case and doubled
/// slashes do not matter to access rules either.
fn normal(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    for (n, part) in path.split('%').enumerate() {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let plain = byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        match (n, plain) {
            (0, _) => decoded.push_str(part),
            (_, Some(plain)) => {
                decoded.push(plain.into());
                decoded.push_str(part.get(2..).unwrap_or_default());
            }
            (_, None) => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded.make_ascii_lowercase();
    let mut names: Vec<&str> = Vec::new();
    for name in decoded.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
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
            // Encoded, or with parameters.
            b'%' | b';' | b'\\' => return true,
            _ => hex = false,
        }
    }
    digits > 0 && (digits == length || (hex && length >= 8) || (digits >= 3 && length >= 12))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_folded_and_words_are_kept() {
        for (path, folded) in [
            ("/api/v2/users/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c", "/api/v2/users/*"),
            ("/api/v2/routing/queues", "/api/v2/routing/queues"),
            ("/api/v2/users/42/presence", "/api/v2/users/*/presence"),
            ("/api/v2/users/a%2Fb", "/api/v2/users/*"),
            ("/api/v2/users;a=b/c\\d", "/api/v2/*/*"),
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

    #[test]
    fn however_a_path_is_spelled_its_family_is_one() {
        let key = |path: &str| family(path).key(&http::Method::GET);
        for odd in [
            "/api/v2/users/42/",
            "//api/v2///users/42",
            "/api/./v2/users/42/.",
            "/api/v2/x/../users/42",
            "/../api/v2/users/42/y/..",
            "/api/v2/%75sers/42",
            "/api/v2/%75%73%65%72%73/%34%32",
            "/api/%76%32/users/4%32",
            "/api/x/%2E%2e/v2/%2e/users/42",
            "/API/v2/Users/42",
            "/api/v2/users/a%40b.example",
            "/api/v2/users/42;v=1",
        ] {
            assert_eq!(key(odd), key("/api/v2/users/7"), "{odd}");
        }
        for other in ["/api/v2/users", "/api/v2/groups/7", "/api/v2/%67roups/7", "/users/7", "/%"] {
            assert_ne!(key(other), key("/api/v2/users/7"), "{other}");
        }
    }

    proptest! {
        /// Upstream could refuse each spelling: so many families are never made of one path.
        #[test]
        fn spellings_of_one_path_make_two_families_a_segment_at_most(
            odd in prop::collection::vec(
                (0usize..4, prop::sample::select(&["", ";a", ";b=c", "%20", "%00", "\\x"][..])), 3),
            slashes in prop::collection::vec(prop::sample::select(&["/", "//", "/./", "/x/../"][..]), 3),
        ) {
            let mut path = String::new();
            let names = ["api", "v2", "users"];
            for ((name, slash), (case, end)) in names.into_iter().zip(slashes).zip(odd) {
                path.push_str(slash);
                match case {
                    0 => path.push_str(name),
                    1 => path.push_str(&name.to_uppercase()),
                    2 => path.extend(name.bytes().map(|byte| format!("%{byte:02x}"))),
                    _ => path.extend(name.bytes().map(|byte| format!("%25{byte:02x}"))),
                }
                path.push_str(end);
            }
            let keys = (0..8).map(|folded| {
                let fold = |n: usize| if folded >> n & 1 == 1 { "7" } else { names[n] };
                family(&format!("/{}/{}/{}", fold(0), fold(1), fold(2))).key(&http::Method::GET)
            });
            let key = family(&path).key(&http::Method::GET);
            prop_assert!(keys.into_iter().any(|known| known == key), "{path}");
        }

        #[test]
        fn no_path_panics(path in "\\PC{0,60}") {
            family(&path).key(&http::Method::GET);
        }
    }
}
