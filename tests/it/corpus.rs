//! Every request of `tests/it/corpus/`, replayed: refused as it should be, or at upstream as exactly
//! as many well-formed requests as it is, each of them with nothing but what may cross. And whoever
//! comes next is served (threats T1 to T15, T21, T22).

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{
    corpus::{Entry, entries},
    raw::{
        Request, Stage, check,
        http2::{Caller2, End, Outcome},
        ok,
    },
};

macro_rules! corpus {
    ($version:literal: $($file:literal)*) => {
        [$(($file, include_str!(concat!("corpus/", $version, "/", $file, ".txt")))),*]
    };
}

type Files<const COUNT: usize> = [(&'static str, &'static str); COUNT];

pub const HTTP1: Files<8> = corpus!(
    "http1": "lengths" "chunks" "unclean" "destinations" "upgrades" "oversized" "fields" "paths"
);
pub const HTTP2: Files<7> = corpus!(
    "http2": "fields" "pseudo" "lengths" "trailers" "frames" "oversized" "paths"
);

const SETTINGS: &str = "access.header_timeout = \"1s\"\naccess.body_timeout = \"1s\"\n\
                        access.keep_alive = \"3s\"\ntelemetry.log = \"info\"\n";

/// Replays each entry by `play`, which says what came of it; then looks at what upstream got.
fn replay(files: &[(&str, &str)], at_least: usize, play: fn(&Stage, usize, &Entry) -> String) {
    let all: Vec<Entry> = files.iter().flat_map(|(file, text)| entries(file, text)).collect();
    let names: HashSet<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
    assert!(names.len() == all.len() && all.len() >= at_least, "{} of {}", names.len(), all.len());
    let stage = Stage::with(SETTINGS, |line| {
        while let Some(request) = line.request() {
            line.send(&ok(&request.line()));
        }
    });
    let wrong = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some((number, entry)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    all.get(number).map(|entry| (number, entry))
                } {
                    let came = play(&stage, number, entry);
                    if came != entry.expected.trim_end_matches(" once") {
                        let what = format!(
                            "{}\n    {} was expected, {came} came",
                            entry.name, entry.expected
                        );
                        wrong.lock().unwrap().push(what);
                    }
                    // Whoever comes next.
                    let polite = stage.get("/polite");
                    assert_eq!((polite.status, polite.text().as_str()), (200, "GET /polite"));
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    let host = stage.peer.address.to_string();
    let mut seen = vec![0; all.len()];
    for request in stage.end().iter().flat_map(|record| record.requests().0) {
        if let Err(error) = check(&request, &host).and_then(|()| clean(&request)) {
            wrong.push(format!("upstream got {request:?}: {error}"));
        }
        let number = request.target.split_once("/case/").map(|(_, rest)| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<usize>().unwrap()
        });
        match number {
            Some(number) => seen[number] += 1,
            None if request.target == "/polite" => {}
            None => wrong.push(format!("upstream got {}", request.line())),
        }
    }
    for (entry, seen) in all.iter().zip(seen) {
        // As many as were answered by upstream.
        let count = |word| entry.expected.split(' ').filter(|it| *it == word).count();
        let expected = count("200") + count("open");
        // Or one that was whole when it was sent, and is found out to be more.
        let begun = entry.expected.ends_with(" once") && seen <= 1;
        if seen != expected && !begun {
            wrong.push(format!("{}\n    upstream got {seen} requests, not {expected}", entry.name));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What no request may bring to upstream, whoever sent what.
fn clean(request: &Request) -> Result<(), String> {
    for (name, value) in request.fields.iter().chain(&request.trailers) {
        let read_as = name.replace('_', "-");
        let framing = matches!(
            read_as.as_str(),
            "content-length" | "transfer-encoding" | "host" | "authorization"
        );
        let hop = match read_as.as_str() {
            // We say that we take trailers, or ask for a WebSocket; nothing else.
            "te" => value != "trailers",
            "connection" => !["te", "upgrade"].contains(&value.as_str()),
            "upgrade" => value != "websocket",
            name => {
                ["proxy-", "x-forwarded"].iter().any(|start| name.starts_with(start))
                    || [
                        "keep-alive",
                        "expect",
                        "http2-settings",
                        "cookie",
                        "forwarded",
                        "x-real-ip",
                        "x-host",
                    ]
                    .contains(&name)
            }
        };
        if hop || (framing && name.contains('_')) {
            return Err(format!("{name}: {value}"));
        }
    }
    if request
        .trailers
        .iter()
        .any(|(name, _)| ["host", "authorization", "content-length"].contains(&name.as_str()))
    {
        return Err(format!("trailers {:?}", request.trailers));
    }
    let one = |name: &str| request.all(name).len() <= 1;
    if !one("x-request-id") || !one("traceparent") || request.all("x-request-id").is_empty() {
        return Err("not one request id and one trace".to_owned());
    }
    let first = request.target.bytes().next();
    if first == Some(b'/') || request.target == "*" {
        Ok(())
    } else {
        Err(format!("target {:?}", request.target))
    }
}

/// `400 close`: the answers, and whether the connection can be used on.
fn on_http1(stage: &Stage, number: usize, entry: &Entry) -> String {
    let mut caller = stage.caller();
    caller.send(entry.bytes(number));
    let mut came = Vec::new();
    let answers = entry.expected.split(' ').count() - 1;
    for _ in 0..answers {
        let answer = caller.answer_to(entry.method());
        match answer.status {
            0 => return format!("{} close", came.join(" ")),
            200 if !answer.cut => came.push("200".to_owned()),
            status if answer.code().starts_with("proxy.") => came.push(status.to_string()),
            status => came.push(format!("{status} in nobody's name")),
        }
        if answer.all("connection") == ["close"] {
            let rest = caller.rest();
            let more = if rest.is_empty() { "" } else { " and more" };
            return format!("{} close{more}", came.join(" "));
        }
    }
    let end = if entry.expected.ends_with("open") {
        caller.send(format!("GET /case/{number}/after HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = caller.answer();
        let own = answer.text() == format!("GET /case/{number}/after");
        if own { "open".to_owned() } else { format!("{} {}", answer.status, answer.text()) }
    } else {
        let rest = caller.rest();
        if rest.is_empty() {
            "close".to_owned()
        } else {
            format!("{:?}", String::from_utf8_lossy(&rest))
        }
    };
    came.push(end);
    came.join(" ")
}

/// `200`, `error 1`: an answer, or how the stream or the connection was given up; `once` is that its head
/// may have gone on before it was found out.
fn on_http2(stage: &Stage, number: usize, entry: &Entry) -> String {
    let mut caller = Caller2::new(stage.caller());
    caller.0.send(entry.frames(number));
    match caller.outcome(1) {
        Outcome { status: 0, end: End::Error(code), .. } => format!("error {code}"),
        Outcome { status: 0, end, .. } => format!("{end:?}"),
        Outcome { status, end: End::Stream, .. } => status.to_string(),
        Outcome { status, end, .. } => format!("{status} {end:?}"),
    }
}

#[test]
fn of_http1_everything_is_refused_or_is_exactly_what_it_is() {
    replay(&HTTP1, 400, on_http1);
}

#[test]
fn of_http2_everything_is_refused_or_is_exactly_what_it_is() {
    replay(&HTTP2, 150, on_http2);
}
