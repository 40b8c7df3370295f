//! What a line of the audit log tells: of a call, or of the log itself.
//! It never tells a query, a header field of the caller's but its request id, or any of a body.
//!
//! The writer puts number and hashes around it. Time and kind come first: `decide/audit/check` looks
//! for them there.

use http::StatusCode;

use crate::{
    decide::callers::{Peer, Principal},
    telemetry::{
        access_log::{End, Record, Ruling, text},
        callers::Name,
        digits::push,
    },
};

/// Of a path; a longer one is cut, and its length told.
const LONGEST_PATH: usize = 1024;
/// Of anything else that somebody else chose.
const LONGEST_WORD: usize = 128;

/// A call that ended at `now`.
pub fn call(now: &str, (org, caller): (Option<&str>, Name<'_>), record: &Record) -> Vec<u8> {
    let mut out = begin(now, "call");
    if let Some(org) = org {
        word(&mut out, "org", org);
    }
    field(&mut out, "caller");
    caller.push(&mut out);
    out.push(b'"');
    peer(&mut out, record.peer);
    field(&mut out, "method");
    escaped(&mut out, record.method.as_str(), LONGEST_WORD);
    out.push(b'"');
    let path = record.uri.path();
    field(&mut out, "path");
    let whole = escaped(&mut out, path, LONGEST_PATH);
    out.push(b'"');
    if !whole {
        number(&mut out, "path_length", path.len());
    }
    // 499, as in the access log: the caller left before there was an answer.
    number(&mut out, "status", record.status.map_or(499, |status| status.as_u16()));
    let decision = Decision::of(record);
    word(&mut out, "decision", decision.word());
    if let (Decision::Refused, Some(rule)) = (decision, rule(record)) {
        field(&mut out, "rule");
        escaped(&mut out, rule, LONGEST_PATH);
        out.push(b'"');
    }
    if let Some(Ruling { rule, observed: true }) = record.ruling.as_deref() {
        field(&mut out, "observed");
        escaped(&mut out, rule, LONGEST_PATH);
        out.push(b'"');
    }
    if let Some(code) = record.code {
        word(&mut out, "code", code);
    }
    number(&mut out, "attempts", record.attempts);
    if let Some(saved) = record.saved {
        word(&mut out, "saved", saved.word());
    }
    out.extend_from_slice(b",\"replayed\":");
    out.extend_from_slice(if record.replayed { b"true" } else { b"false" });
    let end = match record.end {
        End::Complete => "complete",
        End::Cut => "cut",
    };
    word(&mut out, "end", end);
    number(&mut out, "ms", record.started.elapsed().as_millis());
    for (name, value) in [
        ("request_id", Some(&record.request_id)),
        ("correlation_id", record.correlation_id.as_ref()),
    ] {
        field(&mut out, name);
        escaped(&mut out, text(value), LONGEST_WORD);
        out.push(b'"');
    }
    out
}

/// Of a caller without a name, and not sent: anybody can cause any number of these.
pub fn is_a_strangers(record: &Record) -> bool {
    let named = match record.principal {
        Principal::Named(_) => true,
        Principal::Address(_) | Principal::User(_) | Principal::Unknown => false,
    };
    !named && record.attempts == 0 && record.saved.is_none()
}

/// What refused a call: the operator's rule, or what the gateway itself refuses.
fn rule(record: &Record) -> Option<&str> {
    match record.ruling.as_deref() {
        Some(Ruling { rule, observed: false }) => Some(rule),
        Some(Ruling { observed: true, .. }) | None => record.code,
    }
}

/// What became of a call's wish to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It was to be sent, whatever came of it; `attempts` tells how often it was.
    Allowed,
    /// The gateway did not let it through.
    Refused,
    /// It needed not be sent.
    Local,
}

impl Decision {
    fn of(record: &Record) -> Self {
        let answered = |status: StatusCode| record.code.is_none() && !status.is_informational();
        match (record.refused, record.attempts) {
            (true, 0) => Self::Refused,
            (false, 0) if record.status.is_some_and(answered) => Self::Local,
            (true | false, _) => Self::Allowed,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Local => "answered locally",
        }
    }
}

