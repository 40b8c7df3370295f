//! One request, top to bottom: guard, identify, authorize, admit, credential, forward, recover, respond.
//! It is the only place that knows the order of the steps.

pub mod admit;
pub mod authorize;
pub mod credential;
pub mod forbidden;
pub mod forward;
pub mod guard;
pub mod identify;
pub mod interim;
pub mod login;
pub mod recover;
pub mod respond;
pub mod said;
pub mod saving;
pub mod tunnel;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request::Parts};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::SemaphorePermit, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    decide::{
        asked::Asked,
        failure::Failure,
        headers,
        pages::{self, Page},
        queue::Ticket,
    },
    telemetry::{
        access_log::{AccessLog, Record},
        audit::Audit,
        metrics::Metrics,
    },
    token::pool as tokens,
    upstream::{
        deadline::Deadlines,
        pool::Pool,
        replay::{Limits, Memory, Replay},
        unbroken::Unbroken,
    },
};
use admit::{Admission, Asker, Asking, Desk, Permit};
use credential::Head;
use forward::Patience;
use guard::Guard;
use identify::{Callers, Connected, Identity};
use interim::Interim;
use recover::{Call, Recovered, Retries};
use respond::AnswerBody;
use said::Said;
use saving::{Errand, Saved, Saving, Step};

/// A caller may not hold a place in line longer than this, whatever `Prefer: wait` says.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The organisation's; `None`: the first.
    pub name: Option<Box<str>>,
    /// As checked at start-up.
    pub config: Config,
    /// The tokens.
    pub tokens: tokens::Pool,
    /// Counted here, shown by the admin listener.
    pub metrics: Arc<Metrics>,
    /// The budgets and their line.
    pub admission: Arc<Admission>,
    /// What pays for retries.
    pub retries: Arc<Retries>,
    /// What several calls share; `None` when nothing is to be saved.
    pub saving: Option<Arc<Saving>>,
    /// Of all replay copies.
    pub memory: Arc<Memory>,
    /// What was logged lately.
    pub said: Arc<Said>,
    /// Where calls are recorded, if anywhere.
    pub audit: Option<Audit>,
    /// What is let in.
    pub guard: Guard,
    /// Who calls, and what each is granted.
    pub callers: Callers,
    /// Tunnels, which a drain waits for.
    pub tunnels: TaskTracker,
    /// The end of a drain: what is still open is cut.
    pub cut: CancellationToken,
}

/// One worker's gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Connections to `api.<domain>`.
    pub api: Arc<Pool>,
    /// Connections to `apps.<domain>`.
    pub apps: Arc<Pool>,
    /// This worker's lines.
    pub log: Arc<AccessLog>,
    /// This worker's slice of the budget.
    pub desk: Arc<Desk>,
    /// This worker's deadlines.
    pub deadlines: Arc<Deadlines>,
    /// Calls that go out for several callers: a drain waits for them as for connections.
    pub tasks: TaskTracker,
}

/// What a connection tells about its requests.
#[derive(Debug)]
pub struct Caller {
    /// Who has connected, before anybody is asked who that is.
    pub connected: Connected,
    /// Where 1xx for this connection go.
    pub interim: Interim,
    /// Its place among `access.max_connections`, until it and a tunnel out of it have ended.
    _place: Place,
}

/// What a connection holds while it lasts, given back when dropped.
pub type Place = Box<dyn fmt::Debug + Send + Sync>;

impl Caller {
    /// A connection that has a place.
    pub fn new(place: Place, connected: Connected) -> Self {
        Self { connected, interim: Interim::default(), _place: place }
    }

    /// The only one, for tests.
    #[cfg(test)]
    pub fn alone() -> Self {
        Self::new(Box::new(()), Connected::unknown())
    }
}

/// A request body larger than this is not waited for when its request is refused.
const SMALL: u64 = 16 * 1024;

fn is_large(body: &Unbroken) -> bool {
    body.size_hint().upper().is_none_or(|most| most > SMALL)
}

/// An answer: upstream's as it comes, one in memory, or our own.
enum Carried {
    Upstream(Recovered),
    Saved(Box<Saved>),
    Reply(login::Reply),
    /// What a browser may send.
    Preflight(Box<HeaderMap>),
}

/// A request that is in order, and for whom it is.
enum Guarded {
    /// To be sent.
    Call(Passed),
    /// To be sent, if its caller's token is what it seems.
    Unverified(Box<(Parts, Asked, SecretString)>),
    /// For the gateway itself.
    Ours(Box<login::Request>),
    /// A browser asks first; nobody else is asked.
    Preflight(Box<HeaderMap>),
}

