//! A secret that stands in fields: found, and the value that holds it replaced.
//! It never says which part of a value it was.

use http::{HeaderMap, HeaderValue};
use memchr::memmem;

/// What stands where a secret was.
pub const REDACTED: HeaderValue = HeaderValue::from_static("[redacted]");

/// A value that holds the secret. One that is shorter, as nearly all are, costs a comparison.
pub fn holds(value: &[u8], secret: &[u8]) -> bool {
    !secret.is_empty() && value.len() >= secret.len() && memmem::find(value, secret).is_some()
}

/// Replaces every value that holds the secret, whole: what is left of it might still tell. Whether
/// there was one.
pub fn redact(fields: &mut HeaderMap, secret: &[u8]) -> bool {
    let mut found = false;
    for value in fields.values_mut().filter(|value| holds(value.as_bytes(), secret)) {
        *value = REDACTED;
        found = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_holds_the_secret_is_replaced_wherever_it_stands() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("x-echo", "Bearer s3cret-1"),
            ("x-echo", "none"),
            ("x-echo", "a=s3cret-1; b"),
            ("x-other", "s3cret-"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        assert!(redact(&mut fields, b"s3cret-1"));
        let echoes: Vec<_> = fields.get_all("x-echo").iter().collect();
        assert_eq!(echoes, ["[redacted]", "none", "[redacted]"]);
        assert_eq!(fields["x-other"], "s3cret-");
        assert!(!redact(&mut fields, b"s3cret-1") && !redact(&mut fields, b""));
    }
}
