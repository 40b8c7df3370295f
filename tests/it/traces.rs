//! Each call's spans reach a collector, as the official protocol reads them; and no call waits for it.

use http::Method;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Answer, NO_LIMIT, World, assert_all, at_once,
    collector::{Collector, Mood, said},
    gateway::{ADMIN, PATIENCE},
    planted::{given_away, planted},
    unlimited,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn world(collector: &Collector, share: f64, more: &str) -> World {
    let toml = format!("{NO_LIMIT}\n{}{more}", collector.telemetry(share));
    World::with_env(unlimited(), &toml, &[ADMIN]).await
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn of(span: &Span, name: &str) -> Option<String> {
    said(&span.attributes, name)
}

/// How many calls' spans were `delivered` or `lost`, once there are so many.
async fn counted(world: &World, what: &str, least: u64) -> u64 {
    let name = format!("genesys_proxy_traces_{what}_total ");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = world.gateway.admin("/metrics").await;
        let count = page.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        let count = count.parse().unwrap();
        if count >= least {
            return count;
        }
        assert!(Instant::now() < deadline, "{page}");
    }
}

/// What upstream got as `traceparent`, by an echo.
fn told(echo: &Answer) -> String {
    let fields: Vec<(String, String)> =
        serde_json::from_value(echo.json()["headers"].clone()).unwrap();
    let mut traces = fields.into_iter().filter(|(name, _)| name == "traceparent");
    let (Some((_, trace)), None) = (traces.next(), traces.next()) else { panic!("{echo:?}") };
    trace
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_call_is_one_trace_from_its_caller_to_each_try() {
    let collector = Collector::new().await;
    let world = world(&collector, 0.0, "").await;
    assert_eq!(world.get(ME).await.status(), 200);
    world.faults(json!({"token": "slow:50"}));
    world.genesys.revoke();
    let request = world.request(Method::GET, &format!("{ECHO}?name=x"));
    let answer = world.answer(request.header("traceparent", PARENT)).await;
    assert_eq!(answer.status, 200);

    let spans = collector.spans(4).await;
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /api/v2/echo", "GET", "token", "GET"], "and not the first call");
    let own = &spans[0];
    assert_eq!(
        (own.kind(), hex(&own.parent_span_id)),
        (SpanKind::Server, "00f067aa0ba902b7".into())
    );
    for span in &spans {
        assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        let within = own.start_time_unix_nano..=own.end_time_unix_nano;
        assert!(within.contains(&span.start_time_unix_nano), "{span:?}");
        assert!(within.contains(&span.end_time_unix_nano), "{span:?}");
    }
    for span in &spans[1..] {
        assert_eq!(span.parent_span_id, own.span_id);
    }
    assert_eq!(of(own, "genesys_proxy.replayed").as_deref(), Some("true"));
    let tries = named(&spans, "GET");
    let statuses: Vec<_> = tries.iter().map(|span| of(span, "http.response.status_code")).collect();
    assert_eq!(statuses, [Some("401".to_owned()), Some("200".to_owned())]);
    assert_eq!(told(&answer), format!("{}{}-01", &PARENT[..36], hex(&tries[1].span_id)));
    assert_eq!(
        of(own, "genesys_proxy.correlation_id").as_deref(),
        Some(answer.header("inin-correlation-id"))
    );

    let got = collector.got();
    for (name, value) in
        [("service.name", "genesys-proxy"), ("service.version", env!("CARGO_PKG_VERSION"))]
    {
        assert_eq!(said(&got.resource, name).as_deref(), Some(value));
    }
    assert_eq!(counted(&world, "delivered", 1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_begins_here_the_share_is_kept_and_upstream_is_told_which() {
    let collector = Collector::new().await;
    let world = world(&collector, 0.25, "").await;
    let mut told = Vec::new();
    for _ in 0..200 {
        told.push(self::told(&world.answer(world.request(Method::GET, ECHO)).await));
    }
    let kept: Vec<_> = told.iter().filter(|told| told.ends_with("-01")).collect();
    // Less likely than one in 10^9 beyond.
    assert!((15..=90).contains(&kept.len()), "{}", kept.len());
    let spans = collector.spans(kept.len() * 2).await;
    assert_eq!(spans.len(), kept.len() * 2);
    let traced = |told: &str| spans.iter().any(|span| hex(&span.trace_id) == told[3..35]);
    assert!(told.iter().all(|told| traced(told) == told.ends_with("-01")));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_in_line_and_for_upstream_is_told_apart_and_a_refusal_is_no_error_of_ours() {
    let collector = Collector::new().await;
    let limit =
        "[rate_limit]\nrequests_per_minute = 2\nwindow = \"1s\"\nreserve = 0\nmax_wait = \"20s\"\n";
    let toml = format!("{limit}{}", collector.telemetry(1.0));
    let world = World::with_env(unlimited(), &toml, &[ADMIN]).await;
    let answers = at_once((0..5).map(|_| world.request(Method::GET, ECHO))).await;
    assert_all(&answers, 200);
    world.faults(json!({"api": [{"match": ECHO, "status": 503, "times": 1, "retry_after": "1"}]}));
    assert_eq!(world.get(ECHO).await.status(), 200);
    let refused = world.request(Method::GET, ECHO).header("host", "elsewhere.example");
    assert_eq!(world.answer(refused).await.status, 421);

    let done = |spans: &[Span]| {
        named(spans, "backoff").len() == 1 && named(spans, "GET /api/v2/echo").len() == 6
    };
    let spans = collector.until(|got| done(&got.spans)).await.spans;
    let queued = named(&spans, "queue");
    assert!(queued.len() >= 3, "{queued:?}");
    assert!(
        queued.iter().any(|span| span.end_time_unix_nano - span.start_time_unix_nano > 300_000_000)
    );
    let failed =
        spans.iter().find(|span| of(span, "error.type").as_deref() == Some("503")).unwrap();
    assert_eq!((failed.kind(), failed.status.as_ref().unwrap().code), (SpanKind::Client, 2));
    let again = named(&spans, "GET")
        .into_iter()
        .find(|span| of(span, "http.request.resend_count").is_some());
    assert_eq!(again.unwrap().parent_span_id, failed.parent_span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_several_is_below_the_first_and_the_others_say_whose_answer_they_got() {
    let collector = Collector::new().await;
    let saving = "[saving]\ncoalesce = [\"GET /api/v2/**\"]\n";
    let world = world(&collector, 1.0, saving).await;
    world.faults(json!({"api": [{"match": ECHO, "delay_ms": 300, "times": 1}]}));
    let answers = at_once((0..4).map(|_| world.request(Method::GET, ECHO))).await;
    assert_all(&answers, 200);
    let calls = world.records(ECHO).len();
    let count = 4 + 2 * calls;
    let spans = collector.spans(count).await;
    let (own, shared) = (named(&spans, "GET /api/v2/echo"), named(&spans, "shared call"));
    assert_eq!((own.len(), shared.len(), named(&spans, "GET").len()), (4, calls, calls));
    let saved =
        own.iter().filter(|span| of(span, "genesys_proxy.saved").as_deref() == Some("coalesced"));
    assert_eq!(saved.count(), 4 - calls);
    for shared in shared {
        assert!(
            own.iter()
                .any(|own| own.span_id == shared.parent_span_id && own.trace_id == shared.trace_id)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_for_a_collector_that_is_away_slow_or_refuses() {
    let collector = Collector::new().await;
    let world = world(&collector, 1.0, "").await;
    for mood in [Mood::Refuses(400), Mood::Holds] {
        collector.is(mood);
        let before = collector.got().requests;
        assert_eq!(world.get(ME).await.status(), 200);
        collector.until(|got| got.requests > before).await;
        // While one batch is on its way, calls go on.
        for _ in 0..20 {
            assert_eq!(world.get(ME).await.status(), 200);
        }
    }
    world.gateway.logged("traces were not delivered and are lost: is an OTLP/HTTP collector").await;
    counted(&world, "lost", 1).await;
    let held = Instant::now();
    collector.is(Mood::Takes);
    assert_eq!(world.get(ME).await.status(), 200);
    collector.until(|got| !got.spans.is_empty()).await;
    assert!(held.elapsed() < PATIENCE, "what is held is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_goes_out_at_the_end_and_a_deaf_collector_does_not_hold_it_up() {
    for (mood, delivered) in [(Mood::Takes, true), (Mood::Holds, false)] {
        let collector = Collector::new().await;
        let mut world = world(&collector, 1.0, "").await;
        collector.is(mood);
        for _ in 0..30 {
            assert_eq!(world.get(ME).await.status(), 200);
        }
        world.gateway.signal("TERM");
        assert_eq!(world.gateway.wait().code(), Some(0), "{}", world.gateway.log());
        assert_eq!(collector.got().spans.len(), if delivered { 60 } else { 0 });
        let late = world.gateway.log().contains("the last traces were not delivered in time");
        assert_eq!(late, !delivered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_hold_no_secret_and_what_the_collector_wants_to_see_is_not_logged() {
    let collector = Collector::new().await;
    let key = planted("collector-key");
    let toml = format!("{NO_LIMIT}\n{}log = \"trace\"\n", collector.telemetry(1.0));
    let headers = format!("authorization=Bearer%20{key}");
    let env = [ADMIN, ("OTEL_EXPORTER_OTLP_HEADERS", &*headers), ("OTEL_SERVICE_NAME", "egress")];
    let world = World::with_env(unlimited(), &toml, &env).await;
    let path = format!(
        "{ECHO}/{}?q={}",
        planted("path-that-is-so-long-that-it-is-an-id-of-some-sort"),
        planted("query")
    );
    let request = world
        .request(Method::POST, &path)
        .header("cookie", planted("cookie"))
        .header("tracestate", format!("vendor={}", planted("state")))
        .header("x-custom", planted("field"))
        .body(planted("body"));
    assert_eq!(world.answer(request).await.status, 200);
    let got = collector.until(|got| got.spans.len() >= 2).await;
    assert_eq!(given_away(&format!("{:?}", got.spans)), None);
    assert_eq!(got.fields["authorization"], format!("Bearer {key}"));
    assert_eq!(said(&got.resource, "service.name").as_deref(), Some("egress"));
}
