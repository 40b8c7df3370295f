//! What the fields of a request ask of the gateway itself, found in one pass.
//! It never decides: who refuses and who obeys is up to the steps that read it.
//!
//! A lookup in a `HeaderMap` hashes the name. A request is asked a dozen questions and has five
//! fields, so the fields are gone through once instead.

use http::{HeaderMap, HeaderValue};

use super::{bytes::outside_quotes, trace::Context, urgency::Urgency};

/// A field that must appear once at most.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Lines {
    /// It is absent.
    #[default]
    None,
    /// It appears once.
    One(HeaderValue),
    /// It appears more than once, which is its own answer.
    Many,
}

impl Lines {
    fn add(&mut self, value: &HeaderValue) {
        *self = match self {
            Self::None => Self::One(value.clone()),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

/// What a request says to us.
#[derive(Debug, Default)]
pub struct Asked {
    /// `Host`.
    pub host: Lines,
    /// `Content-Length`.
    pub length: Lines,
    /// `X-Api-Key`: who calls, where callers have keys.
    pub api_key: Lines,
    /// `Authorization`: who calls, for the gateway alone to read.
    pub authorization: Lines,
    /// What a browser says of whoever makes it ask.
    pub browser: Browser,
    /// `Prefer: wait=N` (RFC 7240 section 4.3), in seconds.
    pub wait: Option<u64>,
    /// `Priority` (RFC 9218): how soon, among the caller's own calls.
    pub urgency: Urgency,
    /// `X-Request-Id`, if it is a plain word.
    pub request_id: Option<HeaderValue>,
    /// What a valid `traceparent` says (W3C Trace Context), unless it is for us alone.
    pub trace: Option<Context>,
    /// It can take trailers (`TE: trailers`).
    pub trailers: bool,
    upgrade: Upgrade,
}

/// What a browser says, and cannot be made to leave out or to say otherwise.
#[derive(Debug, Default)]
pub struct Browser {
    /// `Origin`: which page asks.
    pub origin: Lines,
    /// It asks on behalf of another site (`Sec-Fetch-Site`).
    pub cross_site: bool,
    /// It asks what a page may send, before it does (`Access-Control-Request-Method`).
    pub preflight: bool,
}

#[derive(Debug, Default)]
struct Upgrade {
    /// `Connection` lists it.
    listed: bool,
    /// `Upgrade` names a `WebSocket`.
    websocket: bool,
}

impl Asked {
    /// Goes through the fields.
    pub fn of(fields: &HeaderMap) -> Self {
        let (mut asked, mut traced_once, mut for_us) = (Self::default(), false, false);
        for (name, value) in fields {
            match name.as_str() {
                "host" => asked.host.add(value),
                "content-length" => asked.length.add(value),
                "x-api-key" => asked.api_key.add(value),
                "authorization" => asked.authorization.add(value),
                "connection" => {
                    asked.upgrade.listed |= lists(value, "upgrade");
                    for_us |= lists(value, "traceparent");
                }
                "upgrade" => asked.upgrade.websocket |= lists(value, "websocket"),
                "te" => asked.trailers |= items(value).any(is_trailers),
                "origin" => asked.browser.origin.add(value),
                "access-control-request-method" => asked.browser.preflight = true,
                "sec-fetch-site" => {
                    asked.browser.cross_site |=
                        !matches!(value.as_bytes(), b"none" | b"same-origin");
                }
                "prefer" => asked.wait = asked.wait.or_else(|| items(value).find_map(wait)),
                "priority" => {
                    let urgency = value.to_str().ok().and_then(Urgency::of);
                    asked.urgency = urgency.unwrap_or(asked.urgency);
                }
                "x-request-id" if asked.request_id.is_none() && is_plain(value) => {
                    asked.request_id = Some(value.clone());
                }
                "traceparent" => {
                    let of = (!traced_once).then(|| Context::parse(value.as_bytes()));
                    asked.trace = of.flatten();
                    traced_once = true;
                }
                _ => {}
            }
        }
        asked.trace = asked.trace.filter(|_| !for_us);
        asked
    }

    /// It asks for a WebSocket (RFC 6455). h2c and TLS upgrades would carry requests that nobody
    /// looks at, so they are not asked for.
    pub fn websocket(&self) -> bool {
        self.upgrade.listed && self.upgrade.websocket
    }
}

/// The items of a comma list. A value that is not text lists nothing that we know.
fn items(value: &HeaderValue) -> impl Iterator<Item = &str> {
    outside_quotes(value.to_str().unwrap_or_default(), b',').map(str::trim)
}

fn lists(value: &HeaderValue, word: &str) -> bool {
    items(value).any(|item| item.eq_ignore_ascii_case(word))
}

fn is_trailers(coding: &str) -> bool {
    coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("trailers"))
}

/// RFC 7240 section 2: `name [= word] *( ; parameter )`. One too large to be told is a long one.
fn wait(preference: &str) -> Option<u64> {
    let (name, value) = outside_quotes(preference, b';').next()?.split_once('=')?;
    let seconds = value.trim().trim_matches('"');
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let named = name.trim().eq_ignore_ascii_case("wait");
    (named && digits).then(|| seconds.parse().unwrap_or(u64::MAX))
}

/// A word that cannot forge a log line.
fn is_plain(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len())
        && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &[(&'static str, &'static str)]) -> Asked {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        Asked::of(&fields)
    }

