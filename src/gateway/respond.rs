//! What the caller gets: upstream's answer as it is, or the gateway's own error in Genesys's shape.
//! It never says why from inside: the caller gets the code, the log has the chain.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response::Parts};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::{
    admit::Permit,
    credential::X_REQUEST_ID,
    forbidden::Glance,
    forward::Patience,
    login::Reply,
    recover::{Recovered, reflected::conceal_in},
    said::Said,
    saving::Saved,
};
use crate::{
    decide::{failure::Failure, headers, turns::Standing},
    telemetry::{
        access_log::{End, Record},
        digits::{push, push_millis},
        words::word,
    },
    token::Token,
    upstream::{
        answer::{self, Answered},
        deadline::Deadline,
    },
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// What is left of a limit (draft-ietf-httpapi-ratelimit-headers-10).
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// And the limit itself.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// An answer of ours is no page: a browser that another site has sent here would go on to fetch the
/// page's icon, and that is a call of no other site's any more.
pub const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// An answer's body.
#[derive(Debug)]
pub enum AnswerBody {
    /// The gateway's own, or upstream's from memory.
    Own {
        /// What is left of it.
        bytes: Bytes,
        /// Written when it is gone.
        record: Box<Record>,
    },
    /// Upstream's, as it comes. Boxed: an answer is moved whole through hyper.
    Upstream(Box<Held>),
}

/// Upstream's body with all that must live until its last byte: the permit, because a slow
/// download is still load.
#[derive(Debug)]
pub struct Held {
    body: answer::Body,
    _permit: Option<Permit>,
    record: Box<Record>,
    /// What it was asked with.
    token: Arc<Token>,
    /// At a 403's body.
    glance: Option<Box<Glance>>,
    idle: Idle,
    cut: Option<Cut>,
}

/// `upstream.idle_timeout`, counted from the last frame.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    deadline: Deadline,
    /// A frame came since it was last looked at.
    moved: bool,
}

/// Why an answer's body is cut.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// Upstream's connection broke, or its framing did.
    #[error("upstream's body was cut: {0}")]
    Upstream(#[from] answer::BodyError),
    /// Nothing came for `upstream.idle_timeout`.
    #[error("upstream's body stopped coming")]
    Idle,
}

/// Passes upstream's answer on.
pub fn pass(
    recovered: Recovered,
    mut record: Box<Record>,
    said: &Arc<Said>,
    patience: Patience<'_>,
) -> Response<AnswerBody> {
    let Recovered { answer, permit, not_replayable, early, token } = recovered;
    let Answered { mut parts, told, body } = *answer;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // Hop by hop, so it is ours to say on this hop (RFC 9110 section 7.8).
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if early && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        // The rest of the upload may never be read, so nothing can follow it on this connection.
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if not_replayable {
        let marked = HeaderValue::from_static("genesys-proxy; details=\"body not replayable\"");
        parts.headers.append(PROXY_STATUS, marked);
    }
    if told.quota.is_some() && record.standing.is_some() {
        headers::drop_quotas(&mut parts.headers);
    }
    record.status = Some(parts.status);
    record.correlation_id = told.correlation_id;
    let glance = (parts.status == StatusCode::FORBIDDEN)
        .then(|| Glance::at(&parts, said, record.call(), record.correlation_id.clone()))
        .flatten();
    mark(&mut parts, &record);
    let Patience { deadlines, timeout } = patience;
    let idle = Idle { timeout, deadline: deadlines.after(timeout), moved: false };
    let mut held = Box::new(Held { body, _permit: permit, record, token, glance, idle, cut: None });
    if held.body.is_end_stream() {
        held.complete();
    }
    // hyper writes the version of the caller's connection.
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, AnswerBody::Upstream(held))
}

