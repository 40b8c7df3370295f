//! The items of `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), which are
//! structured fields (RFC 9651).
//! It never allocates, and never takes what is quoted for syntax.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::decide::bytes::outside_quotes;

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
    outside_quotes(line, b',').map(Item::of)
}

impl Item {
    fn of(text: &str) -> Self {
        let mut item = Self::default();
        for (n, part) in outside_quotes(text, b';').map(str::trim).enumerate() {
            let mut sides = outside_quotes(part, b'=');
            if let (Some(name), Some(value)) = (sides.next(), sides.next()) {
                item.parameter(name, value);
            } else if n == 0 && !part.is_empty() {
                let mut hasher = DefaultHasher::new();
                part.trim_matches('"').hash(&mut hasher);
                item.name = Some(hasher.finish());
            }
        }
        item
    }

    fn parameter(&mut self, name: &str, value: &str) {
        let value = value.trim().trim_matches('"');
        let Ok(value) = value.parse() else { return };
        match name.trim() {
            "q" | "limit" => self.limit = Some(value),
            "r" | "remaining" => self.remaining = Some(value),
            "t" | "reset" => self.reset = Some(value),
            _ => {}
        }
    }
}
