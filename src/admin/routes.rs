//! Which page or action is asked for, and who may ask.
//! It never answers who names it as somebody else: that is how a web page would reach it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    actions::{Action, Outcome},
    content, dashboard,
    history::History,
    key::{self, Refusal},
    metrics, of_admin, ready, text,
};
use crate::{
    config::KeyDigest,
    gateway::{Shared, guard::Guard},
    store::Link,
    telemetry::{errors::Errors, seldom::Seldom},
};

/// What describes `/api`, for tools.
const OPENAPI: &str = include_str!("openapi.json");
const JSON: &str = "application/json";
/// An action needs few words.
const LARGEST_BODY: usize = 4 * 1024;
/// And they come at once.
const BODY: Duration = Duration::from_secs(5);

/// What answers are made of.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) all: Arc<[Arc<Shared>]>,
    pub(super) guard: Guard,
    pub(super) store: Option<Arc<Link>>,
    pub(super) draining: CancellationToken,
    /// Cancelled when somebody asks for the end: a drain as SIGTERM begins it, and no signal, so that the
    /// first one that follows cuts nothing.
    pub(super) end: CancellationToken,
    pub(super) errors: Arc<Errors>,
    pub(super) history: Arc<History>,
    pub(super) started: Instant,
    /// What actions take.
    pub(super) key: Option<KeyDigest>,
    /// Wrong keys: strangers may show many.
    pub(super) refused: Arc<Seldom>,
    pub(super) address: SocketAddr,
}

/// An answer, and whether the process ends once it is told.
pub(super) struct Answer {
    pub(super) response: Response<Full<Bytes>>,
    pub(super) ends: bool,
}

/// What there is to see.
#[derive(Debug, Clone, Copy)]
enum Page {
    Dashboard,
    Health,
    Readiness,
    Metrics,
    Status,
    OpenApi,
}

/// For people: no tool asks for it.
const DASHBOARD: &str = "/";
/// Where each is.
const PAGES: [(&str, Page); 6] = [
    (DASHBOARD, Page::Dashboard),
    ("/healthz", Page::Health),
    ("/readyz", Page::Readiness),
    ("/metrics", Page::Metrics),
    ("/api/status", Page::Status),
    ("/api/openapi.json", Page::OpenApi),
];
const ACTIONS: [(&str, Action); 6] = [
    ("/api/tokens/refresh", Action::Refresh),
    ("/api/tokens/invalidate", Action::Invalidate),
    ("/api/callers/pause", Action::Pause),
    ("/api/callers/resume", Action::Resume),
    ("/api/drain", Action::Drain),
    ("/api/log", Action::Log),
];

impl Answers {
    /// The same, of a configuration that was read again.
    pub(super) fn renewed(&self, all: Arc<[Arc<Shared>]>) -> Self {
        let config = all.first().map(|first| &first.config);
        let guard = config.map(|config| of_admin(self.address, &config.access));
        Self {
            guard: guard.unwrap_or_else(|| self.guard.clone()),
            key: config.and_then(|config| config.admin_key),
            all,
            ..self.clone()
        }
    }

    /// One answer to `peer`.
    pub(super) async fn to(&self, peer: SocketAddr, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        if let Err(failure) = self.guard.pass_alone(&parts) {
            return text(failure.facts().status, failure.facts().message).into();
        }
        let path = parts.uri.path();
        if let Some((_, action)) = ACTIONS.iter().find(|(known, _)| *known == path) {
            return if parts.method == Method::POST {
                self.action(*action, peer, &parts, body).await
            } else {
                only("POST").into()
            };
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return only("GET, HEAD").into();
        }
        match PAGES.iter().find(|(known, _)| *known == path) {
            Some((_, page)) => self.page(*page).into(),
            None => {
                text(404, "only /, /healthz, /readyz, /metrics, /api/status and /api/openapi.json")
                    .into()
            }
        }
    }

    async fn action(
        &self,
        action: Action,
        peer: SocketAddr,
        parts: &Parts,
        body: Incoming,
    ) -> Answer {
        if let Err(refusal) = key::authorize(self.key.as_ref(), &parts.headers) {
            return self.unauthorized(refusal, peer).into();
        }
        let whole = tokio::time::timeout(BODY, Limited::new(body, LARGEST_BODY).collect());
        let body = match whole.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return refuse(413, "the body is larger than 4 KiB").into();
            }
            Ok(Err(_)) | Err(_) => return refuse(400, "the body did not come whole").into(),
        };
        match self.act(action, peer, &body) {
            Outcome::Done(what) => told(200, "done", &what).into(),
            Outcome::Begun(what) => told(202, "done", &what).into(),
            Outcome::Ends => Answer {
                response: told(202, "done", "no new connections; the process ends with its calls"),
                ends: true,
            },
            Outcome::Misread(why) => refuse(400, &why).into(),
            Outcome::Unknown(what) => refuse(404, &what).into(),
        }
    }

    fn unauthorized(&self, refusal: Refusal, peer: SocketAddr) -> Response<Full<Bytes>> {
        match refusal {
            Refusal::NoneConfigured => {
                refuse(403, "actions take a key: set admin_key_file or admin_key_sha256")
            }
            Refusal::Unknown => {
                if let Some(left_out) = self.refused.say(Instant::now()) {
                    tracing::warn!(%peer, left_out, "admin: an action without the key is refused");
                }
                let mut response = refuse(401, "show the key in X-Api-Key, or as a Bearer token");
                let challenge = HeaderValue::from_static("Bearer realm=\"genesys-proxy admin\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
        }
    }

    fn page(&self, page: Page) -> Response<Full<Bytes>> {
        match page {
            Page::Dashboard => dashboard::page(),
            Page::Health => text(200, "ok"),
            Page::Readiness => {
                let draining = self.draining.is_cancelled();
                let (status, line) =
                    ready::ready(&self.all, self.store.as_deref(), draining).told();
                text(status, &line)
            }
            Page::Metrics => metrics(&self.all),
            Page::Status => fresh(200, serde_json::to_string(&self.status()).unwrap_or_default()),
            Page::OpenApi => content(200, JSON, OPENAPI.to_owned()),
        }
    }
}

impl From<Response<Full<Bytes>>> for Answer {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self { response, ends: false }
    }
}

/// RFC 9110 section 15.5.6: a 405 names what is allowed.
fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(405, &format!("only {methods}"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn refuse(status: u16, message: &str) -> Response<Full<Bytes>> {
    told(status, "message", message)
}

fn told(status: u16, name: &str, what: &str) -> Response<Full<Bytes>> {
    fresh(status, json!({ name: what }).to_string())
}

/// JSON that is true now and not later.
fn fresh(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = content(status, JSON, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_describes_each_page_and_action_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = document["paths"].as_object().unwrap().iter();
        let described: BTreeSet<_> = described
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (&**path, &**method))
            })
            .collect();
        let actions = ACTIONS.iter().map(|(path, _)| (*path, "post"));
        let pages = PAGES.iter().filter(|(path, _)| *path != DASHBOARD);
        assert_eq!(described, pages.map(|(path, _)| (*path, "get")).chain(actions).collect());
    }
}
