//! A place is room for one line: who has one is written, who has none is counted.

use std::{path::Path, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::{
    config::LogFormat,
    decide::{
        audit::{Seal, check::Check},
        callers::Principal,
    },
    telemetry::{
        access_log::{AccessLog, End, Observers, Ruling},
        callers::Names,
        log::Heard,
    },
};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(file: &Path, on_failure: OnFailure) -> config::Audit {
    config::Audit {
        file: file.to_owned(),
        on_failure,
        sync: Duration::ZERO,
        max_size: None,
        key: None,
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn record(log: &Arc<AccessLog>, path: &str) -> Box<Record> {
    let id = HeaderValue::from_static("id \"1\"");
    let mut record =
        Record::begin(log, Principal::Named(0), Method::GET, path.parse().unwrap(), id);
    record.status = Some(StatusCode::OK);
    record.attempts = 1;
    record.end = End::Complete;
    record
}

fn log(audit: &Audit) -> Arc<AccessLog> {
    AccessLog::new(
        LogFormat::Text,
        None,
        Names::new(["billing".to_owned()]),
        (None, Some(audit.clone())),
        Observers::default(),
    )
}

#[test]
fn a_line_tells_who_what_and_how_without_query_and_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit = Audit::start(&config(&file, OnFailure::Refuse)).unwrap();
    let log = log(&audit);
    drop(record(&log, "/api/v2/users/42?name=hush"));
    let endless = format!("/{}", "a".repeat(5000));
    drop(record(&log, &endless));
    audit.end(PATIENCE);
    let lines = lines(&file);
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "call", "call", "stopped"]);
    let line = &lines[1];
    for (name, value) in [
        ("caller", "billing"),
        ("method", "GET"),
        ("path", "/api/v2/users/42"),
        ("decision", "allowed"),
        ("end", "complete"),
        ("request_id", "id \"1\""),
        ("correlation_id", "-"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["status"], &line["attempts"]), (&200.into(), &1.into()));
    assert_eq!((line["rule"].as_str(), line["code"].as_str()), (None, None));
    assert!(!line.to_string().contains("hush"));
    assert_eq!(lines[2]["path"], endless[..1024]);
    assert_eq!(lines[2]["path_length"], 5001);
}

#[test]
fn a_decision_is_told_from_a_misfortune_and_from_an_answer_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit = Audit::start(&config(&file, OnFailure::Refuse)).unwrap();
    let log = log(&audit);
    let cases = [
        (Some(403), Some("proxy.denied"), true, 0, "refused", Some("proxy.denied")),
        (Some(429), Some("proxy.rate.limited"), true, 1, "allowed", None),
        (Some(502), Some("proxy.upstream.unreachable"), false, 0, "allowed", None),
        (Some(200), None, false, 0, "answered locally", None),
        (None, None, false, 0, "allowed", None),
        (Some(200), None, false, 2, "allowed", None),
    ];
    for (status, code, refused, attempts, ..) in cases {
        let mut record = record(&log, "/");
        record.status = status.map(|status| StatusCode::from_u16(status).unwrap());
        (record.code, record.refused, record.attempts) = (code, refused, attempts);
    }
    audit.end(PATIENCE);
    for (line, (status, code, _, attempts, decision, rule)) in lines(&file)[1..].iter().zip(cases) {
        assert_eq!(line["status"], status.unwrap_or(499), "{line}");
        assert_eq!((&line["decision"], &line["attempts"]), (&decision.into(), &attempts.into()));
        assert_eq!((line["code"].as_str(), line["rule"].as_str()), (code, rule), "{line}");
    }
}

