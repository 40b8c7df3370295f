//! The items of `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), which are
//! structured fields (RFC 9651).
//! It never allocates, and never takes what is quoted for syntax.

use std::hash::{DefaultHasher, Hash, Hasher};

/// One quota: `"name";r=0;t=30`, or its policy: `"name";q=100;w=60`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// A name, for comparing; `None` in drafts before -08, which wrote `limit=100, remaining=50`.
    pub(super) name: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    pub(super) reset: Option<u64>,
}

/// All items of a line.
pub(super) fn items(line: &str) -> impl Iterator<Item = Item> {
    split(line, b',').map(Item::of)
}

impl Item {
    fn of(text: &str) -> Self {
        let mut item = Self::default();
        for (n, part) in split(text, b';').map(str::trim).enumerate() {
            if let Some(at) = unquoted(part, b'=') {
                item.parameter(part.split_at(at));
            } else if n == 0 && !part.is_empty() {
                let mut hasher = DefaultHasher::new();
                part.trim_matches('"').hash(&mut hasher);
                item.name = Some(hasher.finish());
            }
        }
        item
    }

    fn parameter(&mut self, (name, value): (&str, &str)) {
        let value = value.trim_start_matches('=').trim().trim_matches('"');
        let Ok(value) = value.parse() else { return };
        match name.trim() {
            "q" | "limit" => self.limit = Some(value),
            "r" | "remaining" => self.remaining = Some(value),
            "t" | "reset" => self.reset = Some(value),
            _ => {}
        }
    }
}

/// The parts between these bytes.
fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = unquoted(text, at);
        rest = end.and_then(|end| text.get(end + 1..));
        end.map_or(Some(text), |end| text.get(..end))
    })
}

/// Where this byte comes first outside of a string (RFC 9651 section 3.3.3).
fn unquoted(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == wanted && !quoted,
        }
        false
    })
}