/// A request that may pass. Small, because it is moved from step to step.
struct Passed {
    head: Box<Head>,
    asker: Asker,
    wait: Option<u64>,
    upgrade: Option<OnUpgrade>,
    interim: Option<Arc<Caller>>,
}

impl Gateway {
    /// Every request gets an answer. A block, because an `async fn` would hold the request twice.
    pub fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        caller: &Arc<Caller>,
    ) -> impl Future<Output = Response<AnswerBody>> {
        let (parts, body) = request.into_parts();
        let body = Unbroken::new(body, parts.version);
        let mut asked = Asked::of(&parts.headers);
        let request_id = credential::request_id(&mut asked);
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let unread = is_large(&body);
        let connected = self.shared.callers.connected(&caller.connected);
        let mut record = Record::begin(&self.log, connected, method, uri, request_id);
        record.comes(caller.connected.peer, &asked);
        let page = self.shared.guard.pages().of(&asked);
        let guarded = if record.must_not_pass() {
            Err(Failure::AuditUnavailable)
        } else {
            self.guard(parts, asked, &page, caller, &mut record)
        };
        async move {
            let mut answer = match self.carry(guarded, body, caller, &mut record).await {
                Ok(Carried::Saved(saved)) => {
                    let limited = self.shared.config.rate_limit.requests_per_minute.is_some();
                    respond::saved(*saved, record, &self.shared.said, limited)
                }
                Ok(Carried::Reply(reply)) => respond::reply(reply, record),
                Ok(Carried::Upstream(answer)) => {
                    let patience = self.patient(self.shared.config.upstream.idle_timeout);
                    respond::pass(answer, record, &self.shared.said, patience)
                }
                Ok(Carried::Preflight(allowed)) => respond::preflight(*allowed, unread, record),
                Err(failure) => respond::refuse(failure, unread, record),
            };
            self.shared.guard.pages().tell(&page, answer.headers_mut());
            answer
        }
    }

    async fn carry(
        self: &Arc<Self>,
        guarded: Result<Guarded, Failure>,
        body: Unbroken,
        caller: &Arc<Caller>,
        record: &mut Record,
    ) -> Result<Carried, Failure> {
        let passed = match guarded? {
            Guarded::Call(passed) => passed,
            Guarded::Unverified(call) => Box::pin(self.verify(*call, caller, record)).await?,
            Guarded::Ours(asked) => {
                let reply = Box::pin(self.reply(*asked, body, record)).await?;
                return Ok(Carried::Reply(reply));
            }
            Guarded::Preflight(allowed) => return Ok(Carried::Preflight(allowed)),
        };
        let Passed { mut head, asker, wait, upgrade, interim } = passed;
        let deadline = record.started() + self.patience(&asker, wait);
        if let Some(wish) = self.wish(&head, &body) {
            let errand = Errand { head, asker, deadline, ticket: None };
            match Box::pin(self.save(wish, errand, record)).await? {
                Step::Send(back) => head = back,
                Step::Streamed(answer) => return Ok(Carried::Upstream(answer)),
                Step::Saved(saved) => return Ok(Carried::Saved(saved)),
            }
        }
        let permit = self.admit(&head, asker, deadline, None, record).await?;
        let written = self.shared.saving.as_ref().and_then(|saving| saving.write(&head));
        let wanted = head.upgrade;
        let body = self.keep(body);
        let call = Call { asker, head, body, deadline, interim, shared: None };
        let mut recovered = self.recover(call, permit, record).await?;
        if let Some(written) = written {
            written.answered(recovered.answer.parts.status, record.attempts);
        }
        if recovered.answer.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade.filter(|_| wanted) else { return Err(Failure::BadAnswer) };
            let Shared { tunnels, cut, .. } = &*self.shared;
            let caller = Arc::clone(caller);
            tunnel::join(upgrade, &mut recovered.answer, tunnels, cut.clone(), caller);
        }
        Ok(Carried::Upstream(recovered))
    }

    /// Refuses what must not pass; finds out who calls, and whether they may.
    fn guard(
        &self,
        mut parts: Parts,
        asked: Asked,
        page: &Page,
        caller: &Arc<Caller>,
        record: &mut Record,
    ) -> Result<Guarded, Failure> {
        let Shared { callers, guard, .. } = &*self.shared;
        guard.pass(&parts, &asked, page)?;
        // Before anybody is asked who they are: a browser asks in nobody's name.
        if asked.browser.preflight && parts.method == Method::OPTIONS && page.is_listed() {
            return pages::preflight(&parts.headers).map(Box::new).map(Guarded::Preflight);
        }
        guard.pages().withhold(page, &mut parts.headers);
        if let Some(ours) = login::Request::of(&parts, &asked) {
            return Ok(Guarded::Ours(Box::new(ours)));
        }
        record.principal = match callers.identify(record.principal, &asked)? {
            Identity::Known(principal) => principal,
            Identity::Unverified(token) => {
                let token = token.into();
                return Ok(Guarded::Unverified(Box::new((parts, asked, token))));
            }
        };
        self.authorize(parts, &asked, caller, record).map(Guarded::Call)
    }

    /// The rest of `guard`, for a token that only its provider can vouch for.
    async fn verify(
        &self,
        (parts, asked, token): (Parts, Asked, SecretString),
        caller: &Arc<Caller>,
        record: &mut Record,
    ) -> Result<Passed, Failure> {
        let verified = self.shared.callers.verify(record.principal, token.expose_secret());
        record.principal = verified.await?;
        self.authorize(parts, &asked, caller, record)
    }

    fn authorize(
        &self,
        mut parts: Parts,
        asked: &Asked,
        caller: &Arc<Caller>,
        record: &mut Record,
    ) -> Result<Passed, Failure> {
        let Shared { callers, config, said, .. } = &*self.shared;
        let (principal, path) = (record.principal, parts.uri.path());
        let tunnel = asked.websocket();
        let call = authorize::Call { principal, method: &parts.method, path, tunnel };
        authorize::authorize(&call, &config.access.deny, callers, said, record)?;
        self.shared.admission.not_paused(principal)?;
        if callers.have_keys() {
            headers::withhold_key(&mut parts.headers);
        }
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let interim = (parts.version == Version::HTTP_11).then(|| Arc::clone(caller));
        let head = Head::new(parts, asked, &record.request_id, record.traceparent(asked));
        let of = Asker { principal, urgency: asked.urgency };
        Ok(Passed { head: Box::new(head), asker: of, wait: asked.wait, upgrade, interim })
    }

    /// Room for a stranger's form, until it is known or refused.
    fn asked(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.shared.callers.asked.try_acquire().map_err(|_| Failure::CallersCrowd)
    }

    /// Answers what is asked of the gateway itself.
    async fn reply(
        &self,
        asked: login::Request,
        body: Unbroken,
        record: &mut Record,
    ) -> Result<login::Reply, Failure> {
        let Shared { callers, config, .. } = &*self.shared;
        // A form may never end; the rest is answered at once.
        let _asked = match &asked {
            login::Request::Token { .. } => Some(self.asked()?),
            login::Request::Me { .. } => None,
        };
        let reply = login::answer(asked, body, callers, config.access.header_timeout).await?;
        record.principal = reply.principal.unwrap_or(record.principal);
        Ok(reply)
    }

    async fn admit(
        &self,
        head: &Head,
        asker: Asker,
        deadline: Instant,
        ticket: Option<Ticket>,
        record: &mut Record,
    ) -> Result<Permit, Failure> {
        let Head { method, path: target, .. } = head;
        let asking = Asking { asker, method, target, deadline };
        let now = record.started();
        let turn = match ticket {
            None => self.desk.admit(now, &asking).await,
            Some(_) => Box::pin(self.shared.admission.admit(now, &asking, ticket)).await,
        };
        match turn {
            Ok(permit) => {
                record.queued(permit.waited);
                record.standing = permit.standing;
                Ok(permit)
            }
            Err(away) => {
                record.queued(record.started().elapsed());
                record.standing = away.standing;
                Err(away.failure)
            }
        }
    }

    fn keep(&self, body: Unbroken) -> Replay {
        let Config { replay, access, .. } = &self.shared.config;
        let limits = Limits { memory: replay.memory_per_request, total: replay.per_request };
        Replay::new(body, limits, &self.shared.memory, access.body_timeout)
    }

    /// A patience with upstream.
    fn patient(&self, timeout: Duration) -> Patience<'_> {
        Patience { deadlines: &self.deadlines, timeout }
    }

    /// What the caller prefers for this call, else its own `max_wait`, else everybody's.
    fn patience(&self, asker: &Asker, preferred: Option<u64>) -> Duration {
        if let Some(seconds) = preferred {
            return Duration::from_secs(seconds).min(MAX_WAIT);
        }
        let own = self.shared.callers.granted().terms(asker.principal).max_wait;
        own.unwrap_or(self.shared.config.rate_limit.max_wait)
    }
}
