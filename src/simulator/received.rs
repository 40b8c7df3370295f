//! A request as it arrived: its head, and its body counted, hashed and, up to a bound, kept.
//! It must never keep more of a body than a JSON endpoint accepts.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{
    answer::Problem,
    random::{fingerprint, hex},
    report::Record,
    world::World,
};

/// `request.bytes.max` of Genesys's JSON endpoints.
pub(super) const JSON_LIMIT: usize = 512_000;

/// What came in a request's body.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// All bytes, counted.
    pub(super) bytes: u64,
    /// SHA-256 of all bytes in hex; empty when they were not read to the end.
    pub(super) sha256: String,
    /// The first bytes, at most [`JSON_LIMIT`].
    kept: Bytes,
}

impl Received {
    /// Reads a body to its end; false when the client left before it.
    pub(super) async fn read(&mut self, world: &World, mut body: Incoming) -> bool {
        let (mut hash, mut kept) = (Context::new(&SHA256), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Ok(data) = frame.into_data() else { continue };
            hash.update(&data);
            self.bytes += data.len() as u64;
            let room = JSON_LIMIT.saturating_sub(kept.len());
            kept.extend(data.get(..room.min(data.len())).unwrap_or_default());
            world.with(|state, _| state.report.counters.body_bytes += data.len() as u64);
        }
        self.sha256 = hex(hash.finish().as_ref());
        self.kept = kept.freeze();
        true
    }

    /// The whole body, when it is not too large to be JSON.
    pub(super) fn whole(&self) -> Result<&Bytes, Problem> {
        if self.kept.len() as u64 == self.bytes {
            return Ok(&self.kept);
        }
        let message = format!("The request body is larger than {JSON_LIMIT} bytes.");
        Err(Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, "request.entity.too.large", message)
            .with_params(serde_json::json!({"requestBytesMax": JSON_LIMIT.to_string()})))
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(self.whole()?).map_err(|error| {
            Problem::bad_request(format!("The request body is not what is expected: {error}"))
                .with_code("invalid.request.body")
        })
    }
}

/// The token of the one `Authorization: Bearer` header, when it has one.
pub(super) fn bearer<B>(head: &Request<B>) -> Option<&str> {
    let mut lines = head.headers().get_all(header::AUTHORIZATION).into_iter();
    let line = lines.next()?.to_str().ok()?;
    let (scheme, token) = line.split_once(' ')?;
    let token = token.trim();
    let usable = lines.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    (usable && !token.is_empty()).then_some(token)
}

/// The query as decoded pairs.
pub(super) fn query<B>(head: &Request<B>, name: &str) -> Option<String> {
    let query = head.uri().query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

/// A number in the query; absent or unreadable is `default`.
pub(super) fn number<B>(head: &Request<B>, name: &str, default: u64) -> u64 {
    query(head, name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is remembered of a request.
pub(super) fn record<B>(
    head: &Request<B>,
    body: &Received,
    status: u16,
    at_ms: u64,
    correlation_id: &str,
) -> Record {
    Record {
        at_ms,
        method: head.method().to_string(),
        target: head.uri().to_string().chars().take(1024).collect(),
        version: format!("{:?}", head.version()),
        status,
        body_bytes: body.bytes,
        body_sha256: body.sha256.clone(),
        headers: head.headers().keys().take(100).map(ToString::to_string).collect(),
        token: bearer(head).map(fingerprint),
        correlation_id: correlation_id.to_owned(),
    }
}