/// An answer in memory, for a caller whose call was not sent, or was for others, too. `limited`:
/// there is a limit of ours.
pub fn saved(
    saved: Saved,
    mut record: Box<Record>,
    said: &Arc<Said>,
    limited: bool,
) -> Response<AnswerBody> {
    let Saved { whole, body, origin } = saved;
    let mut parts = whole.head(origin);
    if limited {
        headers::drop_quotas(&mut parts.headers);
    }
    record.status = Some(parts.status);
    record.correlation_id.clone_from(&whole.correlation_id);
    record.end = End::Complete;
    if parts.status == StatusCode::FORBIDDEN {
        let id = whole.correlation_id.clone();
        if let Some(mut glance) = Glance::at(&parts, said, record.call(), id) {
            glance.see(&body);
            glance.end();
        }
    }
    mark(&mut parts, &record);
    parts.version = http::Version::HTTP_11;
    record.settle();
    Response::from_parts(parts, AnswerBody::Own { bytes: body, record })
}

/// Tells a browser what it may send. `unread` as in [`refuse`].
pub fn preflight(
    allowed: HeaderMap,
    unread: bool,
    mut record: Box<Record>,
) -> Response<AnswerBody> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::NO_CONTENT;
    parts.headers = allowed;
    if unread {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = Some(parts.status);
    record.end = End::Complete;
    mark(&mut parts, &record);
    record.settle();
    Response::from_parts(parts, AnswerBody::Own { bytes: Bytes::new(), record })
}

/// The gateway's own error, in the shape of Genesys's (genesys.md, "401 and 403").
#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    code: &'static str,
    status: u16,
    #[serde(rename = "contextId")]
    context_id: &'a str,
    details: [(); 0],
    errors: [(); 0],
}

