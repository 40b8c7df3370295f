//! What must not cross the gateway, either way.
//! It never adds: whoever injects does so afterwards, so that stripping cannot erase it.

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

/// Takes out of a request what is between the caller and us, or what only we may say:
/// hop-by-hop fields (RFC 9110 section 7.6.1), every name that any `Connection` line lists,
/// credentials, cookies, and everything that claims to know where the request came from.
pub fn strip_request(headers: &mut HeaderMap) {
    drop_named_by_connection(headers);
    drop_where(headers, stays_with_caller);
}

/// Takes hop-by-hop fields out of an answer.
pub fn strip_response(headers: &mut HeaderMap) {
    drop_named_by_connection(headers);
    drop_where(headers, |name| {
        matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authentication-info"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
        )
    });
}

/// Takes out of trailers what must not be said in a trailer (RFC 9110 section 6.5.1): framing,
/// routing, credentials, and all that a request's head may not carry either.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    drop_where(trailers, |name| {
        stays_with_caller(name)
            || matches!(
                name,
                "content-length"
                    | "content-encoding"
                    | "content-type"
                    | "content-range"
                    | "trailer"
                    | "set-cookie"
            )
    });
}

/// How an answer's framing reads, before anything was stripped from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// One way to read it.
    Plain,
    /// Both lengths: the chunks count (RFC 9112 section 6.3), the connection is not used again.
    BothLengths,
    /// A transfer coding that we cannot undo: its bytes would arrive without their label.
    UnknownCoding,
}

/// Looks at an HTTP/1 answer's framing.
pub fn answer_framing(headers: &HeaderMap) -> AnswerFraming {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return AnswerFraming::Plain };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
    {
        AnswerFraming::UnknownCoding
    } else if headers.contains_key(CONTENT_LENGTH) {
        AnswerFraming::BothLengths
    } else {
        AnswerFraming::Plain
    }
}

/// Every name on every `Connection` line. A line that is not text names nothing we know.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        // Nearly always it says this, which is stripped anyway: no name is made of it.
        .filter(|name| !["keep-alive", "close"].iter().any(|it| name.eq_ignore_ascii_case(it)))
        .filter_map(|name| name.parse().ok())
        // Framing is ours: a caller who lists it must not unframe its own body (T11).
        .filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != HOST)
        .collect();
    for name in named {
        drop_all(headers, &name);
    }
}

/// The map cannot be changed while it is gone through, so names are collected first: a few at a
/// time, without an allocation.
fn drop_where(headers: &mut HeaderMap, crosses_not: impl Fn(&str) -> bool) {
    loop {
        let mut unwanted = [const { None }; 4];
        let names = headers.keys().filter(|name| crosses_not(name.as_str()));
        for (place, name) in unwanted.iter_mut().zip(names) {
            *place = Some(name.clone());
        }
        let full = unwanted.last().is_some_and(Option::is_some);
        for name in unwanted.into_iter().flatten() {
            drop_all(headers, &name);
        }
        if !full {
            return;
        }
    }
}

/// All values of a name; none of them is read.
#[expect(clippy::disallowed_methods, reason = "the values are thrown away, all of them")]
pub fn drop_all(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
}

/// Header names are lower case here. Servers that turn `_` into `-` would take an underscore twin
/// for the real thing, so a twin is judged as what it imitates.
fn stays_with_caller(name: &str) -> bool {
    if !name.contains('_') {
        return is_ours(name);
    }
    let twin = name.replace('_', "-");
    is_ours(&twin) || twin == CONTENT_LENGTH.as_str()
}

