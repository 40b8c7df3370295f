//! One request from arrival to answer, and the order of its steps.
//! It must never let a step call another.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};

use super::{
    answer::{self, Answer, Problem, with},
    api, bearer,
    body::{self, Cut, Held},
    control,
    faults::ApiFault,
    listen::Site,
    oauth, random,
    received::{self, Received},
    report::MintRequest,
    world::Counted,
};

/// A request that is read, and what its answer needs.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) site: Arc<Site>,
    pub(super) head: Request<()>,
    pub(super) body: Received,
    /// `ININ-Correlation-Id` of the answer, `contextId` of its error body.
    pub(super) id: String,
}

/// The connection ends instead of an answer.
#[derive(Debug)]
pub(super) struct Hangup;

impl fmt::Display for Hangup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the simulator hangs up")
    }
}

impl std::error::Error for Hangup {}

/// Carries one request: `/_sim/` aside, every request is counted, recorded and answered here.
pub(super) async fn carry(site: Arc<Site>, request: Request<Incoming>) -> Result<Answer, Hangup> {
    if request.uri().path().starts_with("/_sim/") {
        return Ok(control::answer(&site.world, request).await);
    }
    let present = site.world.enter();
    let login = oauth::is_login(request.uri().path());
    let fault = if login { ApiFault::default() } else { meet(&site, &request) };
    let (head, body) = request.into_parts();
    let (arrived, head) = (site.world.now(), Request::from_parts(head, ()));
    let call = Call { site, head, body: Received::default(), id: random::uuid() };
    let mut visit = Visit { call, login, arrived, status: 0 };
    if !fault.early && !visit.call.body.read(&visit.call.site.world, body).await {
        return Err(Hangup);
    }
    let answer =
        if login { oauth::login(&visit.call).await? } else { faulted(&visit.call, &fault).await? };
    visit.status = answer.status().as_u16();
    Ok(finish(&visit.call, answer, present))
}

/// A call until it is over, however it ends: a client who leaves is remembered too.
#[derive(Debug)]
struct Visit {
    call: Call,
    login: bool,
    arrived: Duration,
    status: u16,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Self { call, login, arrived, status } = self;
        let at_ms = u64::try_from(arrived.as_millis()).unwrap_or(u64::MAX);
        let record = received::record(&call.head, &call.body, *status, at_ms, &call.id);
        let mint = login.then(|| MintRequest {
            at_ms,
            client: oauth::named_client(call),
            status: *status,
        });
        call.site.world.with(|state, _| match mint {
            Some(mint) => state.report.logged_in(mint, record),
            None => state.report.called(record),
        });
    }
}

/// The fault that this call meets; remembers whose token came.
fn meet(site: &Site, request: &Request<Incoming>) -> ApiFault {
    let token = received::bearer(request).map(random::fingerprint);
    let what = (request.method(), request.uri().path());
    site.world.with(|state, now| {
        if let Some(token) = token {
            state.report.saw(&token);
        }
        state.faults.meet(what, now, site.world.options.window).unwrap_or_default()
    })
}

/// The call as the fault bends it.
async fn faulted(call: &Call, fault: &ApiFault) -> Result<Answer, Hangup> {
    if fault.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    if fault.hold {
        call.site.world.hold().await;
    }
    if fault.reset {
        call.site.ending.reset();
        return Err(Hangup);
    }
    if fault.close {
        call.site.ending.close();
        return Err(Hangup);
    }
    let mut answer = match fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => failure(call, fault, status),
        None => plain(call),
    };
    let token = received::bearer(&call.head).unwrap_or_default();
    for (name, value) in &fault.headers {
        if let Ok(name) = name.parse::<HeaderName>() {
            answer = with(answer, name, &value.replace("{bearer}", token));
        }
    }
    if let Some(text) = &fault.retry_after {
        answer = with(answer, header::RETRY_AFTER, text);
    }
    Ok(match fault.truncate {
        Some(length) => cut(answer, length),
        None => answer,
    })
}

/// The answer of a fault that has a status.
fn failure(call: &Call, fault: &ApiFault, status: StatusCode) -> Answer {
    if let Some(text) = &fault.body {
        let mut answer = answer::content("text/plain", body::full(text.clone()));
        *answer.status_mut() = status;
        return answer;
    }
    let problem = match status.as_u16() {
        204 | 205 | 304 => return answer::empty(status),
        429 => {
            let seconds = fault.retry_after.as_deref().and_then(|text| text.parse().ok());
            Problem::too_many(seconds.unwrap_or(3))
        }
        _ => Problem::of(status),
    };
    match &fault.code {
        Some(code) => problem.with_code(code).answer(&call.id),
        None => problem.answer(&call.id),
    }
}

/// The call as it goes without faults: bearer, then limit, then the API.
fn plain(call: &Call) -> Answer {
    if let Some(answer) = oauth::open(call) {
        return answer;
    }
    match bearer::admit(call) {
        Ok(caller) => api::answer(call, &caller),
        Err(refusal) => refusal.answer(&call.id),
    }
}

/// The same answer, broken after `length` bytes of its body.
fn cut(answer: Answer, length: u64) -> Answer {
    answer.map(|inner| body::boxed(Cut::new(inner, length)))
}

/// What every answer has: a correlation id, no body for HEAD, a place in the count of requests in
/// flight until its last byte.
fn finish(call: &Call, mut answer: Answer, present: Counted) -> Answer {
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        answer.headers_mut().insert("inin-correlation-id", id);
    }
    if call.head.method() == Method::HEAD {
        if let Some(length) = answer.body().size_hint().exact() {
            let length = HeaderValue::from(length);
            answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length);
        }
        answer = answer.map(|_| body::full(""));
    }
    answer.map(|inner| body::boxed(Held::new(inner, present)))
}