    #[test]
    fn a_field_that_appears_twice_is_told_from_one() {
        assert_eq!(asked(&[]).host, Lines::None);
        assert_eq!(asked(&[("host", "a")]).host, Lines::One(HeaderValue::from_static("a")));
        assert_eq!(asked(&[("host", "a"), ("accept", "b"), ("host", "a")]).host, Lines::Many);
        assert_eq!(asked(&[("content-length", "1"), ("content-length", "1")]).length, Lines::Many);
    }

    #[test]
    fn only_a_whole_websocket_request_upgrades() {
        for (lines, expected) in [
            (&[("connection", "Upgrade"), ("upgrade", "WebSocket")][..], true),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket")], true),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "TLS/1.0")], false),
        ] {
            assert_eq!(asked(lines).websocket(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_preference_to_wait_is_found_among_others() {
        for (value, wait) in [
            ("wait=7", Some(7)),
            ("respond-async, WAIT = \"9\"", Some(9)),
            ("wait=5; x=1", Some(5)),
            ("handling=lenient;x=2, wait = \"8\" ;x=\"1\"; y", Some(8)),
            ("respond-async; wait=7", None),
            ("wait=soon", None),
            ("waiting=7", None),
            ("wait=7; handling=lenient, respond-async", Some(7)),
            ("wait=99999999999999999999999", Some(u64::MAX)),
            ("wait=+7", None),
            ("wait=", None),
            ("a=\"b, wait=9\", wait=3", Some(3)),
        ] {
            assert_eq!(asked(&[("prefer", value)]).wait, wait, "{value}");
        }
    }

    #[test]
    fn trailers_are_asked_for_by_te_alone() {
        assert!(asked(&[("te", "gzip, Trailers;q=0.5")]).trailers);
        assert!(!asked(&[("te", "gzip")]).trailers);
        assert!(!asked(&[("trailer", "x-sum")]).trailers);
    }

    #[test]
    fn pages_of_other_sites_give_themselves_away() {
        let null = Lines::One(HeaderValue::from_static("null"));
        assert_eq!(asked(&[("origin", "null")]).browser.origin, null);
        assert!(asked(&[("access-control-request-method", "GET")]).browser.preflight);
        assert!(asked(&[("sec-fetch-site", "same-site")]).browser.cross_site);
        assert!(
            !asked(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "cors")]).browser.cross_site
        );
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_none() {
        assert!(asked(&[("x-request-id", "abc-1")]).request_id.is_some());
        assert!(asked(&[("x-request-id", "a b\" status=500")]).request_id.is_none());
        assert!(asked(&[("x-request-id", "")]).request_id.is_none());
    }

    #[test]
    fn a_trace_is_one_only_when_valid_and_for_others_too() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = |lines: &[(&'static str, &'static str)]| asked(lines).trace.is_some();
        assert!(traced(&[("traceparent", valid), ("connection", "keep-alive")]));
        for broken in ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"] {
            assert!(!traced(&[("traceparent", broken)]), "{broken}");
        }
        assert!(!traced(&[("traceparent", valid), ("traceparent", valid)]));
        assert!(!traced(&[("traceparent", valid), ("connection", "close, Traceparent")]));
    }
}
