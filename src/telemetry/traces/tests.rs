//! What is kept, what is noted, and what spans say of it.

use http::Version;
use opentelemetry::{
    InstrumentationScope, Value,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;

use super::{spans::spans, *};
use crate::{
    config::LogFormat,
    telemetry::{access_log::Observers, callers::Names, metrics::Metrics},
};

const SECOND: Duration = Duration::from_secs(1);
const HOST: HeaderValue = HeaderValue::from_static("[::1]:9000");

fn log(traces: &Arc<Traces>) -> Arc<AccessLog> {
    let observers = Observers { traces: Some(Arc::clone(traces)), ..Observers::default() };
    let names = Names::new(["billing".to_owned()]);
    AccessLog::new(LogFormat::Text, Some("uk".into()), names, (None, None), observers)
}

fn asked(traceparent: Option<&'static str>) -> Asked {
    let lines =
        traceparent.map(|text| ("traceparent".parse().unwrap(), HeaderValue::from_static(text)));
    Asked::of(&lines.into_iter().collect())
}

fn call(log: &Arc<AccessLog>, path: &'static str, asked: &Asked) -> Box<Record> {
    let (uri, id) = (Uri::from_static(path), HeaderValue::from_static("abc"));
    let mut record = Record::begin(log, Principal::Named(0), Method::GET, uri, id);
    record.comes(Peer::Unknown, asked);
    record
}

fn all(traces: &Traces) -> Vec<SpanData> {
    let scope = InstrumentationScope::default();
    traces.fetch().into_iter().flat_map(|call| spans(call, &scope)).collect()
}

fn said(span: &SpanData, name: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.clone())
}