#[test]
fn the_operators_rule_is_named_in_its_own_words_whether_it_refuses_or_would_have() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit = Audit::start(&config(&file, OnFailure::Refuse)).unwrap();
    let log = log(&audit);
    let mut refused = record(&log, "/");
    (refused.code, refused.refused, refused.attempts) = (Some("proxy.caller.not.allowed"), true, 0);
    refused.ruling = Ruling::new("DELETE /api/v2/\"users\"/**".to_owned(), false);
    drop(refused);
    let mut observed = record(&log, "/");
    observed.ruling = Ruling::new("GET /**".to_owned(), true);
    drop(observed);
    audit.end(PATIENCE);
    let lines = lines(&file);
    assert_eq!(
        (&lines[1]["decision"], &lines[2]["decision"]),
        (&"refused".into(), &"allowed".into())
    );
    assert_eq!(lines[1]["rule"], "DELETE /api/v2/\"users\"/**");
    assert_eq!(lines[1]["code"], "proxy.caller.not.allowed");
    assert_eq!((lines[2]["rule"].as_str(), &lines[2]["observed"]), (None, &"GET /**".into()));
}

/// Places are given back by the writing, so there are as many again.
#[test]
fn who_finds_no_place_is_refused_or_counted_and_the_log_says_how_many() {
    for (on_failure, decision) in [(OnFailure::Refuse, "refused"), (OnFailure::Continue, "allowed")]
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.jsonl");
        let audit = Audit::start(&config(&file, on_failure)).unwrap();
        let log = log(&audit);
        let heard = Heard::here();
        let under_way: Vec<_> = (0..PLACES).map(|_| record(&log, "/")).collect();
        assert!(under_way.iter().all(|record| !record.must_not_pass()));
        for _ in 0..3 {
            let more = record(&log, "/more");
            assert_eq!(more.must_not_pass(), on_failure == OnFailure::Refuse);
        }
        assert_eq!(heard.count("WARN"), 1, "and not of each");
        assert_eq!(heard.count("the audit log has no place for more"), 1);
        drop(under_way);
        audit.end(PATIENCE);
        assert_eq!(audit.state.free.load(Ordering::Relaxed), PLACES);
        let lines = lines(&file);
        let lost: Vec<_> = lines.iter().filter(|line| line["kind"] == "lost").collect();
        assert_eq!(lost.iter().map(|line| line["lost"].as_u64().unwrap()).sum::<u64>(), 3);
        assert!(lost.iter().all(|line| line["decision"] == decision));
        let calls = lines.iter().filter(|line| line["kind"] == "call").count();
        assert_eq!((calls, audit.lost()), (PLACES, 3));
    }
}

#[test]
fn strangers_have_their_lines_up_to_a_rate_and_are_counted_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit = Audit::start(&config(&file, OnFailure::Refuse)).unwrap();
    let log = log(&audit);
    for _ in 0..1000 {
        let mut unknown = record(&log, "/unknown");
        (unknown.principal, unknown.attempts) = (Principal::Unknown, 0);
        drop(unknown);
        // What was sent, and who has a name, are told of whatever strangers do.
        let mut sent = record(&log, "/sent");
        sent.principal = Principal::Unknown;
        drop(sent);
        let mut named = record(&log, "/named");
        (named.attempts, named.refused) = (0, true);
    }
    audit.end(PATIENCE);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut check = Check::new(Seal::Plain, Vec::new());
    text.lines().for_each(|line| check.next(line.as_bytes()).unwrap());
    let count = |path: &str| lines(&file).iter().filter(|line| line["path"] == path).count();
    assert_eq!((count("/sent"), count("/named")), (1000, 1000));
    let told = count("/unknown");
    // A hundred at once, and ten in each second that this took.
    assert!((100..400).contains(&told), "{told}");
    assert_eq!(check.left_out, 1000 - told as u64);
    assert_eq!(audit.state.free.load(Ordering::Relaxed), PLACES);
}

#[test]
fn without_an_audit_log_nothing_is_in_a_calls_way() {
    let log =
        AccessLog::new(LogFormat::Text, None, Names::default(), (None, None), Observers::default());
    assert!(!record(&log, "/").must_not_pass());
}