fn is_ours(name: &str) -> bool {
    // The first letter keeps the common names out of a long chain of comparisons.
    match name.as_bytes().first() {
        Some(b'a') => name == "authorization",
        Some(b'c') => {
            matches!(name, "connection" | "cookie" | "cookie2" | "client-ip" | "cf-connecting-ip")
        }
        Some(b'e') => name == "expect",
        Some(b'f') => name == "forwarded",
        Some(b'h') => matches!(name, "host" | "http2-settings"),
        Some(b'k') => name == "keep-alive",
        Some(b'p') => name.starts_with("proxy-"),
        Some(b't') => matches!(name, "te" | "transfer-encoding" | "true-client-ip"),
        Some(b'u') => name == "upgrade",
        Some(b'x') => {
            name.starts_with("x-forwarded")
                || matches!(
                    name,
                    "x-client-ip"
                        | "x-cluster-client-ip"
                        | "x-host"
                        | "x-http-method-override"
                        | "x-original-host"
                        | "x-original-url"
                        | "x-real-ip"
                        | "x-rewrite-url"
                )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn names_on_a_second_connection_line_are_stripped_too() {
        let mut headers = map(&[
            ("connection", "close, x-one"),
            ("connection", "X-Two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ]);
        strip_request(&mut headers);
        assert_eq!(left(&headers), ["x-three"]);
    }

    #[test]
    fn a_connection_line_cannot_unframe_the_body() {
        let mut headers = map(&[
            ("connection", "content-length, host, authorization"),
            ("content-length", "3"),
            ("authorization", "Bearer mine"),
        ]);
        strip_request(&mut headers);
        assert_eq!(left(&headers), ["content-length"]);
    }

    #[test]
    fn what_only_we_may_say_is_stripped_with_its_underscore_twin() {
        let mut headers = map(&[
            ("authorization", "a"),
            ("cookie", "a"),
            ("proxy-authorization", "a"),
            ("forwarded", "a"),
            ("x-forwarded-for", "a"),
            ("x_forwarded_for", "a"),
            ("x-forwarded_host", "a"),
            ("content_length", "9"),
            ("x-real-ip", "a"),
            ("http2-settings", "a"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("host", "evil"),
            ("x_custom", "stays"),
            ("accept", "stays"),
        ]);
        strip_request(&mut headers);
        assert_eq!(left(&headers), ["accept", "x_custom"]);
    }

    #[test]
    fn both_lengths_and_unknown_codings_are_told_apart() {
        for (lines, framing) in [
            (&[("content-length", "3")][..], AnswerFraming::Plain),
            (&[("transfer-encoding", "Chunked")], AnswerFraming::Plain),
            (
                &[("transfer-encoding", "chunked"), ("content-length", "3")],
                AnswerFraming::BothLengths,
            ),
            (&[("transfer-encoding", "gzip, chunked")], AnswerFraming::UnknownCoding),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                AnswerFraming::UnknownCoding,
            ),
        ] {
            assert_eq!(answer_framing(&map(lines)), framing, "{lines:?}");
        }
    }

    #[test]
    fn trailers_keep_checksums_and_lose_credentials_and_framing() {
        let mut trailers = map(&[
            ("x-checksum", "1"),
            ("authorization", "a"),
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("host", "evil"),
        ]);
        strip_trailers(&mut trailers);
        assert_eq!(left(&trailers), ["x-checksum"]);
    }

    proptest! {
        #[test]
        fn nothing_that_a_connection_line_names_survives(
            names in prop::collection::vec("[a-z][a-z0-9-]{0,12}", 1..8),
            lines in 1usize..4,
        ) {
            let mut headers = HeaderMap::new();
            for (i, name) in names.iter().enumerate() {
                let name: HeaderName = name.parse().unwrap();
                headers.append(&name, HeaderValue::from(i));
                headers.append(&name, HeaderValue::from(i + 1));
            }
            for part in names.chunks(names.len().div_ceil(lines)) {
                headers.append(CONNECTION, HeaderValue::from_str(&part.join(" ,\t")).unwrap());
            }
            strip_request(&mut headers);
            for name in &names {
                let framing = matches!(name.as_str(), "content-length");
                prop_assert!(framing || !headers.contains_key(name.as_str()));
            }
        }
    }
}
