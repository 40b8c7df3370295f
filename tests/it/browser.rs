//! A web page in a real Chromium gets no call through the gateway and reads no answer, unless its
//! origin is listed (threats T14, T15). What the pages do is in `tests/browser/`.

use serde_json::{Value, json};

use crate::support::{
    browser::{Browser, Site, rebinding},
    raw::{Line, Stage},
};

/// What upstream answers: a page would learn something from any part of it.
const ANSWER: &str = "var stolen = 'from-upstream';";

fn answers(line: &mut Line) {
    while line.request().is_some() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\nRetry-After: 7\r\n\
                    Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\n\
                    Access-Control-Allow-Private-Network: true\r\nTiming-Allow-Origin: *\r\n";
        line.send(format!("{head}Content-Length: {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes());
    }
}

/// Everything that the page of `site_name` tries against `gateway_name`: none of it becomes a call.
fn nothing_gets_through(settings: &str, site_name: &str, gateway_name: &str) {
    let stage = Stage::with(&format!("{settings}telemetry.log = \"info\"\n"), answers);
    let gateway = stage.gateway();
    let site = Site::before(gateway.address);
    let origin = site.origin(site_name);
    let target = format!("{gateway_name}:{}", gateway.address.port());
    let browser = Browser::open(&format!("{origin}/foreign.html?gateway={target}"));
    let Value::Object(found) = site.report() else { panic!("no object") };
    assert!(found.len() > 40, "{found:?}");
    for (name, learned) in found {
        assert_eq!(learned, Value::Null, "{name} learned something");
        // It was the gateway that refused, not the browser that did not try.
        if name == "window-far-too-long" {
            gateway.wait_for_log("HeadTooLarge");
            continue;
        }
        let line = gateway.wait_for_log(&format!("/api/v2/attack/{name} "));
        let status = if name == "window-too-long" { " 414 " } else { " 403 " };
        assert!(line.contains(status), "{line}");
    }
    site.settled();
    drop(browser);
    let requests: Vec<_> = stage.end().iter().flat_map(|record| record.requests().0).collect();
    assert!(requests.is_empty(), "upstream got {requests:?}");
}

#[test]
fn a_page_of_another_site_gets_no_call_through_and_reads_nothing() {
    nothing_gets_through("", "evil.test", "127.0.0.1");
}

/// A page on another port of the same name is of the same site, and of another origin.
#[test]
fn nor_does_a_page_of_another_port_of_this_machine() {
    nothing_gets_through("", "localhost", "localhost");
}

#[test]
fn a_name_that_was_rebound_to_the_gateway_is_none_of_its_own() {
    let stage = Stage::new(answers);
    let site = Site::before(stage.gateway().address);
    let rebound = rebinding(site.address(), stage.gateway().address);
    let page =
        format!("http://evil.test:{}/rebound.html?report={}", rebound.port(), site.address());
    let _browser = Browser::open(&page);
    let found = site.report();
    for call in ["get", "post", "header"] {
        assert_eq!(found[call]["status"], 421, "{found}");
        let text = found[call]["text"].as_str().unwrap();
        assert!(text.contains("proxy.misdirected") && !text.contains("from-upstream"), "{text}");
    }
    assert!(stage.end().iter().all(|record| record.bytes.is_empty()));
}

#[test]
fn a_page_of_a_listed_origin_calls_and_reads() {
    let site = Site::before(([127, 0, 0, 1], 9).into());
    let origin = site.origin("app.test");
    let settings =
        format!("access.origins = [\"{origin}\"]\naccess.require_header = \"X-Genesys-Proxy\"\n");
    let stage = Stage::with(&settings, answers);
    let browser =
        Browser::open(&format!("{origin}/listed.html?gateway={}", stage.gateway().address));
    let found = site.report();
    drop(browser);
    let read = json!({ "status": 200, "text": ANSWER, "named": true });
    assert_eq!((&found["get"], &found["put"]), (&read, &read), "{found}");
    assert_eq!((&found["denied"]["status"], &found["bare"]["status"]), (&json!(403), &json!(403)));
    let code = |name: &str| found[name]["text"].as_str().unwrap().contains("proxy.header.required");
    assert!(code("bare") && !code("denied"), "{found}");
    assert_eq!((&found["image"], &found["cookies"]), (&Value::Null, &Value::Null));
    let mut requests: Vec<_> = stage.end().iter().flat_map(|record| record.requests().0).collect();
    requests.sort_by_key(crate::support::raw::Request::line);
    let lines: Vec<String> = requests.iter().map(crate::support::raw::Request::line).collect();
    assert_eq!(lines, ["GET /api/v2/get", "PUT /api/v2/put"]);
    for request in &requests {
        assert!(request.all("origin").is_empty() && request.all("x-genesys-proxy").is_empty());
        assert_eq!(request.all("authorization").len(), 1, "{request:?}");
    }
}

/// An image names no page, and browsers do not say whose it is to plain HTTP beyond this machine:
/// there `require_header` is what keeps pages out.
#[test]
fn where_browsers_do_not_tell_the_required_header_keeps_pages_out() {
    let settings = "access.hosts = [\"gateway.test\"]\naccess.require_header = \"X-Mine\"\n";
    nothing_gets_through(settings, "evil.test", "gateway.test");
}

#[test]
fn a_url_that_somebody_typed_is_nobody_elses_page() {
    let stage = Stage::new(answers);
    let _browser = Browser::open(&stage.gateway().url("/api/v2/typed"));
    stage.peer.wait_for_requests(1);
    assert_eq!(stage.peer.requests()[0].target, "/api/v2/typed");
}
