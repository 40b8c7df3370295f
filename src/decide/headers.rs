//! What must not cross the gateway, either way.
//! It never adds: whoever injects does so afterwards, so that stripping cannot erase it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

use super::quota::{Heard, is_of_quota, speaks_of_quota};

/// A caller's own key, when callers have keys.
const API_KEY: &str = "x-api-key";
/// What a server says to browsers.
const TO_BROWSERS: &str = "access-control-";

/// What of a request's fields may cross. What stays is what is between the caller and us, and what
/// only we may say: hop-by-hop fields (RFC 9110 section 7.6.1), every name that any `Connection`
/// line lists, credentials, cookies, and everything that claims to know where the request came
/// from.
pub fn crossing(fields: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let lines = fields.get_all(CONNECTION);
    let listed =
        if lines.iter().all(is_common) { Vec::new() } else { listed(lines.iter()).collect() };
    fields
        .iter()
        .filter(move |(name, _)| !stays_with_caller(name.as_str()) && !listed.contains(name))
}

/// Takes the key out by which a caller names itself to us, in any spelling that a server may read.
pub fn withhold_key(fields: &mut HeaderMap) {
    withhold(fields, API_KEY);
}

/// Takes out what is said to us, in any spelling that a server may read. `wanted` is in lower case.
pub fn withhold(fields: &mut HeaderMap, wanted: &str) {
    drop_where(fields, |name| is_spelled(name, wanted));
}

/// Takes out what upstream says of quotas, in any of the ways that are known.
pub fn drop_quotas(fields: &mut HeaderMap) {
    drop_where(fields, is_of_quota);
}

fn is_key(name: &str) -> bool {
    is_spelled(name, API_KEY)
}

fn is_spelled(name: &str, wanted: &str) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.bytes().map(dashed).eq(wanted.bytes().map(dashed))
}

/// What an answer's fields say to us.
#[derive(Debug, Default)]
pub struct Told {
    /// `Retry-After`.
    pub retry_after: Option<HeaderValue>,
    /// Genesys Cloud's name for the request.
    pub correlation_id: Option<HeaderValue>,
    /// What is left of a quota. Boxed: Genesys Cloud does not say.
    pub quota: Option<Box<Heard>>,
}

impl Told {
    /// Takes note of one field. `false` if it must not cross: it is hop-by-hop, or tells browsers
    /// which pages may read.
    pub(super) fn hear(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        match name.as_str() {
            "retry-after" => {
                self.retry_after.get_or_insert_with(|| value.clone());
            }
            "inin-correlation-id" => self.correlation_id = Some(value.clone()),
            "genesys-correlation-id" => {
                self.correlation_id.get_or_insert_with(|| value.clone());
            }
            name if speaks_of_quota(name) => self.quota.get_or_insert_default().hear(name, value),
            // Which pages may read is for the gateway to say: upstream does not know who calls.
            name => return !is_hop_by_hop(name) && !name.starts_with(TO_BROWSERS),
        }
        true
    }
}

