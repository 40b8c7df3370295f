//! The request as upstream gets it: stripped first, signed last.
//! It never lets anything of the caller's stand where ours goes.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, TE},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::client::conn::http2;

use crate::{
    decide::{asked::Asked, headers, retry},
    telemetry::{digits::hex, traces::Traceparent, words::word},
    upstream::{
        connect::Stream,
        http1::{Coding, Exchange, write_field},
        pool::{Lease, Pool, StreamCount, Ticket},
        replay::Attempt,
    },
};

/// One name for a request in every log on its way.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// draft-ietf-httpapi-idempotency-key-header
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How many fields we add to nearly every request.
const OURS: usize = 4;
/// For what else the last field and the end of a head take, and the size of a first chunk.
const LAST_ROOM: usize = 64;
/// W3C Trace Context: the trace and the span, and what tracing systems say to one another.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A request with a token in it, and where it goes. Boxed, because it is moved on.
#[derive(Debug)]
pub enum Signed {
    /// Written on its connection.
    Http1(Box<Exchange<Stream>>, Ticket),
    /// For a stream of a shared connection.
    Http2(Box<Request<Attempt>>, http2::SendRequest<Attempt>, StreamCount),
}

/// A caller's request head, stripped and signed anew for every try.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Its target's bytes, untouched.
    pub path: PathAndQuery,
    /// It asked for a WebSocket.
    pub upgrade: bool,
    /// As the caller sent them.
    fields: HeaderMap,
    request_id: HeaderValue,
    /// In place of the caller's.
    traceparent: Option<Traceparent>,
    /// Its trace is the caller's: what tracing systems said of it holds.
    traced: bool,
    trailers: bool,
}

impl Head {
    /// All that the tries share. `traceparent` is in place of the caller's.
    pub fn new(
        parts: Parts,
        asked: &Asked,
        request_id: &HeaderValue,
        traceparent: Option<Traceparent>,
    ) -> Self {
        let upgrade =
            asked.websocket() && parts.version == Version::HTTP_11 && parts.method == Method::GET;
        Self {
            path: target(parts.uri),
            method: parts.method,
            upgrade,
            fields: parts.headers,
            request_id: request_id.clone(),
            traceparent,
            traced: asked.trace.is_some(),
            trailers: asked.trailers,
        }
    }

    /// The caller vouches that upstream carries it out once however often it comes. A key that does
    /// not cross tells upstream nothing, and of two it would have to choose.
    pub fn keyed(&self) -> bool {
        let mut keys = headers::crossing(&self.fields).filter(|(name, _)| *name == IDEMPOTENCY_KEY);
        match (keys.next(), keys.next()) {
            (Some((_, key)), None) => retry::keyed(&self.method, key.as_bytes()),
            (Some(_), Some(_)) | (None, _) => false,
        }
    }

    /// As the caller sent them: what of them crosses is for `decide::headers` to say.
    pub fn received(&self) -> &HeaderMap {
        &self.fields
    }

    /// What crosses, and the request's name; but not the trace's where `ours` is another.
    fn fields(&self, ours: Option<&Traceparent>, mut add: impl FnMut(&HeaderName, &HeaderValue)) {
        for (name, value) in headers::crossing(&self.fields) {
            let replaced = *name == X_REQUEST_ID
                || ours.is_some() && *name == TRACEPARENT
                || !self.traced && *name == TRACESTATE;
            if !replaced {
                add(name, value);
            }
        }
        add(&X_REQUEST_ID, &self.request_id);
    }

    /// One try's request on the connection that it goes over.
    pub fn sign(
        &self,
        authorization: &HeaderValue,
        trace: Option<&Traceparent>,
        body: Attempt,
        (pool, lease): (&Pool, Lease),
    ) -> Result<Signed, http::Error> {
        let trace = trace.or(self.traceparent.as_ref());
        match lease {
            Lease::Http1 { mut connection, ticket } => {
                let coding = Coding::of(&body);
                self.write(connection.head(), (authorization, trace), &pool.host, coding);
                let exchange = Exchange::new(connection, body, self.method == Method::HEAD);
                Ok(Signed::Http1(Box::new(exchange), ticket))
            }
            Lease::Http2 { sender, stream } => {
                let mut uri = http::uri::Parts::default();
                uri.scheme = Some(pool.scheme());
                uri.authority = Some(pool.authority.clone());
                uri.path_and_query = Some(self.path.clone());
                let mut request = Request::new(body);
                *request.method_mut() = self.method.clone();
                *request.uri_mut() = Uri::from_parts(uri)?;
                *request.version_mut() = Version::HTTP_2;
                let fields = request.headers_mut();
                fields.reserve(self.fields.len() + OURS);
                self.fields(trace, |name, value| {
                    fields.append(name.clone(), value.clone());
                });
                if let Some(trace) = trace {
                    fields.insert(TRACEPARENT, HeaderValue::from_bytes(trace)?);
                }
                // Never the same twice: in HPACK's table they would push out what is.
                for name in [X_REQUEST_ID, TRACEPARENT] {
                    if let Some(unique) = fields.get_mut(name) {
                        unique.set_sensitive(true);
                    }
                }
                if self.trailers {
                    fields.insert(TE, HeaderValue::from_static("trailers"));
                }
                fields.insert(AUTHORIZATION, authorization.clone());
                Ok(Signed::Http2(Box::new(request), sender, stream))
            }
        }
    }

