//! What a line says, and when it is written.

use super::*;
use crate::telemetry::output::pair;

fn lines(format: LogFormat, path: &'static str) -> String {
    let (output, written) = pair();
    let names = Names::new(["billing".to_owned()]);
    let log = AccessLog::new(format, None, names, (Some(output), None), Observers::default());
    let id = HeaderValue::from_static("abc");
    let principal = Principal::Named(0);
    let mut record = Record::begin(&log, principal, Method::GET, path.parse().unwrap(), id);
    record.status = Some(StatusCode::OK);
    record.attempts = 2;
    record.replayed = true;
    record.correlation_id = Some(HeaderValue::from_static("corr"));
    record.end = End::Complete;
    drop(record);
    log.flush();
    written.next()
}

#[test]
fn a_text_line_says_what_happened_and_no_query() {
    let line = lines(LogFormat::Text, "/api/v2/users/42?name=secret");
    for part in [
        "access caller=billing GET /api/v2/users/* 200 attempts=2 replayed=yes",
        "end=complete request_id=abc correlation_id=corr\n",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("secret"));
}

#[test]
fn a_json_line_is_one_object_whatever_the_path_holds() {
    let line = lines(LogFormat::Json, "/api/\"},{\"status?q=secret");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&object["status"], &object["caller"]), (&200.into(), &"billing".into()));
    assert_eq!(object["path"], "/api/\"},{\"status");
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.contains("secret"));
}

#[test]
fn a_caller_that_left_before_the_answer_is_a_499() {
    let (output, written) = pair();
    let log = AccessLog::new(
        LogFormat::Text,
        None,
        Names::default(),
        (Some(output), None),
        Observers::default(),
    );
    let id = HeaderValue::from_static("abc");
    let caller = Principal::at([127, 0, 0, 1].into());
    drop(Record::begin(&log, caller, Method::GET, Uri::from_static("/a"), id));
    log.flush();
    let line = written.next();
    assert!(line.contains(" caller=127.0.0.1 GET /a 499 ") && line.contains("end=cut"), "{line}");
}