/// Takes out of an answer what must not cross, and tells what others say to us.
pub fn strip_response(fields: &mut HeaderMap) -> Told {
    let mut told = Told::default();
    let mut hops = Vec::new();
    let mut lines = Vec::new();
    for (name, value) in &*fields {
        if !told.hear(name, value) {
            hops.push(name.clone());
            if *name == CONNECTION && !is_common(value) {
                lines.push(value.clone());
            }
        }
    }
    drop_listed(&lines, fields);
    for name in hops {
        drop_all(fields, &name);
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
pub(super) fn is_common(line: &HeaderValue) -> bool {
    [b"keep-alive".as_slice(), b"close"].iter().any(|it| line.as_bytes().eq_ignore_ascii_case(it))
}

/// Takes out of trailers what must not be said in a trailer (RFC 9110 section 6.5.1): framing,
/// routing, credentials, and all that a request's head may not carry either.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    drop_where(trailers, |name| {
        stays_with_caller(name)
            || is_key(name)
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

/// Takes out every name on these `Connection` lines.
pub(super) fn drop_listed(lines: &[HeaderValue], fields: &mut HeaderMap) {
    for name in listed(lines.iter()) {
        drop_all(fields, &name);
    }
}

/// Every name on every `Connection` line. A line that is not text names nothing we know.
fn listed<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = HeaderName> {
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Framing is ours: a caller who lists it must not unframe its own body (T11).
        .filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != HOST)
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
pub fn stays_with_caller(name: &str) -> bool {
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
                        | "x-http-method"
                        | "x-http-method-override"
                        | "x-method-override"
                        | "x-original-host"
                        | "x-original-method"
                        | "x-original-uri"
                        | "x-original-url"
                        | "x-override-url"
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

    fn crossed(headers: &HeaderMap) -> HeaderMap {
        crossing(headers).map(|(name, value)| (name.clone(), value.clone())).collect()
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
        let headers = crossed(&headers);
        assert_eq!(left(&headers), ["x-three"]);
    }

    #[test]
    fn a_connection_line_cannot_unframe_the_body() {
        let headers = map(&[
            ("connection", "content-length, host, authorization"),
            ("content-length", "3"),
            ("authorization", "Bearer mine"),
        ]);
        let headers = crossed(&headers);
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
            ("keep-alive", "timeout=5"),
            ("cookie2", "a"),
            ("client-ip", "a"),
            ("cf-connecting-ip", "a"),
            ("true-client-ip", "a"),
            ("x-client-ip", "a"),
            ("x-cluster-client-ip", "a"),
            ("x-host", "a"),
            ("x-original-host", "a"),
            ("x-original-method", "a"),
            ("x-original-uri", "a"),
            ("x-original-url", "a"),
            ("x-override-url", "a"),
            ("x-rewrite-url", "a"),
            ("x-http-method", "DELETE"),
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "DELETE"),
            ("x_custom", "stays"),
            ("accept", "stays"),
        ]);
        let headers = crossed(&headers);
        assert_eq!(left(&headers), ["accept", "x_custom"]);
    }

    #[test]
    fn a_callers_key_is_withheld_with_its_underscore_twins() {
        let mut headers = map(&[
            ("x-api-key", "a"),
            ("X-API-KEY", "b"),
            ("x_api_key", "c"),
            ("x-api_key", "d"),
            ("x-api-keys", "stays"),
            ("api-key", "stays"),
        ]);
        withhold_key(&mut headers);
        assert_eq!(left(&headers), ["api-key", "x-api-keys"]);
    }

    #[test]
    fn all_that_speaks_of_a_quota_goes_and_nothing_else() {
        let mut fields = map(&[
            ("ratelimit", "\"a\";r=1"),
            ("ratelimit-policy", "\"a\";q=1"),
            ("ratelimit-remaining", "1"),
            ("x-ratelimit-limit", "1"),
            ("x-ratelimit-limit", "2"),
            ("x-ratelimit-used", "1"),
            ("inin-ratelimit-count", "1"),
            ("x-ratelimiter", "stays"),
            ("x-my-ratelimit", "stays"),
            ("retry-after", "1"),
        ]);
        drop_quotas(&mut fields);
        assert_eq!(left(&fields), ["retry-after", "x-my-ratelimit", "x-ratelimiter"]);
    }

    #[test]
    fn an_answer_loses_its_hops_and_what_they_list() {
        let mut fields = map(&[
            ("connection", "x-hop, close"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
            ("retry-after", "7"),
            ("genesys-correlation-id", "a"),
            ("inin-correlation-id", "b"),
            ("content-length", "3"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
        ]);
        let told = strip_response(&mut fields);
        assert_eq!(told.retry_after.unwrap(), "7");
        assert_eq!(told.correlation_id.unwrap(), "b");
        let stay =
            ["content-length", "genesys-correlation-id", "inin-correlation-id", "retry-after"];
        assert_eq!(left(&fields), stay);
    }

    #[test]
    fn trailers_keep_checksums_and_lose_credentials_and_framing() {
        let mut trailers = map(&[
            ("x-checksum", "1"),
            ("authorization", "a"),
            ("x-api-key", "a"),
            ("x_api-key", "a"),
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
            let headers = crossed(&headers);
            for name in &names {
                let framing = matches!(name.as_str(), "content-length");
                prop_assert!(framing || !headers.contains_key(name.as_str()));
            }
        }
    }
}