    /// The head of an HTTP/1.1 request. How its body is coded is ours to say: it is what we will
    /// send, whatever the caller said of its own.
    fn write(
        &self,
        out: &mut Vec<u8>,
        (authorization, trace): (&HeaderValue, Option<&Traceparent>),
        host: &HeaderValue,
        coding: Coding,
    ) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.path.as_str().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_field(out, "host", host.as_bytes());
        let mut empty = false;
        self.fields(trace, |name, value| {
            if *name == CONTENT_LENGTH {
                empty = coding == Coding::Nothing;
            } else {
                write_field(out, name.as_str(), value.as_bytes());
            }
        });
        if let Some(trace) = trace {
            write_field(out, TRACEPARENT.as_str(), trace);
        }
        match coding {
            Coding::Exactly(length) => {
                let mut digits = itoa::Buffer::new();
                write_field(out, "content-length", digits.format(length).as_bytes());
            }
            Coding::Chunked => write_field(out, "transfer-encoding", b"chunked"),
            Coding::Nothing if empty => write_field(out, "content-length", b"0"),
            Coding::Nothing => {}
        }
        if self.upgrade {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        } else if self.trailers {
            out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
        }
        // From here on it does not move: what is left behind by one that grows is not zeroed.
        out.reserve(authorization.len() + LAST_ROOM);
        write_field(out, "authorization", authorization.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Path and query as they came. An absolute-form target may have a query and no path, which is `/`
/// then (RFC 9112 section 3.2.1).
fn target(uri: Uri) -> PathAndQuery {
    let Some(path) = uri.into_parts().path_and_query else { return PathAndQuery::from_static("/") };
    match path.as_str().as_bytes() {
        [b'/' | b'*', ..] => path,
        // Its `Display` knows.
        _ => path.to_string().try_into().unwrap_or(path),
    }
}

/// The caller's `X-Request-Id` when it is a plain word, else a new one.
pub fn request_id(asked: &mut Asked) -> HeaderValue {
    asked.request_id.take().unwrap_or_else(new_request_id)
}

/// 128 random bits in hexadecimal.
pub fn new_request_id() -> HeaderValue {
    word(|out| out.extend_from_slice(&random_id()))
}

/// Not zero, which a trace id must not be.
fn random_id() -> [u8; 32] {
    let mut id = [0; 32];
    let (high, low) = id.split_at_mut(16);
    high.copy_from_slice(&hex(fastrand::u64(..) | 1));
    low.copy_from_slice(&hex(fastrand::u64(..)));
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LogFormat,
        decide::{
            callers::{Peer, Principal},
            trace::Context,
        },
        telemetry::{
            access_log::{AccessLog, Observers, Record},
            callers::Names,
            metrics::Metrics,
            traces::Traces,
        },
    };

    /// Of a gateway with a collector that keeps so many of the traces that begin here, or without one.
    fn record(asked: &mut Asked, keeps: Option<f64>) -> Box<Record> {
        let traces = keeps.map(|share| Traces::new(share, Metrics::default().process));
        let log = AccessLog::new(
            LogFormat::Text,
            None,
            Names::default(),
            (None, None),
            Observers { traces, ..Observers::default() },
        );
        let (id, uri) = (request_id(asked), Uri::from_static("/"));
        let mut record = Record::begin(&log, Principal::Named(0), Method::GET, uri, id);
        record.comes(Peer::Unknown, asked);
        record
    }

    fn head(lines: &[(&str, &str)]) -> Head {
        traced(lines, None).0
    }

    fn traced(lines: &[(&str, &str)], keeps: Option<f64>) -> (Head, Box<Record>) {
        let mut request = Request::builder().uri("/a%2fb//c?x=%zz&y");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let mut asked = Asked::of(&parts.headers);
        let record = record(&mut asked, keeps);
        let trace = record.traceparent(&asked);
        (Head::new(parts, &asked, &record.request_id, trace), record)
    }

    fn sent(lines: &[(&str, &str)]) -> HeaderMap {
        sent_by(lines, None)
    }

    fn sent_by(lines: &[(&str, &str)], keeps: Option<f64>) -> HeaderMap {
        let mut sent = HeaderMap::new();
        let (head, mut record) = traced(lines, keeps);
        let host = HeaderValue::from_static("api.mypurecloud.com");
        let trace = record.try_begins(&host).or(head.traceparent);
        head.fields(trace.as_ref(), |name, value| {
            sent.append(name.clone(), value.clone());
        });
        if let Some(trace) = trace {
            sent.append(TRACEPARENT, HeaderValue::from_bytes(&trace).unwrap());
        }
        sent
    }

    #[test]
    fn the_path_and_query_keep_their_bytes() {
        assert_eq!(head(&[]).path.as_str(), "/a%2fb//c?x=%zz&y");
    }

    #[test]
    fn a_query_without_a_path_gets_one() {
        for (uri, sent) in [
            ("http://localhost?x=1", "/?x=1"),
            ("http://localhost", "/"),
            ("/a?x=1", "/a?x=1"),
            ("*", "*"),
        ] {
            assert_eq!(target(uri.parse().unwrap()).as_str(), sent);
        }
    }

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(sent: &HeaderMap) -> Context {
        assert_eq!(sent.get_all("traceparent").iter().count(), 1);
        Context::parse(sent["traceparent"].as_bytes()).unwrap()
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_any_other_replaced() {
        let state = ("tracestate", "vendor=1");
        let kept = sent(&[("traceparent", VALID), state]);
        assert_eq!(
            (&kept["traceparent"], &kept["tracestate"]),
            (&HeaderValue::from_static(VALID), &HeaderValue::from_static("vendor=1"))
        );
        let caller = context(&kept);
        for lines in [
            &[("traceparent", VALID), ("connection", "traceparent"), state][..],
            &[("traceparent", "00-0-0-0"), state],
            &[("traceparent", &VALID.replace("00f067aa0ba902b7", "0000000000000000")), state],
            &[("traceparent", VALID), ("traceparent", VALID), state],
            &[state],
        ] {
            for (keeps, sampled) in [(None, true), (Some(0.0), false), (Some(1.0), true)] {
                let fields = sent_by(lines, keeps);
                let ours = context(&fields);
                assert!(ours.trace != caller.trace && ours.sampled == sampled, "{ours:?}");
                // It spoke of a trace that is not this one.
                assert!(!fields.contains_key("tracestate"), "{lines:?}");
            }
        }
    }

    #[test]
    fn with_a_collector_upstream_gets_each_trys_own_span_of_the_callers_trace() {
        let lines = [("traceparent", VALID), ("tracestate", "vendor=1")];
        let (first, second) = (sent_by(&lines, Some(0.0)), sent_by(&lines, Some(0.0)));
        for fields in [&first, &second] {
            let (ours, caller) = (context(fields), Context::parse(VALID.as_bytes()).unwrap());
            assert!(ours.trace == caller.trace && ours.span != caller.span && ours.sampled);
            assert_eq!(fields["tracestate"], "vendor=1");
        }
        assert_ne!(first["traceparent"], second["traceparent"]);
        // Whoever began it does not keep it: then we are not part of it.
        let unkept = VALID.replace("-01", "-00");
        assert_eq!(sent_by(&[("traceparent", &unkept)], Some(1.0))["traceparent"], *unkept);
    }

    #[test]
    fn a_post_is_keyed_by_one_key_that_upstream_gets_to_see() {
        let keyed = |lines: &[(&str, &str)]| {
            let head = Head { method: Method::POST, ..head(lines) };
            head.keyed()
        };
        let key = ("idempotency-key", "\"8e03978e\"");
        assert!(keyed(&[key]));
        assert!(!keyed(&[]));
        assert!(!keyed(&[("idempotency-key", "")]));
        assert!(!keyed(&[key, key]));
        assert!(!keyed(&[key, ("connection", "idempotency-key")]));
        assert!(!head(&[key]).keyed(), "a GET needs none");
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        assert_eq!(sent(&[("x-request-id", "abc-1")])["x-request-id"], "abc-1");
        let replaced = sent(&[("x-request-id", "a b\" status=500")]);
        assert_eq!(replaced["x-request-id"].len(), 32);
    }
}
