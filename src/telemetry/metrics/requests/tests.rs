//! What the page says of requests, and that nobody makes it long.

use std::net::Ipv4Addr;

use http::{HeaderValue, Method, StatusCode};

use super::*;
use crate::{
    config::LogFormat,
    decide::callers::Principal,
    telemetry::{
        access_log::{AccessLog, End, Observers, Record},
        metrics::{Metrics, SavedBy},
    },
};

fn log(metrics: &Metrics, names: &[&str]) -> Arc<AccessLog> {
    let names = Names::new(names.iter().map(|name| (*name).to_owned()));
    let tally = metrics.worker(&names, std::iter::empty());
    AccessLog::new(
        LogFormat::Text,
        None,
        names,
        (None, None),
        Observers { tally: Some(tally), ..Observers::default() },
    )
}

fn request(log: &Arc<AccessLog>, caller: Principal, path: &str) -> Box<Record> {
    let id = HeaderValue::from_static("id");
    let mut record = Record::begin(log, caller, Method::GET, path.parse().unwrap(), id);
    (record.status, record.attempts) = (Some(StatusCode::OK), 1);
    record.end = End::Complete;
    record
}

fn has(page: &str, line: &str) {
    assert!(page.lines().any(|of_page| of_page == line), "{line}\n{page}");
}

#[test]
fn each_request_counts_for_its_caller_family_status_and_end_though_no_line_is_logged() {
    let metrics = Metrics::default();
    let log = log(&metrics, &["billing", "crm"]);
    let (billing, crm) = (Principal::Named(0), Principal::Named(1));
    drop(request(&log, billing, "/api/v2/users/42?name=hush"));
    let mut limited = request(&log, crm, "/api/v2/users/42");
    (limited.status, limited.attempts) = (Some(StatusCode::TOO_MANY_REQUESTS), 0);
    (limited.code, limited.refused) = (Some("proxy.rate.limited"), true);
    drop(limited);
    let mut failed = request(&log, crm, "/api/v2/users/42");
    (failed.status, failed.code) = (Some(StatusCode::BAD_GATEWAY), Some("proxy.upstream.broken"));
    (failed.attempts, failed.replayed) = (3, true);
    drop(failed);
    let mut saved = request(&log, billing, "/api/v2/users/42");
    (saved.saved, saved.attempts) = (Some(SavedBy::cached), 0);
    drop(saved);
    let mut login = request(&log, billing, "/oauth/token");
    login.attempts = 0;
    drop(login);
    let mut cut = request(&log, billing, "/api/v2/users/42");
    (cut.status, cut.end) = (None, End::Cut);
    drop(cut);
    let page = metrics.render();
    for line in [
        "genesys_proxy_requests_total{caller=\"billing\",outcome=\"answered\",status=\"2xx\"} 1",
        "genesys_proxy_requests_total{caller=\"billing\",outcome=\"saved\",status=\"2xx\"} 1",
        "genesys_proxy_requests_total{caller=\"billing\",outcome=\"local\",status=\"2xx\"} 1",
        "genesys_proxy_requests_total{caller=\"billing\",outcome=\"cut\",status=\"none\"} 1",
        "genesys_proxy_requests_total{caller=\"crm\",outcome=\"refused\",status=\"429\"} 1",
        "genesys_proxy_requests_total{caller=\"crm\",outcome=\"failed\",status=\"5xx\"} 1",
        "genesys_proxy_requests_total{caller=\"(unnamed)\",outcome=\"failed\",status=\"5xx\"} 0",
        "genesys_proxy_requests_by_family_total{family=\"/api/v2/users/*\",status=\"2xx\"} 2",
        "genesys_proxy_requests_by_family_total{family=\"/api/v2/users/*\",status=\"429\"} 1",
        "genesys_proxy_requests_by_family_total{family=\"other\",status=\"2xx\"} 1",
        "genesys_proxy_responses_total{status=\"429\"} 1",
        "genesys_proxy_errors_total{code=\"proxy.upstream.broken\"} 1",
        "genesys_proxy_replays_total{} 1",
        "genesys_proxy_request_duration_seconds_count{outcome=\"answered\"} 1",
        "genesys_proxy_call_attempts_bucket{le=\"1.0\"} 2",
        "genesys_proxy_call_attempts_sum{} 5.0",
        "genesys_proxy_upstream_seconds_count{} 3",
        "genesys_proxy_queue_wait_seconds_bucket{le=\"+Inf\"} 3",
    ] {
        has(&page, line);
    }
    assert!(!page.contains("hush"));
}

#[test]
fn what_workers_count_is_added_up_and_organisations_are_told_apart() {
    let metrics = Metrics::default();
    let eu = metrics.of_organisation("eu");
    let logs = [log(&metrics, &[]), log(&metrics, &[]), log(&eu, &["crm"])];
    for log in &logs {
        drop(request(log, Principal::Unknown, "/api/v2/users"));
    }
    let page = metrics.render();
    for line in [
        "genesys_proxy_requests_total{caller=\"(unnamed)\",outcome=\"answered\",status=\"2xx\"} 2",
        "genesys_proxy_requests_total{org=\"eu\",caller=\"(unnamed)\",outcome=\"answered\",status=\"2xx\"} 1",
        "genesys_proxy_requests_by_family_total{org=\"eu\",family=\"/api/v2/users\",status=\"2xx\"} 1",
        "genesys_proxy_call_attempts_count{} 2",
    ] {
        has(&page, line);
    }
}

/// A flood of everything that a caller can choose, good answers to all of it included.
#[test]
fn whatever_callers_send_the_page_has_no_more_lines_than_the_documents_say() {
    let metrics = Metrics::default();
    let log = log(&metrics, &["billing"]);
    for n in 0..10_000_u32 {
        let caller = match n % 3 {
            0 => Principal::Address(Ipv4Addr::from(n).into()),
            1 => Principal::User(n),
            _ => Principal::Named(u16::try_from(n).unwrap()),
        };
        let method = Method::from_bytes(format!("METHOD{n}").as_bytes()).unwrap();
        let mut record = request(&log, caller, &format!("/api/v2/word{n}s/more{n}x/{n}?a={n}"));
        record.method = method;
        record.status = StatusCode::from_u16(u16::try_from(100 + n % 900).unwrap()).ok();
        record.code = (n % 7 == 0).then_some("proxy.denied");
        record.refused = n % 2 == 0;
        record.end = if n % 5 == 0 { End::Cut } else { End::Complete };
        record.saved = (n % 11 == 0).then_some(SavedBy::cached);
        record.attempts = n % 20;
    }
    let page = metrics.render();
    let of = |name: &str| {
        page.lines().filter(|line| line.starts_with(&format!("genesys_proxy_{name}{{"))).count()
    };
    // Outcomes times what callers are told.
    assert!(of("requests_total") <= 2 * 6 * 7, "{}", of("requests_total"));
    assert!(of("requests_by_family_total") <= (families::MOST + 1) * 7);
    assert!(of("requests_by_family_total") > families::MOST, "they are used");
    assert!(of("responses_total") <= 500);
    assert_eq!(of("request_duration_seconds_bucket"), 6 * 18);
    assert!(!page.contains("METHOD") && !page.contains("word9999s"));
}
