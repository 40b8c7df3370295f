//! A call's notes as OpenTelemetry's spans, named by its semantic conventions for HTTP.
//! It never tells more than an access line: no query, no id of a path, no header but the two ids.

use std::{borrow::Cow, time::SystemTime};

use http::Version;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::{
    Call, Trace,
    notes::{Step, Wait, What},
};
use crate::{
    decide::path,
    telemetry::{
        access_log::{End, text},
        metrics::SavedBy,
        printable::push_printable,
    },
};

/// As in access lines.
const LONGEST_METHOD: usize = 32;

/// The call's own span, then those of its steps.
pub(super) fn spans(call: Call, scope: &InstrumentationScope) -> Vec<SpanData> {
    let own = own(&call);
    let Call { trace, ended, started, .. } = call;
    let Trace { id, parent, span, shared, begun, notes, .. } = *trace;
    let at = |when: Instant| -> SystemTime { begun + when.saturating_duration_since(started) };
    let data = |(parent, span): (u64, u64), (from, until), told: Told| SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(id.to_be_bytes()),
            SpanId::from_bytes(span.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
        parent_span_is_remote: told.kind == SpanKind::Server && parent != 0,
        span_kind: told.kind,
        name: told.name,
        start_time: at(from),
        end_time: at(until),
        attributes: told.attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: told.status,
        instrumentation_scope: scope.clone(),
    };
    let method = own.method.clone();
    let mut all = vec![data((parent, span), (started, ended), own.told(shared))];
    let mut tries = 0;
    for Step { from, until, what } in notes.close(ended) {
        let (its, told) = match what {
            What::Wait(wait) => (super::new_span(), Told::internal(word(wait))),
            What::Try { span, host, ended } => {
                let told = attempt(&method, text(Some(&host)), tries, ended);
                tries += 1;
                (span, told)
            }
        };
        all.push(data((span, its), (from, until), told));
    }
    all
}

/// What a span says.
struct Told {
    name: Cow<'static, str>,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Told {
    fn internal(name: &'static str) -> Self {
        let (attributes, status) = (Vec::new(), Status::Unset);
        Self { name: name.into(), kind: SpanKind::Internal, attributes, status }
    }
}

fn word(wait: Wait) -> &'static str {
    match wait {
        Wait::Queue => "queue",
        Wait::Token => "token",
        Wait::Backoff => "backoff",
    }
}

/// What the call's own span says.
struct Own {
    method: String,
    route: String,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Own {
    fn told(self, shared: bool) -> Told {
        if shared {
            return Told { attributes: self.attributes, ..Told::internal("shared call") };
        }
        let name = format!("{} {}", self.method, self.route).into();
        let Self { attributes, status, .. } = self;
        Told { name, kind: SpanKind::Server, attributes, status }
    }
}

fn own(call: &Call) -> Own {
    let method: String = call.method.as_str().chars().take(LONGEST_METHOD).collect();
    let mut route = Vec::new();
    push_printable(&mut route, path::family(call.uri.path()));
    let route = String::from_utf8(route).unwrap_or_default();
    if call.trace.shared {
        return Own { method, route, attributes: Vec::new(), status: Status::Unset };
    }
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.clone()),
        KeyValue::new("http.route", route.clone()),
        KeyValue::new("http.response.body.size", i64::try_from(call.bytes).unwrap_or(i64::MAX)),
        KeyValue::new("genesys_proxy.caller", call.log.name(call.principal).to_string()),
        KeyValue::new("genesys_proxy.request_id", text(Some(&call.request_id)).to_owned()),
    ];
    let mut add = |name: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    let owned = |text: &str| text.to_owned();
    add("genesys_proxy.org", call.log.org().map(owned));
    let correlation = call.correlation_id.as_ref().map(|id| text(Some(id)).to_owned());
    add("genesys_proxy.correlation_id", correlation);
    add("genesys_proxy.error", call.code.map(owned));
    add("genesys_proxy.saved", call.saved.map(SavedBy::word).map(owned));
    if call.replayed {
        attributes.push(KeyValue::new("genesys_proxy.replayed", true));
    }
    let cut = (call.end == End::Cut).then_some("cut");
    let status = call.status.map(|status| status.as_u16());
    attributes
        .extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    // To a server its callers' mistakes are none of its own (semantic conventions for HTTP spans).
    let failed = status
        .filter(|status| *status >= 500)
        .map(|status| call.code.map_or_else(|| Cow::Owned(status.to_string()), Cow::Borrowed));
    let failed = failed.or_else(|| cut.map(Cow::Borrowed));
    let status = failed.as_ref().map_or(Status::Unset, |_| Status::error(""));
    attributes.extend(failed.map(|kind| KeyValue::new("error.type", kind)));
    Own { method, route, attributes, status }
}

/// One request upstream; `earlier` have gone before it.
fn attempt(method: &str, host: &str, earlier: i64, ended: super::Ended) -> Told {
    // The port of a host in brackets is behind them.
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) if !port.contains(']') => (address, port.parse::<i64>().ok()),
        Some(_) | None => (host, None),
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("server.address", address.trim_matches(['[', ']']).to_owned()),
    ];
    attributes.extend(port.map(|port| KeyValue::new("server.port", port)));
    if earlier > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", earlier));
    }
    let failed = match ended {
        Ok((status, version)) => {
            let number = i64::from(status.as_u16());
            attributes.push(KeyValue::new("http.response.status_code", number));
            let version = if version == Version::HTTP_2 { "2" } else { "1.1" };
            attributes.push(KeyValue::new("network.protocol.version", version));
            let failed = status.is_client_error() || status.is_server_error();
            failed.then(|| Cow::Owned(number.to_string()))
        }
        Err(why) => Some(Cow::Borrowed(why)),
    };
    let status = failed.as_ref().map_or(Status::Unset, |_| Status::error(""));
    attributes.extend(failed.map(|kind| KeyValue::new("error.type", kind)));
    Told { name: method.to_owned().into(), kind: SpanKind::Client, attributes, status }
}
