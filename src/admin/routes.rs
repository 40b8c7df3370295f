//! Which page is asked for, and who may ask.
//! It never answers who names it as somebody else: that is how a web page would reach it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{content, history::History, metrics, ready, text};
use crate::{
    gateway::{Shared, guard::Guard},
    store::Link,
    telemetry::errors::Errors,
};

/// What describes `/api`, for tools.
const OPENAPI: &str = include_str!("openapi.json");
const JSON: &str = "application/json";

/// What answers are made of.
pub(super) struct Answers {
    pub(super) all: Arc<[Arc<Shared>]>,
    pub(super) guard: Guard,
    pub(super) store: Option<Arc<Link>>,
    pub(super) draining: CancellationToken,
    pub(super) errors: Arc<Errors>,
    pub(super) history: History,
    pub(super) started: Instant,
}

/// What there is to see.
#[derive(Debug, Clone, Copy)]
enum Page {
    Health,
    Readiness,
    Metrics,
    Status,
    OpenApi,
}

/// Where each is.
const PAGES: [(&str, Page); 5] = [
    ("/healthz", Page::Health),
    ("/readyz", Page::Readiness),
    ("/metrics", Page::Metrics),
    ("/api/status", Page::Status),
    ("/api/openapi.json", Page::OpenApi),
];

impl Answers {
    /// One answer.
    pub(super) fn to(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, _) = request.into_parts();
        if let Err(failure) = self.guard.pass_alone(&parts) {
            return text(failure.facts().status, failure.facts().message);
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return text(405, "only GET");
        }
        match PAGES.iter().find(|(path, _)| *path == parts.uri.path()) {
            Some((_, page)) => self.page(*page),
            None => {
                text(404, "only /healthz, /readyz, /metrics, /api/status and /api/openapi.json")
            }
        }
    }

    fn page(&self, page: Page) -> Response<Full<Bytes>> {
        match page {
            Page::Health => text(200, "ok"),
            Page::Readiness => {
                let draining = self.draining.is_cancelled();
                let (status, line) =
                    ready::ready(&self.all, self.store.as_deref(), draining).told();
                text(status, &line)
            }
            Page::Metrics => metrics(&self.all),
            Page::Status => fresh(serde_json::to_string(&self.status()).unwrap_or_default()),
            Page::OpenApi => content(200, JSON, OPENAPI.to_owned()),
        }
    }
}

/// JSON that is true now and not later.
fn fresh(body: String) -> Response<Full<Bytes>> {
    let mut response = content(200, JSON, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_describes_each_page_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = document["paths"].as_object().unwrap().iter();
        let described: BTreeSet<_> = described
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (&**path, &**method))
            })
            .collect();
        assert_eq!(described, PAGES.iter().map(|(path, _)| (*path, "get")).collect());
    }
}
