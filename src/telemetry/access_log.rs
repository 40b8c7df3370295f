//! One line a request, written once, when its last byte has left.
//! It never makes a request wait: a worker fills its own buffer and hands it to the log's thread.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri};
use humantime::Rfc3339Timestamp;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::output::Output;
use crate::{config::LogFormat, decide::path};

/// A buffer is handed over when it is this large; the sweeper hands over smaller ones.
const FULL: usize = 16 * 1024;

/// How a request's answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The last byte was handed over.
    Complete,
    /// The caller left, or upstream's body was cut.
    Cut,
}

/// What one line says. Times in microseconds.
#[derive(Debug)]
pub struct Record {
    log: Arc<AccessLog>,
    method: Method,
    uri: Uri,
    started: Instant,
    /// What the caller got; `None` while undecided.
    pub status: Option<StatusCode>,
    /// The gateway's own error, if the answer is one.
    pub code: Option<&'static str>,
    /// Requests sent upstream.
    pub attempts: u32,
    /// Sent again with a renewed token.
    pub replayed: bool,
    /// Waited for its turn.
    pub queue: Duration,
    /// Waited for a token.
    pub token: Duration,
    /// From the last request's start to its answer's head.
    pub upstream: Duration,
    /// Of the answer's body.
    pub bytes: u64,
    /// Ours, told to the caller too.
    pub request_id: HeaderValue,
    /// Upstream's.
    pub correlation_id: Option<HeaderValue>,
    /// How it ended.
    pub end: End,
}

impl Record {
    /// A request has come.
    pub fn begin(log: &Arc<AccessLog>, method: Method, uri: Uri, request_id: HeaderValue) -> Self {
        Self {
            log: Arc::clone(log),
            method,
            uri,
            started: Instant::now(),
            status: None,
            code: None,
            attempts: 0,
            replayed: false,
            queue: Duration::ZERO,
            token: Duration::ZERO,
            upstream: Duration::ZERO,
            bytes: 0,
            request_id,
            correlation_id: None,
            end: End::Cut,
        }
    }

    /// When it came.
    pub fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.log.write(self);
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "as_text")]
    timestamp: Rfc3339Timestamp,
    kind: &'static str,
    caller: &'static str,
    method: &'a str,
    path: Escaped<'a>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    attempts: u32,
    replayed: bool,
    queue_ms: Millis,
    upstream_ms: Millis,
    total_ms: Millis,
    bytes: u64,
    end: End,
    request_id: &'a str,
    correlation_id: &'a str,
}

/// A path family in printable ASCII.
struct Escaped<'a>(path::Family<'a>);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Write::write_fmt(&mut Printable(f), format_args!("{}", self.0))
    }
}

struct Printable<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| {
            if c.is_ascii_graphic() {
                self.0.write_char(c)
            } else {
                write!(self.0, "{}", c.escape_unicode())
            }
        })
    }
}

impl Serialize for Escaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One worker's lines on their way to the writing thread.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    buffer: Mutex<Vec<u8>>,
    /// `None`: `telemetry.access_log` is off.
    writer: Option<Output>,
}

impl AccessLog {
    /// A worker's own; all workers share the writing thread.
    pub fn new(format: LogFormat, writer: Option<Output>) -> Arc<Self> {
        Arc::new(Self { format, buffer: Mutex::default(), writer })
    }

    /// Hands over what there is. The sweeper calls it.
    pub fn flush(&self) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        self.hand_over(&mut buffer);
    }

    fn write(&self, record: &Record) {
        if self.writer.is_none() {
            return;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        line(&mut buffer, self.format, record);
        if buffer.len() >= FULL {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Vec<u8>) {
        let Some(writer) = &self.writer else { return };
        if buffer.is_empty() {
            return;
        }
        writer.send(std::mem::replace(buffer, Vec::with_capacity(FULL)));
    }
}

/// An access line, in text or JSON.
fn line(out: &mut Vec<u8>, format: LogFormat, record: &Record) {
    let line = Line {
        timestamp: humantime::format_rfc3339_millis(SystemTime::now()),
        kind: "access",
        caller: "-",
        method: record.method.as_str().get(..32).unwrap_or(record.method.as_str()),
        path: Escaped(path::family(record.uri.path())),
        // 499, as nginx logs it: the caller left before there was an answer.
        status: record.status.map_or(499, |status| status.as_u16()),
        code: record.code,
        attempts: record.attempts,
        replayed: record.replayed,
        queue_ms: Millis(record.queue),
        upstream_ms: Millis(record.upstream),
        total_ms: Millis(record.started.elapsed()),
        bytes: record.bytes,
        end: record.end,
        request_id: text(Some(&record.request_id)),
        correlation_id: text(record.correlation_id.as_ref()),
    };
    // Writing to a vector cannot fail.
    let _ = match format {
        LogFormat::Json => serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::other),
        LogFormat::Text => write!(
            out,
            "{} access caller={} {} {} {}{}{} attempts={} replayed={} queue_ms={} upstream_ms={} \
             total_ms={} bytes={} end={} request_id={} correlation_id={}",
            line.timestamp,
            line.caller,
            line.method,
            line.path,
            line.status,
            if line.code.is_some() { " code=" } else { "" },
            line.code.unwrap_or_default(),
            line.attempts,
            if line.replayed { "yes" } else { "no" },
            line.queue_ms,
            line.upstream_ms,
            line.total_ms,
            line.bytes,
            match line.end {
                End::Complete => "complete",
                End::Cut => "cut",
            },
            line.request_id,
            line.correlation_id,
        ),
    };
    out.push(b'\n');
}

/// Milliseconds to a tenth: finer is noise. In integers, which print in a fraction of the time.
#[derive(Clone, Copy)]
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_micros() / 100;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_secs_f64() * 10_000.0).trunc() / 10.0)
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A header's value, cut: it comes from the network.
fn text(value: Option<&HeaderValue>) -> &str {
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("-");
    text.get(..128).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::output::pair;

    fn lines(format: LogFormat, path: &'static str) -> String {
        let (output, written) = pair();
        let log = AccessLog::new(format, Some(output));
        let id = HeaderValue::from_static("abc");
        let mut record = Record::begin(&log, Method::GET, path.parse().unwrap(), id);
        record.status = Some(StatusCode::OK);
        record.attempts = 2;
        record.replayed = true;
        record.correlation_id = Some(HeaderValue::from_static("corr"));
        record.end = End::Complete;
        drop(record);
        log.flush();
        written.next()
    }

    #[test]
    fn a_text_line_says_what_happened_and_no_query() {
        let line = lines(LogFormat::Text, "/api/v2/users/42?name=secret");
        for part in [
            "access caller=- GET /api/v2/users/* 200 attempts=2 replayed=yes",
            "end=complete request_id=abc correlation_id=corr\n",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_path_holds() {
        let line = lines(LogFormat::Json, "/api/\"},{\"status?q=secret");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["status"], 200);
        assert_eq!(object["path"], "/api/\"},{\"status");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_caller_that_left_before_the_answer_is_a_499() {
        let (output, written) = pair();
        let log = AccessLog::new(LogFormat::Text, Some(output));
        let id = HeaderValue::from_static("abc");
        drop(Record::begin(&log, Method::GET, Uri::from_static("/a"), id));
        log.flush();
        let line = written.next();
        assert!(line.contains(" GET /a 499 ") && line.contains("end=cut"), "{line}");
    }
}
