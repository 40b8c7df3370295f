//! What is malformed in HTTP/2 is refused, and what passes is clean HTTP/1.1 upstream
//! (threats T1, T3 to T5, T7, T8, T10 to T13, T17, T22; trap 23).

use std::sync::Mutex;

use crate::support::raw::{
    Request, Stage, check,
    http2::{Caller2, DATA, END_HEADERS, END_STREAM, End, HEADERS, literals},
    ok,
};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Frames after the head, if any.
#[derive(Clone)]
enum Rest {
    Nothing,
    Body(&'static str),
    Trailers(&'static str, Vec<(&'static str, &'static str)>),
}

struct Case {
    fields: Fields,
    rest: Rest,
    /// 200 and one clean request, or a refusal and none.
    passes: bool,
    /// Of a refusal that is an answer.
    statuses: &'static [u16],
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "localhost");
/// Replaced by the case's own.
const PATH: (&str, &str) = (":path", "@");

/// A good head, and then `more`.
fn head(more: &[(&str, &str)]) -> Fields {
    fields(&[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat())
}

fn refused(fields: Fields) -> Case {
    Case { fields, rest: Rest::Nothing, passes: false, statuses: &[400, 405, 421, 431, 501] }
}

fn passes(fields: Fields) -> Case {
    Case { passes: true, ..refused(fields) }
}

fn with(rest: Rest, case: Case) -> Case {
    Case { rest, ..case }
}

fn run(cases: &[Case]) -> Vec<Vec<Request>> {
    let stage = Stage::with("telemetry.log = \"info\"\n", |line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let wrong = Mutex::new(Vec::new());
    let next = Mutex::new(0..cases.len());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(number) = next.lock().unwrap().next() else { return };
                    let case = &cases[number];
                    let outcome = speak(&stage, number, case);
                    let right = if case.passes {
                        outcome.status == 200 && outcome.end == End::Stream
                    } else {
                        match outcome.status {
                            0 => outcome.end != End::Stream,
                            status => case.statuses.contains(&status),
                        }
                    };
                    if !right {
                        let head: Vec<_> = case.fields.iter().take(8).map(shown).collect();
                        wrong.lock().unwrap().push(format!("{number} {head:?}: {outcome:?}"));
                    }
                }
            });
        }
    });
    let host = stage.peer.address.to_string();
    let mut seen = vec![Vec::new(); cases.len()];
    let mut wrong = wrong.into_inner().unwrap();
    for record in stage.end() {
        for request in record.requests().0 {
            if let Err(error) = check(&request, &host) {
                wrong.push(error);
            }
            match request
                .target
                .strip_prefix("/case/")
                .and_then(|number| number.parse::<usize>().ok())
            {
                Some(number) => seen[number].push(request),
                None => wrong.push(format!("upstream got {}", request.line())),
            }
        }
    }
    for (number, (case, seen)) in cases.iter().zip(&seen).enumerate() {
        if seen.len() != usize::from(case.passes) {
            let head: Vec<_> = case.fields.iter().take(8).map(shown).collect();
            wrong.push(format!("{number} {head:?}: upstream got {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    seen
}

fn shown((name, value): &(Vec<u8>, Vec<u8>)) -> String {
    let value: String = String::from_utf8_lossy(value).chars().take(60).collect();
    format!("{}: {value}", String::from_utf8_lossy(name))
}

fn speak(stage: &Stage, number: usize, case: &Case) -> crate::support::raw::http2::Outcome {
    let path = format!("/case/{number}");
    let fields: Fields = case
        .fields
        .iter()
        .map(|(name, value)| {
            let value = match value.strip_prefix(b"@") {
                Some(rest) => [path.as_bytes(), rest].concat(),
                None => value.clone(),
            };
            (name.clone(), value)
        })
        .collect();
    let mut caller = Caller2::new(stage.caller());
    let block = literals(&fields);
    let ends = if matches!(case.rest, Rest::Nothing) { END_STREAM } else { 0 };
    let mut pieces = block.chunks(16_384).peekable();
    let (mut kind, mut flags) = (HEADERS, ends);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        caller.send(kind, flags | last, 1, piece);
        // CONTINUATION
        (kind, flags) = (9, 0);
    }
    match &case.rest {
        Rest::Nothing => {}
        Rest::Body(body) => caller.send(DATA, END_STREAM, 1, body.as_bytes()),
        Rest::Trailers(body, trailers) => {
            caller.send(DATA, 0, 1, body.as_bytes());
            caller.send(HEADERS, END_HEADERS | END_STREAM, 1, &literals(trailers));
        }
    }
    caller.outcome(1)
}

#[test]
fn fields_of_a_connection_and_unclean_fields_are_refused() {
    let mut cases = Vec::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", "authorization"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
        ("X-Upper", "a"),
        ("x y", "a"),
        ("x:y", "a"),
        ("x\0", "a"),
        ("x\r\ny", "a"),
        ("", "a"),
        ("x\u{e9}", "a"),
        ("x", "a\0b"),
        ("x", "a\nb"),
        ("x", "a\r\nTransfer-Encoding: chunked"),
        ("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("x", "a\x7fb"),
        (":x", "a"),
        (":status", "200"),
        (":path", "/twice"),
        (":method", "GET"),
        (":authority", "localhost"),
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
    ] {
        let mut case = refused(head(&[(name, value)]));
        if name == "origin" {
            case.statuses = &[403];
        }
        cases.push(case);
    }
    // A pseudo field behind a plain one.
    cases.push(refused(fields(&[METHOD, SCHEME, AUTHORITY, ("x", "a"), PATH])));
    for field in
        [("te", "trailers"), ("x", "a"), ("host", "localhost"), ("x", ""), ("x", "a\tb\u{e9}")]
    {
        cases.push(passes(head(&[field])));
    }
    run(&cases);
}

#[test]
fn pseudo_fields_cannot_choose_the_destination_or_write_http1() {
    let mut cases = Vec::new();
    let pseudo = |method, scheme, authority, path| {
        fields(&[
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ])
    };
    for path in [
        "",
        "case",
        "*",
        "http://evil.example/",
        "@\r\nX: y",
        "/a b",
        "/a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /smuggled",
        "/a\0",
        "/a\n",
        "/a\x7f",
        "\\a",
    ] {
        cases.push(refused(pseudo("GET", "http", "localhost", path)));
    }
    for method in
        ["", "GET /smuggled HTTP/1.1\r\nX: y\r\n", "GE T", "G\0T", "TRACE", "TRACK", "CONNECT"]
    {
        cases.push(refused(pseudo(method, "http", "localhost", "@")));
    }
    for authority in [
        "",
        "evil.example",
        "evil.example:80",
        "user@localhost",
        "localhost@evil.example",
        "localhost, evil.example",
        "localhost/evil",
        "local host",
        "localhost\r\nX: y",
        "localhost:port",
        "[::1]evil.example",
        "127.0.0.1.evil.example",
    ] {
        cases.push(refused(pseudo("GET", "http", authority, "@")));
    }
    for scheme in ["", "ht tp", "http\r\n", "http://evil.example/?"] {
        cases.push(refused(pseudo("GET", scheme, "localhost", "@")));
    }
    // One is missing, or two disagree.
    cases.push(refused(fields(&[SCHEME, AUTHORITY, PATH])));
    cases.push(refused(fields(&[METHOD, AUTHORITY, PATH])));
    cases.push(refused(fields(&[METHOD, SCHEME, AUTHORITY])));
    cases.push(refused(fields(&[METHOD, SCHEME, PATH])));
    cases.push(refused(fields(&[METHOD, SCHEME, PATH, ("host", "evil.example")])));
    cases.push(refused(head(&[("host", "localhost"), ("host", "localhost")])));
    cases.push(refused(head(&[("host", "localhost:1")])));
    cases.push(refused(fields(&[(":method", "CONNECT"), AUTHORITY])));
    cases.push(refused(fields(&[(":method", "CONNECT"), (":authority", "evil.example:443")])));
    cases.push(refused(fields(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        SCHEME,
        AUTHORITY,
        PATH,
    ])));
    cases.push(refused(head(&[(":protocol", "websocket")])));
    cases.push(passes(fields(&[METHOD, SCHEME, PATH, ("host", "localhost")])));
    cases.push(passes(fields(&[PATH, AUTHORITY, SCHEME, METHOD])));
    cases.push(passes(pseudo("PROPFIND", "https", "127.0.0.1:1", "@")));
    // The h2 crate takes a fragment off. It reaches nobody, so nobody can read it in two ways.
    cases.push(passes(pseudo("GET", "http", "localhost", "@#/../fragment")));
    run(&cases);
}

#[test]
fn a_length_that_is_not_the_bodys_is_refused() {
    let post = |length: &str| {
        fields(&[(":method", "POST"), SCHEME, AUTHORITY, PATH, ("content-length", length)])
    };
    let mut cases = vec![
        refused(post("5")),
        refused(head(&[("content-length", "5")])),
        with(Rest::Body("hel"), refused(post("5"))),
        with(Rest::Body("helloworld"), refused(post("5"))),
        with(Rest::Body("hello"), refused(post("0"))),
        with(Rest::Trailers("hel", vec![("x", "y")]), refused(post("5"))),
    ];
    for length in ["5, 5", "+5", "-5", "five", "", "5 5", "0x5", "18446744073709551621"] {
        cases.push(with(Rest::Body("hello"), refused(post(length))));
    }
    let two = |second| {
        fields(&[
            (":method", "POST"),
            SCHEME,
            AUTHORITY,
            PATH,
            ("content-length", "5"),
            ("content-length", second),
        ])
    };
    cases.push(with(Rest::Body("hello"), refused(two("6"))));
    cases.push(with(Rest::Body("hello"), refused(two("5"))));
    cases.push(with(Rest::Body("hello"), passes(post("5"))));
    cases.push(with(Rest::Body("hello"), passes(post("005"))));
    cases.push(with(Rest::Body("hello"), passes(head(&[]))));
    cases.push(with(Rest::Body(""), passes(head(&[]))));
    cases.push(with(Rest::Body("hello"), passes(head(&[("content-length", "5")]))));
    let seen = run(&cases);
    for requests in &seen[seen.len() - 5..] {
        assert!(requests[0].body == b"hello" || requests[0].body.is_empty(), "{requests:?}");
    }
    assert_eq!(seen[seen.len() - 3][0].body, b"hello", "a GET of unknown length");
}

#[test]
fn trailers_and_fields_lose_what_only_we_may_say() {
    let trailers = vec![
        ("x-checksum", "1"),
        ("authorization", "Bearer of-the-caller"),
        ("content-length", "9"),
        ("host", "evil.example"),
        ("cookie", "a=b"),
        ("x_forwarded_for", "10.0.0.1"),
    ];
    let asking = [
        ("authorization", "Bearer of-the-caller"),
        ("authorization", "Basic b2Y6Y2FsbGVy"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("content_length", "99"),
        ("transfer_encoding", "chunked"),
        ("expect", "100-continue"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("proxy-authorization", "Basic b2Y6Y2FsbGVy"),
        ("trailer", "x-checksum, authorization, host, content-length, cookie"),
        ("x-custom", "kept"),
    ];
    let mut post = head(&asking);
    post[0].1 = b"POST".to_vec();
    let seen = run(&[
        with(Rest::Trailers("hello", trailers), passes(post)),
        // The h2 crate takes pseudo fields off trailers.
        with(Rest::Trailers("hello", vec![(":path", "/smuggled")]), passes(head(&[]))),
        with(Rest::Trailers("hello", vec![("Upper", "a")]), refused(head(&[]))),
        with(Rest::Trailers("hello", vec![("connection", "close")]), refused(head(&[]))),
        with(
            Rest::Trailers("hello", vec![("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")]),
            refused(head(&[])),
        ),
    ]);
    assert!(seen[1][0].trailers.is_empty());
    let request = &seen[0][0];
    let mut names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "host",
            "traceparent",
            "trailer",
            "transfer-encoding",
            "x-custom",
            "x-request-id"
        ]
    );
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers, [("x-checksum".to_owned(), "1".to_owned())]);
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let many: Vec<(String, String)> =
        (0..200).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let mut too_many = head(&[]);
    too_many.extend(many.iter().map(|(n, v)| (n.clone().into_bytes(), v.clone().into_bytes())));
    // The same name each time is as many fields.
    let mut repeated = head(&[]);
    repeated.extend((0..200).map(|_| (b"x".to_vec(), b"y".to_vec())));
    let mut cookies = head(&[]);
    cookies.extend((0..500).map(|_| (b"cookie".to_vec(), b"".to_vec())));
    let mut large = head(&[]);
    large.push((b"x".to_vec(), vec![b'y'; 70_000]));
    let mut fine = head(&[]);
    fine.extend(
        many.iter().take(90).map(|(n, v)| (n.clone().into_bytes(), v.clone().into_bytes())),
    );
    run(&[refused(too_many), refused(repeated), refused(cookies), refused(large), passes(fine)]);
}

#[test]
fn a_cut_answer_is_a_reset_stream() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            let answer = match request.target.as_str() {
                "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "/bad-chunks" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown",
            };
            line.send(answer.as_bytes());
            if request.target != "/own" {
                return;
            }
        }
    });
    let mut caller = Caller2::new(stage.caller());
    let mut stream = 1;
    for path in ["/length", "/chunks", "/bad-chunks"] {
        for (path, end) in [(path, None), ("/own", Some(End::Stream))] {
            let head = literals(&[METHOD, SCHEME, AUTHORITY, (":path", path)]);
            caller.send(HEADERS, END_HEADERS | END_STREAM, stream, &head);
            let outcome = caller.outcome(stream);
            match end {
                Some(end) => assert_eq!(outcome.end, end, "{path}"),
                None => assert!(matches!(outcome.end, End::Error(1..)), "{path}: {outcome:?}"),
            }
            stream += 2;
        }
    }
}
