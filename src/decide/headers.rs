//! What must not cross the gateway, either way.
//! It never adds: whoever injects does so afterwards, so that stripping cannot erase it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, GetAll, HOST, TRANSFER_ENCODING},
};

/// What of a request's fields may cross, with room for `ours`. What stays is what is between the
/// caller and us, and what only we may say: hop-by-hop fields (RFC 9110 section 7.6.1), every name
/// that any `Connection` line lists, credentials, cookies, and everything that claims to know
/// where the request came from.
pub fn crossing(fields: &HeaderMap, ours: usize) -> HeaderMap {
    let mut crossing = HeaderMap::with_capacity(fields.len() + ours);
    let mut listed = false;
    for (name, value) in fields {
        if stays_with_caller(name.as_str()) {
            listed |= *name == CONNECTION && !is_common(value);
        } else {
            crossing.append(name.clone(), value.clone());
        }
    }
    if listed {
        drop_listed(&fields.get_all(CONNECTION), &mut crossing);
    }
    crossing
}

/// What an answer's fields say to us.
#[derive(Debug, Default)]
pub struct Told {
    /// How its body reads.
    pub framing: AnswerFraming,
    /// `Retry-After`.
    pub retry_after: Option<HeaderValue>,
    /// Genesys Cloud's name for the request.
    pub correlation_id: Option<HeaderValue>,
}

/// How an answer's framing reads, before anything was stripped from it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// One way to read it.
    #[default]
    Plain,
    /// Both lengths: the chunks count (RFC 9112 section 6.3), the connection is not used again.
    BothLengths,
    /// A transfer coding that we cannot undo: its bytes would arrive without their label.
    UnknownCoding,
}

/// Takes hop-by-hop fields out of an answer. Tells what they said, and what others say to us, from
/// the same pass.
pub fn strip_response(fields: &mut HeaderMap) -> Told {
    let mut told = Told::default();
    let (mut codings, mut chunked, mut length) = (0, false, false);
    let (mut hops, mut more) = ([const { None }; 4], false);
    let mut listed = false;
    for (name, value) in &*fields {
        match name.as_str() {
            "content-length" => length = true,
            "retry-after" => told.retry_after = told.retry_after.or_else(|| Some(value.clone())),
            "inin-correlation-id" => told.correlation_id = Some(value.clone()),
            "genesys-correlation-id" => {
                told.correlation_id = told.correlation_id.or_else(|| Some(value.clone()));
            }
            hop if is_hop_by_hop(hop) => {
                if hop == "transfer-encoding" {
                    codings += 1;
                    chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
                }
                listed |= hop == "connection" && !is_common(value);
                match hops.iter_mut().find(|place| place.is_none()) {
                    Some(place) => *place = Some(name.clone()),
                    None => more = true,
                }
            }
            _ => {}
        }
    }
    told.framing = match codings {
        0 => AnswerFraming::Plain,
        1 if chunked && length => AnswerFraming::BothLengths,
        1 if chunked => AnswerFraming::Plain,
        _ => AnswerFraming::UnknownCoding,
    };
    if listed {
        let lines = fields.clone();
        drop_listed(&lines.get_all(CONNECTION), fields);
    }
    for name in hops.iter().flatten() {
        drop_all(fields, name);
    }
    if more {
        drop_where(fields, is_hop_by_hop);
    }
    told
}

fn is_hop_by_hop(name: &str) -> bool {
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
}

/// A `Connection` line that lists nothing but itself.
fn is_common(line: &HeaderValue) -> bool {
    [b"keep-alive".as_slice(), b"close"].iter().any(|it| line.as_bytes().eq_ignore_ascii_case(it))
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

/// Every name on every `Connection` line. A line that is not text names nothing we know.
fn drop_listed(lines: &GetAll<'_, HeaderValue>, fields: &mut HeaderMap) {
    lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Framing is ours: a caller who lists it must not unframe its own body (T11).
        .filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != HOST)
        .for_each(|name| drop_all(fields, &name));
}

fn drop_where(fields: &mut HeaderMap, crosses_not: impl Fn(&str) -> bool) {
    let unwanted: Vec<HeaderName> =
        fields.keys().filter(|name| crosses_not(name.as_str())).cloned().collect();
    for name in unwanted {
        drop_all(fields, &name);
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
    if !name.bytes().any(|byte| byte == b'_') {
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
        let headers = map(&[
            ("connection", "close, x-one"),
            ("connection", "X-Two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ]);
        let headers = crossing(&headers, 0);
        assert_eq!(left(&headers), ["x-three"]);
    }

    #[test]
    fn a_connection_line_cannot_unframe_the_body() {
        let headers = map(&[
            ("connection", "content-length, host, authorization"),
            ("content-length", "3"),
            ("authorization", "Bearer mine"),
        ]);
        let headers = crossing(&headers, 0);
        assert_eq!(left(&headers), ["content-length"]);
    }

    #[test]
    fn what_only_we_may_say_is_stripped_with_its_underscore_twin() {
        let headers = map(&[
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
        let headers = crossing(&headers, 0);
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
            assert_eq!(strip_response(&mut map(lines)).framing, framing, "{lines:?}");
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
            let headers = crossing(&headers, 0);
            for name in &names {
                let framing = matches!(name.as_str(), "content-length");
                prop_assert!(framing || !headers.contains_key(name.as_str()));
            }
        }
    }
}