/// Refuses, in the gateway's own name. `unread` is a request whose body may be on its way still.
pub fn refuse(failure: Failure, unread: bool, mut record: Box<Record>) -> Response<AnswerBody> {
    let facts = failure.facts();
    let retry_after = failure.retry_after();
    let status = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::BAD_GATEWAY);
    // Nobody refused a caller that left: its line says that it did, though it may yet read this.
    if failure != Failure::CallerLeft {
        (record.status, record.code) = (Some(status), Some(facts.code));
        record.refused = facts.refused();
        // hyper does not ask for the body of an answer to HEAD.
        record.end = End::Complete;
    }
    let bytes = error_body(failure, record.request_id.to_str().unwrap_or_default());
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    let fields = &mut parts.headers;
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::CONTENT_SECURITY_POLICY, NO_PAGE);
    let proxy_status =
        format!("genesys-proxy; error={}; details=\"{}\"", facts.proxy_status, facts.code);
    if let Ok(value) = HeaderValue::try_from(proxy_status) {
        fields.insert(PROXY_STATUS, value);
    }
    if let Some(seconds) = retry_after {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if facts.status == 401 {
        // RFC 9110 section 15.5.2. Not Basic: a browser would ask its user for a password.
        let challenge = HeaderValue::from_static("Bearer realm=\"genesys-proxy\"");
        fields.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if facts.status == 405 {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        fields.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if unread || failure.closes() {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    mark(&mut parts, &record);
    record.settle();
    Response::from_parts(parts, AnswerBody::Own { bytes, record })
}

/// An answer of the gateway's own that refuses no call.
pub fn reply(reply: Reply, mut record: Box<Record>) -> Response<AnswerBody> {
    let Reply { status, body, challenge, code, principal: _ } = reply;
    (record.status, record.code, record.end) = (Some(status), code, End::Complete);
    record.refused = status.is_client_error();
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    let fields = &mut parts.headers;
    if !body.is_empty() {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // RFC 6749 section 5.1.
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(challenge) = challenge {
        fields.insert(header::WWW_AUTHENTICATE, challenge);
    }
    mark(&mut parts, &record);
    record.settle();
    Response::from_parts(parts, AnswerBody::Own { bytes: body, record })
}

/// The JSON of a failure. `request_id` is the caller's handle for asking about it.
pub fn error_body(failure: Failure, request_id: &str) -> Bytes {
    let facts = failure.facts();
    // The JS SDK shows its user nothing but the body, so the seconds are in it too.
    let message = match failure.retry_after() {
        Some(seconds) => format!("{}. Retry the request in [{seconds}] seconds", facts.message),
        None => facts.message.to_owned(),
    };
    let body = ErrorBody {
        message: &message,
        code: facts.code,
        status: facts.status,
        context_id: request_id,
        details: [],
        errors: [],
    };
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// What every answer carries: `Via`, `Server-Timing`, `X-Request-Id`, and what its caller has left
/// (draft-ietf-httpapi-ratelimit-headers-10). Upstream's own word on that, which is of the token that
/// all callers share, has been taken out.
fn mark(parts: &mut Parts, record: &Record) {
    let fields = &mut parts.headers;
    fields.append(header::VIA, HeaderValue::from_static("1.1 genesys-proxy"));
    fields.insert(X_REQUEST_ID, record.request_id.clone());
    let timing = word(|out| {
        for (name, duration) in [
            ("queue;dur=", record.queue),
            (", token;dur=", record.token),
            (", upstream;dur=", record.upstream),
        ] {
            out.extend_from_slice(name.as_bytes());
            push_millis(out, duration);
        }
    });
    fields.append(SERVER_TIMING, timing);
    if let Some(standing) = record.standing {
        fields.insert(RATE_LIMIT_POLICY, policy(standing));
        let left = word(|out| {
            out.extend_from_slice(b"\"default\";r=");
            push(out, standing.remaining);
            out.extend_from_slice(b";t=");
            push(out, standing.reset);
        });
        fields.insert(RATE_LIMIT, left);
    }
}

thread_local! {
    /// The latest: nearly all answers of a worker say the same.
    static POLICY: RefCell<(u32, u32, HeaderValue)> =
        const { RefCell::new((0, 0, HeaderValue::from_static(""))) };
}

fn policy(Standing { limit, window, .. }: Standing) -> HeaderValue {
    POLICY.with_borrow_mut(|known| {
        if (known.0, known.1) != (limit, window) {
            let text = format!("\"default\";q={limit};w={window}");
            let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
            *known = (limit, window, value);
        }
        known.2.clone()
    })
}

impl Held {
    fn complete(&mut self) {
        self.record.end = End::Complete;
        if let Some(glance) = self.glance.take() {
            glance.end();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(cut) = self.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            // Only when upstream keeps us waiting: a body at hand costs nothing.
            return self.idle.poll(cx);
        };
        self.idle.moved = true;
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    conceal_in(trailers, &self.token);
                }
                if let (Some(glance), Some(data)) = (&mut self.glance, frame.data_ref()) {
                    glance.see(data);
                }
                self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // hyper may not ask again after the last byte of a known length, nor after
                // trailers that it will not pass on.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                // hyper drops what it has not written yet, the head included, when a body fails:
                // first it writes.
                self.cut = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }
}

impl Idle {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if std::mem::take(&mut self.moved) {
            self.deadline.restart(self.timeout);
        }
        self.deadline.poll_passed(cx).map(|()| Some(Err(Cut::Idle)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Own { bytes, record } => {
                let bytes = std::mem::take(bytes);
                record.bytes += bytes.len() as u64;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Upstream(held) => held.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { bytes, .. } => bytes.is_empty(),
            // Cut is not ended, though nothing more comes.
            Self::Upstream(held) => held.cut.is_none() && held.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream(held) if held.cut.is_some() => SizeHint::default(),
            Self::Upstream(held) => held.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_429_tells_the_seconds_in_genesyss_words() {
        let failure = Failure::RateLimited { retry_after: Duration::from_millis(41_200) };
        let body: serde_json::Value = serde_json::from_slice(&error_body(failure, "id-1")).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "message": "Rate limit exceeded the maximum. Retry the request in [42] seconds",
                "code": "proxy.rate.limited",
                "status": 429,
                "contextId": "id-1",
                "details": [],
                "errors": [],
            })
        );
    }
}
