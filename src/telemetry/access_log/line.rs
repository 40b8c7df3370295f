//! What an access line looks like, in text and JSON.
//! It never shows a query, nor a path's ids.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{AccessLog, End, Record, Ruling, text};
use crate::{
    config::LogFormat,
    decide::path,
    telemetry::{
        callers::Name,
        digits::{push, push_millis},
        metrics::SavedBy,
        printable::push_printable,
    },
};

/// The JSON form.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<&'a str>,
    caller: Name<'a>,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(flatten)]
    ruling: Option<&'a Ruling>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<&'static str>,
    replayed: bool,
    #[serde(serialize_with = "as_millis")]
    queue_ms: Duration,
    #[serde(serialize_with = "as_millis")]
    upstream_ms: Duration,
    #[serde(serialize_with = "as_millis")]
    total_ms: Duration,
    bytes: u64,
    end: End,
    request_id: &'a str,
    correlation_id: &'a str,
}

/// An access line, in text or JSON.
pub(super) fn line(out: &mut Vec<u8>, timestamp: &str, log: &AccessLog, record: &Record) {
    let caller = log.names.of(record.principal);
    let method = record.method.as_str().get(..32).unwrap_or(record.method.as_str());
    // 499, as nginx logs it: the caller left before there was an answer.
    let status = record.status.map_or(499, |status| status.as_u16());
    let family = path::family(record.uri.path());
    let total = record.started.elapsed();
    let request_id = text(Some(&record.request_id));
    let correlation_id = text(record.correlation_id.as_ref());
    match log.format {
        LogFormat::Json => {
            let mut path = Vec::new();
            push_printable(&mut path, family);
            let line = Line {
                timestamp,
                kind: "access",
                org: log.org.as_deref(),
                caller,
                method,
                path: std::str::from_utf8(&path).unwrap_or_default(),
                status,
                code: record.code,
                ruling: record.ruling.as_deref(),
                attempts: record.attempts,
                saved: record.saved.map(SavedBy::word),
                replayed: record.replayed,
                queue_ms: record.queue,
                upstream_ms: record.upstream,
                total_ms: total,
                bytes: record.bytes,
                end: record.end,
                request_id,
                correlation_id,
            };
            // Writing to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *out, &line);
        }
        LogFormat::Text => {
            words(out, &[timestamp, " access"]);
            if let Some(org) = &log.org {
                words(out, &[" org=", org]);
            }
            words(out, &[" caller="]);
            caller.push(out);
            words(out, &[" ", method, " "]);
            push_printable(out, family);
            words(out, &[" "]);
            push(out, status);
            if let Some(code) = record.code {
                words(out, &[" code=", code]);
            }
            if let Some(Ruling { rule, observed }) = record.ruling.as_deref() {
                let observed = if *observed { " observed=yes" } else { "" };
                words(out, &[" rule=", &format!("{rule:?}"), observed]);
            }
            words(out, &[" attempts="]);
            push(out, record.attempts);
            if let Some(saved) = record.saved {
                words(out, &[" saved=", saved.word()]);
            }
            let replayed = if record.replayed { "yes" } else { "no" };
            words(out, &[" replayed=", replayed, " queue_ms="]);
            push_millis(out, record.queue);
            words(out, &[" upstream_ms="]);
            push_millis(out, record.upstream);
            words(out, &[" total_ms="]);
            push_millis(out, total);
            words(out, &[" bytes="]);
            push(out, record.bytes);
            let end = match record.end {
                End::Complete => "complete",
                End::Cut => "cut",
            };
            words(out, &[" end=", end]);
            words(out, &[" request_id=", request_id, " correlation_id=", correlation_id]);
        }
    }
    out.push(b'\n');
}

fn words(out: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        out.extend_from_slice(word.as_bytes());
    }
}

/// Milliseconds to a tenth: finer is noise.
fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 10_000.0).trunc() / 10.0)
}