/// The gateway began to write: under this seal, after so many bytes of half a line were cut off.
pub fn started(now: &str, seal: &str, cut: u64) -> Vec<u8> {
    let mut out = begin(now, "started");
    word(&mut out, "version", env!("CARGO_PKG_VERSION"));
    word(&mut out, "seal", seal);
    if cut > 0 {
        number(&mut out, "cut", cut);
    }
    out
}

/// So many calls have no line: they were refused for it, or made all the same.
pub fn lost(now: &str, calls: u64, refused: bool) -> Vec<u8> {
    let mut out = begin(now, "lost");
    number(&mut out, "lost", calls);
    word(&mut out, "decision", if refused { "refused" } else { "allowed" });
    out
}

/// So many calls of callers without a name were not sent, and have no line each.
pub fn left_out(now: &str, calls: u64) -> Vec<u8> {
    let mut out = begin(now, "left_out");
    number(&mut out, "left_out", calls);
    out
}

/// The gateway ended, and every call before has its line.
pub fn stopped(now: &str) -> Vec<u8> {
    begin(now, "stopped")
}

fn begin(now: &str, kind: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"\"time\":\"");
    out.extend_from_slice(now.as_bytes());
    out.push(b'"');
    word(&mut out, "kind", kind);
    out
}

fn peer(out: &mut Vec<u8>, peer: Peer) {
    let shown = match peer {
        // Also of IPv6 all of it, unlike a caller's name.
        Peer::Address(address) => address.to_string(),
        Peer::User(id) => format!("uid:{id}"),
        Peer::Unknown => return,
    };
    word(out, "peer", &shown);
}

fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
}

/// A plain word of ours.
fn word(out: &mut Vec<u8>, name: &str, word: &str) {
    field(out, name);
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, number: impl itoa::Integer) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push(out, number);
}

/// A text in printable ASCII, up to `longest` bytes; whether that is all of it.
fn escaped(out: &mut Vec<u8>, text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.len() <= longest && text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
        return true;
    }
    let end = out.len() + longest;
    for c in text.chars() {
        let from = out.len();
        match u8::try_from(c).ok().filter(|byte| plain(*byte)) {
            Some(byte) => out.push(byte),
            None => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }),
        }
        if out.len() > end {
            out.truncate(from);
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::audit::{Head, LONGEST, Line, Seal};

    fn object(told: &[u8]) -> serde_json::Value {
        serde_json::from_str(&format!("{{{}}}", std::str::from_utf8(told).unwrap())).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_a_text_holds_it_is_one_json_text_within_its_bound(text in "\\PC{0,40}|[\\x00-\\x7f]{0,60}|\u{10ffff}{9}") {
            let mut told = Vec::new();
            field(&mut told, "path");
            let whole = escaped(&mut told, &text, 60);
            told.push(b'"');
            prop_assert!(told.len() <= 60 + ",\"path\":\"\"".len());
            prop_assert!(told.is_ascii() && !told.contains(&b'\n'));
            let shown = object(&told[1..])["path"].as_str().unwrap().to_owned();
            prop_assert!(text.starts_with(&shown) && whole == (shown == text));
        }
    }

    #[test]
    fn the_logs_own_lines_are_objects_and_fit() {
        for (told, kind) in [
            (started("T", "hmac-sha256", 3), "started"),
            (lost("T", u64::MAX, true), "lost"),
            (left_out("T", u64::MAX), "left_out"),
            (stopped("T"), "stopped"),
        ] {
            assert_eq!(object(&told)["kind"], kind);
            let mut line = Vec::new();
            let _ = Head { seq: u64::MAX, ..Head::START }.append(&told, &Seal::Plain, &mut line);
            assert!(line.len() < LONGEST && Line::read(line.trim_ascii_end()).is_some());
        }
        assert_eq!(object(&lost("T", 3, false))["decision"], "allowed");
        assert_eq!(object(&started("T", "sha256", 0)).get("cut"), None);
    }
}