#[tokio::test(start_paused = true)]
async fn each_step_is_a_span_in_its_place() {
    let traces = Traces::new(1.0, Metrics::default().process);
    let mut record = call(&log(&traces), "/api/v2/users/42?name=secret", &asked(None));
    let begun = record.started();
    tokio::time::advance(SECOND).await;
    record.queued(SECOND);
    let now = Instant::now();
    tokio::time::advance(SECOND).await;
    record.waited(Wait::Token, now);
    let first = record.try_begins(&HOST).unwrap();
    tokio::time::advance(SECOND).await;
    record.try_ended(Ok((StatusCode::UNAUTHORIZED, Version::HTTP_2)));
    let second = record.try_begins(&HOST).unwrap();
    tokio::time::advance(SECOND).await;
    record.try_ended(Ok((StatusCode::OK, Version::HTTP_11)));
    assert_eq!((record.queue, record.token, begun.elapsed()), (SECOND, SECOND, SECOND * 4));
    record.status = Some(StatusCode::OK);
    (record.replayed, record.bytes, record.end) = (true, 7, End::Complete);
    drop(record);

    let spans = all(&traces);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /api/v2/users/*", "queue", "token", "GET", "GET"]);
    let [own, queue, token, tries @ ..] = &spans[..] else { unreachable!() };
    assert_eq!((&own.span_kind, own.parent_span_id), (&SpanKind::Server, SpanId::INVALID));
    assert_eq!(own.end_time.duration_since(own.start_time).unwrap(), SECOND * 4);
    let from = |span: &SpanData| span.start_time.duration_since(own.start_time).unwrap();
    let took = |span: &SpanData| span.end_time.duration_since(span.start_time).unwrap();
    for (number, span) in (0..).zip([queue, token].into_iter().chain(tries)) {
        assert_eq!((from(span), took(span)), (SECOND * number, SECOND), "{}", span.name);
        assert_eq!(span.parent_span_id, own.span_context.span_id());
        assert_eq!(span.span_context.trace_id(), own.span_context.trace_id());
    }
    for (n, (span, told)) in (0_i64..).zip(tries.iter().zip([first, second])) {
        let id = Context::parse(&told).unwrap().span;
        assert_eq!(span.span_context.span_id(), SpanId::from_bytes(id.to_be_bytes()));
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(said(span, "http.request.resend_count"), (n > 0).then_some(n.into()));
        assert_eq!(said(span, "server.address"), Some("::1".into()));
        assert_eq!(said(span, "server.port"), Some(9000.into()));
    }
    assert_eq!(said(&tries[0], "error.type"), Some("401".into()));
    assert_eq!(said(&tries[0], "network.protocol.version"), Some("2".into()));
    assert_eq!((&tries[0].status, &tries[1].status), (&Status::error(""), &Status::Unset));
    for (name, value) in [
        ("http.route", Value::from("/api/v2/users/*")),
        ("http.response.status_code", 200.into()),
        ("http.response.body.size", 7.into()),
        ("genesys_proxy.caller", "billing".into()),
        ("genesys_proxy.org", "uk".into()),
        ("genesys_proxy.request_id", "abc".into()),
        ("genesys_proxy.replayed", true.into()),
    ] {
        assert_eq!(said(own, name), Some(value), "{name}");
    }
    assert!(own.status == Status::Unset && !format!("{spans:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_left_says_so_and_so_does_its_last_try() {
    let traces = Traces::new(1.0, Metrics::default().process);
    let mut record = call(&log(&traces), "/", &asked(None));
    record.try_begins(&HeaderValue::from_static("api.mypurecloud.com"));
    drop(record);
    let spans = all(&traces);
    let errors: Vec<_> = spans.iter().map(|span| said(span, "error.type").unwrap()).collect();
    assert_eq!(errors, ["cut".into(), "cancelled".into()]);
    assert_eq!(said(&spans[1], "server.port"), None);
    assert!(spans.iter().all(|span| span.status == Status::error("")));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_a_trace_decides() {
    let of = |flag| match flag {
        1 => asked(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        _ => asked(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")),
    };
    let (none, every) =
        [0.0, 1.0].map(|share| Traces::new(share, Metrics::default().process)).into();
    drop((call(&log(&none), "/", &asked(None)), call(&log(&every), "/", &of(0))));
    assert!(all(&none).is_empty() && all(&every).is_empty());
    drop(call(&log(&none), "/", &of(1)));
    let spans = all(&none);
    let context = &spans[0].span_context;
    assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(spans[0].parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(spans[0].parent_span_is_remote);
}

#[tokio::test(start_paused = true)]
async fn strangers_who_were_refused_leave_no_spans() {
    let traces = Traces::new(1.0, Metrics::default().process);
    for (principal, refused) in [(Principal::Unknown, true), (Principal::Named(0), true)] {
        let mut record = call(&log(&traces), "/", &asked(None));
        (record.principal, record.refused) = (principal, refused);
    }
    let callers: Vec<_> =
        all(&traces).iter().map(|span| said(span, "genesys_proxy.caller").unwrap()).collect();
    assert_eq!(callers, ["billing".into()]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_out_for_several_is_below_the_one_that_came_first() {
    let traces = Traces::new(1.0, Metrics::default().process);
    let log = log(&traces);
    let first = call(&log, "/", &asked(None));
    let mut shared = call(&log, "/", &asked(None));
    shared.follow_another(&first);
    shared.try_begins(&HOST);
    drop((shared, first));
    let spans = all(&traces);
    let [shared, attempt, first] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*shared.name, &shared.span_kind), ("shared call", &SpanKind::Internal));
    assert_eq!(shared.parent_span_id, first.span_context.span_id());
    assert_eq!(attempt.parent_span_id, shared.span_context.span_id());
    assert!(shared.attributes.is_empty() && !shared.parent_span_is_remote);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_loses_what_comes_and_counts_it_and_so_does_a_closed_one() {
    let metrics = Metrics::default();
    let traces = Traces::new(1.0, metrics.process.clone());
    let log = log(&traces);
    for _ in 0..MOST + 3 {
        drop(call(&log, "/", &asked(None)));
    }
    let lost = |count| metrics.render().contains(&format!("traces_lost_total {count}\n"));
    assert!(lost(3));
    assert_eq!(traces.fetch().len(), MOST);
    drop(call(&log, "/", &asked(None)));
    assert_eq!(traces.close().len(), 1);
    drop(call(&log, "/", &asked(None)));
    assert!(lost(4) && traces.fetch().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_turned_away_over_and_over_notes_its_first_steps() {
    let traces = Traces::new(1.0, Metrics::default().process);
    let mut record = call(&log(&traces), "/", &asked(None));
    for _ in 0..1000 {
        let now = Instant::now();
        record.waited(Wait::Queue, now);
        tokio::time::advance(Duration::from_micros(100)).await;
        record.waited(Wait::Queue, now);
    }
    drop(record);
    assert_eq!(all(&traces).len(), 65);
}

#[test]
fn what_is_written_is_read_again() {
    for sampled in [true, false] {
        let context = Context { trace: new_trace(), span: new_span(), sampled };
        let text = write(context.trace, context.span, sampled);
        assert_eq!(Context::parse(&text), Some(context));
    }
}
