//! Whatever upstream answers, the caller gets it whole, visibly cut, or a 502; and the next caller
//! gets its own (threats T16 to T18; traps 19, 21, 22, 25).

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use tokio::time::Instant;

use crate::support::raw::{Answer, Line, Peer, Stage, ok};

/// What the caller must see.
#[derive(Debug, Clone)]
enum Seen {
    /// This status and body, whole.
    Whole(u16, &'static str),
    /// A body that is visibly cut.
    Cut,
    /// The gateway's own 502.
    BadGateway,
}
use Seen::{BadGateway, Cut, Whole};

/// What upstream does with its connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// Leaves it open. The gateway may use it again.
    Keeps,
    /// Leaves it open. The gateway must not use it again.
    Spoilt,
    /// Closes it.
    Closes,
}
use Then::{Closes, Keeps, Spoilt};

struct Case {
    method: &'static str,
    answer: Vec<u8>,
    then: Then,
    seen: Seen,
}

fn case(answer: impl AsRef<[u8]>, then: Then, seen: Seen) -> Case {
    Case { method: "GET", answer: answer.as_ref().to_vec(), then, seen }
}

/// A 200 with these fields, each with its CRLF, and this body.
fn with(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

const STALE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";

fn check(cases: &[Case]) {
    let script: Vec<(Vec<u8>, Then)> =
        cases.iter().map(|case| (case.answer.clone(), case.then)).collect();
    let stage = Stage::new(move |line| {
        while let Some(request) = line.request() {
            let Some(case) = request.target.strip_prefix("/case/") else {
                line.send(&ok(&format!("own {}", request.target)));
                continue;
            };
            let (answer, then) = &script[case.parse::<usize>().unwrap()];
            line.send(answer);
            if *then == Closes {
                return;
            }
        }
    });
    let mut wrong = Vec::new();
    let mut caller = stage.caller();
    for (number, case) in cases.iter().enumerate() {
        let text = String::from_utf8_lossy(&case.answer).chars().take(200).collect::<String>();
        let Case { method, .. } = case;
        caller.send(format!("{method} /case/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = caller.answer_to(method);
        let Answer { status, cut, .. } = answer;
        let right = match &case.seen {
            Whole(code, body) => status == *code && !cut && answer.text() == *body,
            Cut => status == 0 || cut,
            BadGateway => status == 502 && answer.code().starts_with("proxy.upstream."),
        };
        if !right {
            let got = format!("{status} cut {cut} {:?}", answer.text());
            wrong.push(format!("{number} {text:?} {:?}: got {got}", case.seen));
        }
        if status == 0 || cut {
            caller = stage.caller();
        }
        caller.send(format!("GET /own/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let own = caller.answer();
        if own.status != 200 || own.text() != format!("own /own/{number}") {
            let own = format!("{} {:?}", own.status, own.text());
            wrong.push(format!("{number} {text:?}: the next caller got {own}"));
        }
    }
    drop(caller);
    for record in stage.end() {
        let (requests, _) = record.requests();
        for pair in requests.windows(2) {
            let case = pair[0].target.strip_prefix("/case/");
            let case = case.and_then(|case| case.parse::<usize>().ok()).map(|case| &cases[case]);
            // What upstream closes may be met on its way, and is sent again.
            if case.is_some_and(|case| case.then == Spoilt) {
                wrong.push(format!("{} was followed by {}", pair[0].line(), pair[1].line()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn bytes_behind_an_answer_never_become_the_next_callers() {
    let mut cases = Vec::new();
    for behind in [STALE, "x", "\r\n", "\n", "HTTP/1.1 ", "HTTP/1.1 100 Continue\r\n\r\n", "\0"] {
        cases.push(case(
            with("Content-Length: 1\r\n", &format!("a{behind}")),
            Spoilt,
            Whole(200, "a"),
        ));
        cases.push(case(
            with("Transfer-Encoding: chunked\r\n", &format!("1\r\na\r\n0\r\n\r\n{behind}")),
            Spoilt,
            Whole(200, "a"),
        ));
        cases.push(case(with("Content-Length: 0\r\n", behind), Spoilt, Whole(200, "")));
    }
    // No body whatever the fields say.
    for (method, status) in
        [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
    {
        let code: u16 = status[..3].parse().unwrap();
        for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""] {
            for (body, then) in [
                ("hello", Spoilt),
                ("5\r\nhello\r\n0\r\n\r\n", Spoilt),
                (STALE, Spoilt),
                ("", Closes),
            ] {
                let answer = format!("HTTP/1.1 {status}\r\n{fields}\r\n{body}");
                cases.push(Case { method, ..case(answer, then, Whole(code, "")) });
            }
        }
    }
    check(&cases);
}

#[test]
fn a_truncated_body_is_visibly_cut() {
    let mut cases = vec![
        case(with("Content-Length: 10\r\n", "hello"), Closes, Cut),
        case(with("Content-Length: 10\r\n", ""), Closes, Cut),
        case(with("Content-Length: 10\r\nConnection: close\r\n", "hello"), Closes, Cut),
    ];
    for body in [
        "",
        "5",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n",
    ] {
        cases.push(case(with("Transfer-Encoding: chunked\r\n", body), Closes, Cut));
    }
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\0: y\r\n\r\n",
    ] {
        cases.push(case(with("Transfer-Encoding: chunked\r\n", body), Spoilt, Cut));
    }
    check(&cases);
}

#[test]
fn an_answer_with_one_meaning_passes() {
    check(&[
        case(with("Content-Length: 5\r\n", "hello"), Keeps, Whole(200, "hello")),
        case(
            with("Content-Length: 5\r\nConnection: close\r\n", "hello"),
            Closes,
            Whole(200, "hello"),
        ),
        case(
            with("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
            Keeps,
            Whole(200, "hello"),
        ),
        case(with("", "hello"), Closes, Whole(200, "hello")),
        case("HTTP/1.0 200 OK\r\n\r\nhello", Closes, Whole(200, "hello")),
        case("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Closes, Whole(200, "hello")),
        case("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", Keeps, Whole(200, "hello")),
        case("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", Keeps, Whole(200, "hello")),
        case("HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\nhello", Keeps, Whole(999, "hello")),
        case(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
            Keeps,
            Whole(404, "hello"),
        ),
    ]);
}

#[test]
fn two_lengths_are_resolved_or_refused() {
    let mut cases = Vec::new();
    // RFC 9112 section 6.3: the chunks count, and the connection is done for.
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 300\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: Chunked\r\n",
    ] {
        cases.push(case(with(fields, "5\r\nhello\r\n0\r\n\r\n"), Spoilt, Whole(200, "hello")));
    }
    for length in [
        "5\r\nContent-Length: 6",
        "6\r\nContent-Length: 5",
        "5, 6",
        "+5",
        "-5",
        "0x5",
        "five",
        "",
        "5 5",
        "5;",
        "18446744073709551616",
    ] {
        cases.push(case(
            with(&format!("Content-Length: {length}\r\n"), "hello"),
            Spoilt,
            BadGateway,
        ));
    }
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "identity",
        "xchunked",
        "",
        "gzip",
    ] {
        cases.push(case(
            with(&format!("Transfer-Encoding: {coding}\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
            Spoilt,
            BadGateway,
        ));
    }
    cases.push(case(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Spoilt,
        BadGateway,
    ));
    check(&cases);
}

#[test]
fn unclean_heads_are_refused() {
    let mut cases = Vec::new();
    for line in [
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X: a\x0bb\r\n",
        "X: a\x7fb\r\n",
        "X\0: a\r\n",
        "X y: a\r\n",
        "X : a\r\n",
        ": a\r\n",
        "X\r\n",
        " X: a\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tSet-Cookie: b\r\n",
        "Content-Length : 5\r\n",
    ] {
        cases.push(case(
            with(&format!("{line}Content-Length: 5\r\n"), "hello"),
            Spoilt,
            BadGateway,
        ));
    }
    for line in [
        "HTTP/1.1 abc OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1  200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/0.9 200 OK",
        "ICY 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\0K",
        "220 smtp.example ESMTP",
        "\0\0\0",
        "<html>",
    ] {
        cases.push(case(format!("{line}\r\nContent-Length: 5\r\n\r\nhello"), Spoilt, BadGateway));
    }
    cases.push(case(with(&format!("X: {}\r\n", "x".repeat(1 << 20)), ""), Spoilt, BadGateway));
    cases.push(case(with(&"X: y\r\n".repeat(10_000), ""), Spoilt, BadGateway));
    check(&cases);
}

#[test]
fn an_answer_that_does_not_come_is_a_502() {
    let cases = [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "H",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ];
    check(&cases.map(|answer| Case { method: "POST", ..case(answer, Closes, BadGateway) }));
}

#[test]
fn a_101_without_having_asked_is_a_502() {
    check(&[
        case("HTTP/1.1 101 Switching Protocols\r\n\r\n", Spoilt, BadGateway),
        case(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{STALE}"
            ),
            Spoilt,
            BadGateway,
        ),
        case(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n{STALE}"
            ),
            Spoilt,
            BadGateway,
        ),
    ]);
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
    let fine = with("Content-Length: 5\r\n", "hello");
    check(&[
        case(format!("HTTP/1.1 100 Continue\r\n\r\n{fine}"), Keeps, Whole(200, "hello")),
        case(format!("HTTP/1.1 102 Processing\r\n\r\n{fine}"), Keeps, Whole(200, "hello")),
        case(format!("{hints}{hints}{fine}"), Keeps, Whole(200, "hello")),
        case(
            format!("HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n{fine}"),
            Keeps,
            Whole(200, "hello"),
        ),
        case(format!("{}{fine}", hints.repeat(2000)), Keeps, Whole(200, "hello")),
        case(format!("HTTP/1.1 103 X\r\nX: a\0b\r\n\r\n{fine}"), Spoilt, BadGateway),
        case(format!("HTTP/1.1 199 X\r\n\r\n{fine}"), Keeps, Whole(200, "hello")),
    ]);
}

#[test]
fn early_hints_reach_the_caller_without_their_hop_by_hop_fields() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n",
            );
            line.send(&ok("{}"));
        }
    });
    let mut caller = stage.caller();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&caller.bytes(interim.len())), interim);
    assert_eq!(caller.answer().status, 200);
    // HTTP/1.0 knows no interim answers.
    let mut caller = stage.caller();
    caller.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(caller.rest().starts_with(b"HTTP/1.0 200 OK\r\n"));
}

#[test]
fn bytes_that_come_while_idle_close_the_connection_and_the_next_caller_gets_its_own() {
    for unsolicited in [STALE, "x", "\r\n", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (later, now) = mpsc::channel::<()>();
        let now = std::sync::Mutex::new(now);
        let stage = Stage::new(move |line| {
            while let Some(request) = line.request() {
                line.send(&ok(&request.target));
                if line.number == 0 {
                    now.lock().unwrap().recv().unwrap();
                    line.send(unsolicited.as_bytes());
                    line.wait_closed();
                }
            }
        });
        let mut caller = stage.caller();
        let mut get = |path: &str| {
            caller.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            caller.answer().text()
        };
        assert_eq!(get("/first"), "/first");
        later.send(()).unwrap();
        stage.peer.wait_for_end(0);
        assert_eq!(get("/second"), "/second");
        assert_eq!(stage.peer.connections(), 2);
    }
}

/// Answers the first request of each connection, then hangs up on the second.
fn hangs_up_on_the_second(line: &mut Line) {
    if line.request().is_some() {
        line.send(&ok("{}"));
        line.request();
    }
}

/// Requests on one connection, and how often each was delivered.
fn deliveries(stage: &Stage, target: &str) -> usize {
    stage.peer.requests().iter().filter(|request| request.target == target).count()
}

#[test]
fn a_reused_connection_that_ends_is_retried_once_for_what_may_go_twice() {
    for (method, status, delivered) in
        [("GET", 200, 2), ("PUT", 200, 2), ("DELETE", 200, 2), ("POST", 502, 1), ("PATCH", 502, 1)]
    {
        let stage = Stage::new(hangs_up_on_the_second);
        let mut caller = stage.caller();
        for (target, expected) in [("/first", 200), ("/second", status)] {
            caller.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
            ));
            assert_eq!(caller.answer().status, expected, "{method} {target}");
        }
        assert_eq!(deliveries(&stage, "/second"), delivered, "{method}");
        assert!(stage.peer.requests().iter().all(|request| request.body == b"hello"));
    }
}

#[test]
fn a_fresh_connection_that_ends_is_a_502_at_once() {
    for reset in [false, true] {
        for method in ["GET", "POST"] {
            let stage = Stage::new(move |line| {
                line.request();
                if reset {
                    line.reset();
                }
            });
            let answer = stage.call(format!("{method} /a HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.broken"));
            assert_eq!(deliveries(&stage, "/a"), 1, "{method}");
        }
    }
}

#[test]
fn a_connection_that_closes_while_it_is_reused_loses_no_get_and_doubles_no_post() {
    // Closes as soon as it has answered: the close races the next request.
    let stage = Stage::new(|line| {
        if line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let mut caller = stage.caller();
    for round in 0..100 {
        let method = if round % 2 == 0 { "GET" } else { "POST" };
        caller.send(format!("{method} /{round} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = caller.answer();
        assert!(answer.status == 200 || (method == "POST" && answer.status == 502), "{answer:?}");
        let delivered = deliveries(&stage, &format!("/{round}"));
        assert!(
            method == "GET" || delivered <= 1,
            "{method} /{round} was delivered {delivered} times"
        );
    }
}

#[test]
fn redirects_are_relayed_and_never_followed() {
    let elsewhere = Peer::start(Line::wait_closed);
    let to = elsewhere.url();
    let stage = Stage::new(move |line| {
        while let Some(request) = line.request() {
            let status = &request.target[1..];
            line.send(
                format!(
                    "HTTP/1.1 {status} Moved\r\nLocation: {to}/stolen\r\nContent-Length: 0\r\n\r\n"
                )
                .as_bytes(),
            );
        }
    });
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for method in ["GET", "POST"] {
            let answer =
                stage.call(format!("{method} /{status} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert_eq!(answer.status, status);
            assert_eq!(answer.all("location"), [format!("{}/stolen", elsewhere.url())]);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn nobody_listening_is_a_502() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Stage::before("", &format!("http://{address}"));
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.code().as_str()), (502, "proxy.upstream.unreachable"));
}

#[test]
fn a_connect_that_hangs_is_a_504() {
    // A backlog that is full: the kernel answers no further SYN.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        filling.push(stream);
    }
    let settings = "upstream.connect_timeout = \"500ms\"\n";
    let stage = Stage::before(settings, &format!("http://{address}"));
    let begun = Instant::now();
    let answer = stage.get("/a");
    assert_eq!((answer.status, answer.code().as_str()), (504, "proxy.upstream.connect.timeout"));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_answer_that_does_not_begin_is_a_504_and_one_that_stops_is_cut() {
    let script = |line: &mut Line| {
        while let Some(request) = line.request() {
            match request.target.as_str() {
                "/never" => {}
                "/half" => line.send(b"HTTP/1.1 200 OK\r\n"),
                "/interim" => {
                    // For ever, until the gateway hangs up.
                    use std::io::Write as _;
                    while line.stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
                }
                "/length" => line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
                "/chunks" => line
                    .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
                _ => line.send(&ok("own")),
            }
        }
    };
    // A caller that is slow to read all those 102s is not to be cut for that.
    let stage = Stage::with("upstream.response_timeout = \"500ms\"\n", script);
    for target in ["/never", "/half", "/interim"] {
        let begun = Instant::now();
        let answer = stage.get(target);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (504, "proxy.upstream.timeout"),
            "{target}"
        );
        // Half a second on a machine that is busy with other things; without it, a minute.
        assert!(begun.elapsed() < Duration::from_secs(30), "{target}: {:?}", begun.elapsed());
        assert_eq!(stage.get("/own").text(), "own");
    }
    let stage = Stage::with("upstream.idle_timeout = \"500ms\"\n", script);
    for target in ["/length", "/chunks"] {
        let answer = stage.get(target);
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.cut),
            (200, "hello", true),
            "{target}"
        );
        assert_eq!(stage.get("/own").text(), "own");
    }
}

#[test]
fn an_early_final_answer_is_relayed_and_its_connection_not_used_again() {
    let stage = Stage::new(|line| {
        while line.head() {
            if line.number == 0 {
                line.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge");
                line.wait_closed();
            }
            let Some(request) = line.request() else { return };
            line.send(&ok(&request.target));
        }
    });
    let mut uploading = stage.caller();
    uploading.send(format!(
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{}",
        "x".repeat(10_000)
    ));
    let answer = uploading.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
    for number in 0..8 {
        assert_eq!(stage.get(&format!("/{number}")).text(), format!("/{number}"));
    }
    drop(uploading);
    let record = stage.peer.wait_for_end(0);
    let (requests, rest) = record.requests();
    assert!(requests.is_empty() && rest.starts_with(b"POST /upload HTTP/1.1\r\n"));
}

#[test]
fn a_caller_that_leaves_takes_its_call_with_it() {
    let stage = Stage::new(|line| {
        let Some(request) = line.request() else { return };
        // Before the answer, or in its middle.
        if request.target == "/begun" {
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        }
        line.wait_closed();
    });
    for (number, path) in ["/silent", "/begun"].into_iter().enumerate() {
        let mut caller = stage.caller();
        caller.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        stage.peer.wait_for_requests(number + 1);
        if path == "/begun" {
            while !caller.bytes(1).ends_with(b"f") {}
        }
        drop(caller);
        // Long before `upstream.response_timeout`, or the test would fail by its own.
        assert_eq!(stage.peer.wait_for_end(number).requests().0.len(), 1, "{path}");
    }
}

#[test]
fn a_caller_that_sends_all_before_it_reads_gets_an_answer_that_began_before() {
    const SIZE: usize = 4 << 20;
    let stage = Stage::new(|line| {
        if !line.head() {
            return;
        }
        // More than fits between the two, before the body is read.
        line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes());
        let mut says = line.stream.try_clone().unwrap();
        let speaking = std::thread::spawn(move || says.write_all(&vec![b'a'; SIZE]).unwrap());
        assert!(line.request().is_some());
        speaking.join().unwrap();
        line.wait_closed();
    });
    let mut caller = stage.caller();
    caller.send(format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n{}",
        "x".repeat(SIZE)
    ));
    let answer = caller.answer();
    assert_eq!((answer.status, answer.text().len()), (200, SIZE));
    assert_eq!(stage.peer.requests()[0].body.len(), SIZE);
}

#[test]
fn upstream_cannot_turn_the_framing_off() {
    // The body is a write of its own, and looks like the head of a 101.
    let (next, written) = mpsc::channel::<()>();
    let written = std::sync::Mutex::new(written);
    let stage = Stage::new(move |line| {
        while line.request().is_some() {
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n");
            written.lock().unwrap().recv().unwrap();
            line.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        }
    });
    let mut caller = stage.caller();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(caller.bytes(15).starts_with(b"HTTP/1.1 200 OK"));
    next.send(()).unwrap();
    let mut rest = Vec::new();
    while !rest.ends_with(b"Protocols\r\n\r\n") {
        rest.extend(caller.bytes(1));
    }
    caller.send("GET /unclean HTTP/1.1\nHost: localhost\n\n");
    assert_eq!(caller.answer().status, 400);
    assert_eq!(stage.peer.requests().len(), 1);
}
