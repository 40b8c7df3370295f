//! Who may act: whoever shows the key.
//! It never lets anybody act where no key is configured, and never tells how far a guess is right.

use http::{HeaderMap, HeaderValue, header};

use crate::config::KeyDigest;

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no key that could be right.
    NoneConfigured,
    /// None was shown, or a wrong one.
    Unknown,
}

/// Whether these fields show the key.
///
/// # Errors
/// When they do not, or there is none.
pub(super) fn authorize(key: Option<&KeyDigest>, fields: &HeaderMap) -> Result<(), Refusal> {
    let key = key.ok_or(Refusal::NoneConfigured)?;
    let shown = shown(fields).ok_or(Refusal::Unknown)?;
    if *key == KeyDigest::of(shown) { Ok(()) } else { Err(Refusal::Unknown) }
}

/// In `X-Api-Key` or as a Bearer token. Of two it is not known which is meant.
fn shown(fields: &HeaderMap) -> Option<&[u8]> {
    let keys = fields.get_all("x-api-key").iter().map(HeaderValue::as_bytes);
    let tokens = fields.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    let mut all = keys.chain(tokens);
    all.next().filter(|_| all.next().is_none())
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let key = KeyDigest::of(b"the-key-of-the-operator");
        let field = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())
        };
        authorize(Some(&key), &fields.iter().map(field).collect())
    }

    #[test]
    fn the_key_is_shown_in_one_of_two_ways_and_once() {
        let key = "the-key-of-the-operator";
        let (bearer, basic) = (format!("bEarer  {key}"), format!("Basic {key}"));
        assert_eq!(asked(&[("x-api-key", key)]), Ok(()));
        assert_eq!(asked(&[("authorization", &bearer)]), Ok(()));
        for wrong in [
            &[][..],
            &[("x-api-key", "the-key-of-nobody-at-all")],
            &[("x-api-key", "")],
            &[("authorization", key)],
            &[("authorization", &basic)],
            &[("x-api-key", key), ("authorization", &bearer)],
            &[("x-api-key", key), ("x-api-key", key)],
        ] {
            let fields: Vec<_> = wrong.to_vec();
            // `collect` keeps both of two equal names.
            assert_eq!(asked(&fields), Err(Refusal::Unknown), "{fields:?}");
        }
    }

    #[test]
    fn where_no_key_is_configured_none_is_right() {
        let fields = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-api-key"),
            HeaderValue::from_static(""),
        )]);
        assert_eq!(authorize(None, &fields), Err(Refusal::NoneConfigured));
    }
}
