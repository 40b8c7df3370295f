//! Floods that HTTP/2 makes cheap to send: each ends with its connection, costs little memory, and
//! is nobody else's trouble (threats T20, T22).

use std::{io::Write as _, net::Shutdown, sync::mpsc, time::Duration};

use tokio::time::Instant;

use crate::support::{
    bridge::Bridge,
    edge::Files,
    front::Authority,
    raw::{
        Caller, Line, Record, Stage,
        http2::{
            ACK, CANCEL, Caller2, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, GOAWAY,
            HEADERS, PING, RST_STREAM, SETTINGS, frame, literals,
        },
        ok,
    },
};

const CONTINUATION: u8 = 9;
const WINDOW_UPDATE: u8 = 8;
const PRIORITY: u8 = 2;
const UNKNOWN: u8 = 99;
/// What any of the floods may cost, in bytes: some hundred connections' worth.
const BOUND: u64 = 32 << 20;
const SHORT: &str = "access.header_timeout = \"1s\"\naccess.body_timeout = \"1s\"\n\
                     access.keep_alive = \"1s\"\nupstream.idle_timeout = \"1s\"\n\
                     telemetry.log = \"info\"\ntelemetry.access_log = false\n";
/// What a configured second may become, several times over.
const IN_TIME: Duration = Duration::from_secs(15);

/// `/slow` is answered when its caller has gone, `/large` without end, `/trickle` byte by byte.
fn script(line: &mut Line) {
    while let Some(request) = line.request() {
        match request.target.as_str() {
            "/slow" => drop(line.bytes(1)),
            "/large" => {
                line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                let piece = vec![b'.'; 1 << 16];
                while line.stream.write_all(&piece).is_ok() {}
                return;
            }
            "/trickle" => {
                line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let chunks = b"1\r\n.\r\n".repeat(1000);
                // 760,000 bytes cost 132 MB once.
                for _ in 0..2000 {
                    if line.stream.write_all(&chunks).is_err() {
                        return;
                    }
                }
                line.send(b"0\r\n\r\n");
            }
            _ => line.send(&ok("{}")),
        }
    }
}

fn head(method: &str, path: &str) -> Vec<u8> {
    let fields =
        [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    literals(&fields)
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

/// Whether an attacker takes what it is answered. Who does not is stopped by its own full window
/// and then by the clock; who does, only by a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attacker {
    Reads,
    IsDeaf,
}

/// Says `flood` until the gateway hangs up, whether it reads or not. Others are served all the while.
fn survives(what: &str, opening: &[u8], flood: impl Fn(u32) -> Vec<u8> + Sync) {
    for attacker in [Attacker::IsDeaf, Attacker::Reads] {
        survives_one(what, attacker, opening, &flood);
    }
}

fn survives_one(
    what: &str,
    attacker: Attacker,
    opening: &[u8],
    flood: impl Fn(u32) -> Vec<u8> + Sync,
) -> Stage {
    let stage = Stage::with(SHORT, script);
    assert_eq!(stage.get("/").status, 200);
    let before = stage.gateway().resident();
    let (sender, over) = mpsc::channel();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Caller2(mut caller) = Caller2::new(stage.caller());
            let mut ears = caller.stream.try_clone().unwrap();
            if attacker == Attacker::Reads {
                scope.spawn(move || std::io::copy(&mut ears, &mut std::io::sink()));
            }
            caller.send(opening);
            // Many frames at a time, and no end of them.
            let mut round = 0;
            while caller.stream.write_all(&flood(round)).is_ok() {
                round += 1;
                if begun.elapsed() > IN_TIME {
                    break;
                }
            }
            // What there still is to hear is heard no more.
            let _ = caller.stream.shutdown(Shutdown::Both);
            sender.send(begun.elapsed()).unwrap();
        });
        let mut slowest = Duration::ZERO;
        let took = loop {
            let asked = Instant::now();
            assert_eq!(stage.get("/").status, 200, "{what}: another caller");
            slowest = slowest.max(asked.elapsed());
            if let Ok(took) = over.try_recv() {
                break took;
            }
        };
        assert!(took < IN_TIME, "{what}, {attacker:?}: it was never ended");
        assert!(slowest < Duration::from_secs(2), "{what}: others took {slowest:?}");
    });
    let cost = stage.gateway().peak_resident().saturating_sub(before);
    assert!(cost < BOUND, "{what}, {attacker:?}: {} MiB", cost >> 20);
    stage
}

/// So many times what `one` makes of a number.
fn many(count: u32, one: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(one).collect()
}

#[test]
fn a_rapid_reset_ends_its_connection() {
    survives("rapid reset", &[], |round| {
        many(500, |n| {
            let stream = (round * 500 + n) * 2 + 1;
            let cancel = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
            [get(stream, "/slow"), cancel].concat()
        })
    });
}

#[test]
fn a_reset_that_the_gateway_is_made_to_send_ends_its_connection() {
    survives("made you reset", &[], |round| {
        many(500, |n| {
            let stream = (round * 500 + n) * 2 + 1;
            // A window beyond what a window can be (RFC 9113 section 6.9.1).
            let most = 0x7fff_ffff_u32.to_be_bytes();
            [get(stream, "/slow"), frame(WINDOW_UPDATE, 0, stream, &most)].concat()
        })
    });
}

#[test]
fn a_head_that_never_ends_ends_its_connection() {
    let opening = frame(HEADERS, END_STREAM, 1, &head("GET", "/"));
    survives("CONTINUATION", &opening, |_| many(1000, |_| frame(CONTINUATION, 0, 1, &[])));
    let field = literals(&[("x", "y".repeat(100))]);
    survives("CONTINUATION with fields", &opening, |_| {
        many(1000, |_| frame(CONTINUATION, 0, 1, &field))
    });
}

#[test]
fn empty_frames_without_end_end_their_connection() {
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", "/slow"));
    survives("empty DATA", &post, |_| many(1000, |_| frame(DATA, 0, 1, &[])));
    survives("small DATA", &post, |_| many(1000, |_| frame(DATA, 0, 1, b".")));
}

#[test]
fn control_frames_whose_answers_nobody_reads_end_their_connection() {
    let deaf = Attacker::IsDeaf;
    survives_one("PING", deaf, &[], |_| many(1000, |_| frame(PING, 0, 0, &[0; 8])));
    survives_one("SETTINGS", deaf, &[], |_| {
        many(1000, |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]))
    });
}

#[test]
fn control_frames_whose_answers_are_read_end_their_connection_all_the_same() {
    let stage = Stage::with(SHORT, script);
    for (what, kind, payload) in
        [("PING", PING, &[0; 8][..]), ("SETTINGS", SETTINGS, &[0, 3, 0, 0, 0, 9])]
    {
        let mut caller = Caller2::new(stage.caller());
        // One at a time, the next when the one before is answered.
        let mut answered = 0;
        let code = loop {
            caller.send(kind, 0, 0, payload);
            let last = std::iter::from_fn(|| caller.frame())
                .find(|frame| frame.kind == GOAWAY || (frame.kind == kind && frame.flags == ACK))
                .expect("an answer, or a word about the end");
            if last.kind == GOAWAY {
                break last.code();
            }
            answered += 1;
            assert!(answered < 2000, "{what}: it goes on for ever");
        };
        assert_eq!(code, ENHANCE_YOUR_CALM, "{what}");
        assert!(answered > 200, "{what}: {answered} were answered");
        assert_eq!(stage.get("/").status, 200);
    }
    stage.gateway().wait_for_log("violation=Flood");
}

#[test]
fn what_is_only_noted_ends_its_connection_in_the_end() {
    // Refused, and so reset, as its body does not come.
    let elsewhere =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];
    let refused = frame(HEADERS, END_HEADERS, 1, &literals(&elsewhere));
    for (what, opening, frame) in [
        ("WINDOW_UPDATE", &[][..], frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("PRIORITY", &[], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("unknown frames", &[], frame(UNKNOWN, 0, 0, &[])),
        ("HEADERS", &refused, frame(HEADERS, END_HEADERS, 1, &[0x82])),
    ] {
        let stage = survives_one(what, Attacker::IsDeaf, opening, |_| frame.repeat(1000));
        stage.gateway().wait_for_log("violation=Flood");
    }
}

#[test]
fn who_calls_may_ping_as_well() {
    let stage = Stage::with(SHORT, script);
    let mut caller = Caller2::new(stage.caller());
    for call in 0..400 {
        for _ in 0..4 {
            caller.send(PING, 0, 0, &[0; 8]);
        }
        caller.0.send(get(call * 2 + 1, "/"));
        assert_eq!(caller.outcome(call * 2 + 1).end, End::Stream, "call {call}");
    }
}

#[test]
fn fields_that_unpack_to_much_more_are_refused() {
    // One field of 4,000 bytes for the table (RFC 7541 section 6.2.1), then it again, a byte each.
    let mut block = head("GET", "/");
    let field = literals(&[("x", "y".repeat(4000))]);
    block.push(0x40);
    block.extend(&field[1..]);
    block.extend([0xbe; 12_000]);
    survives("HPACK", &[], |round| {
        many(20, |n| frame(HEADERS, END_HEADERS | END_STREAM, (round * 20 + n) * 2 + 1, &block))
    });
}

/// A caller that lets everything come, and takes nothing.
fn greedy(caller: Caller, path: &str, streams: u32) -> Caller2 {
    let mut caller = Caller2::new(caller);
    // SETTINGS_INITIAL_WINDOW_SIZE, and the same for the connection.
    caller.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    caller.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    for n in 0..streams {
        caller.0.send(get(n * 2 + 1, path));
    }
    caller
}

#[test]
fn answers_that_nobody_reads_cost_little_however_they_come_and_end_in_time() {
    let ca = Authority::new();
    let files = Files::of(&ca);
    let tls = files.toml();
    for (target, streams) in [("/trickle", 1), ("/trickle", 20), ("/large", 100)] {
        for settings in ["", &tls] {
            let stage = Stage::with(&format!("{SHORT}{settings}"), script);
            let address = stage.gateway().address;
            let bridge = (!settings.is_empty()).then(|| Bridge::to(address, &ca));
            let address = bridge.as_ref().map_or(address, |bridge| bridge.address);
            let polite = || {
                let mut caller = Caller::connect(address);
                caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert_eq!(caller.answer().status, 200);
            };
            polite();
            let before = stage.gateway().resident();
            let begun = Instant::now();
            let attacker = greedy(Caller::connect(address), target, streams);
            let asks = format!("GET {target} ");
            let ended = |records: &[Record]| {
                let text = |record: &Record| String::from_utf8_lossy(&record.bytes).contains(&asks);
                let asked = || records.iter().filter(|record| text(record));
                asked().count() == streams as usize && asked().all(|record| record.over)
            };
            polite();
            stage.peer.wait("the end of what nobody reads", ended);
            assert!(begun.elapsed() < IN_TIME, "{target}: {:?}", begun.elapsed());
            polite();
            drop(attacker);
            let cost = stage.gateway().peak_resident().saturating_sub(before);
            assert!(cost < BOUND, "{target} × {streams} {settings}: {} MiB", cost >> 20);
        }
    }
}

#[test]
fn a_stream_whose_window_stays_closed_is_reset_in_time_and_upstream_released() {
    let stage = Stage::with(SHORT, script);
    let mut caller = Caller2::new(stage.caller());
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
    caller.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let begun = Instant::now();
    caller.0.send(get(1, "/large"));
    assert_eq!(caller.outcome(1).end, End::Error(CANCEL));
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    stage.peer.wait_for_end(0);
}

#[test]
fn a_window_that_opens_byte_by_byte_loses_nothing() {
    let stage = Stage::with(SHORT, |line| {
        while line.request().is_some() {
            line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            line.send(&b"2\r\nab\r\n".repeat(1500));
            line.send(b"0\r\n\r\n");
        }
    });
    let mut caller = Caller2::new(stage.caller());
    caller.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    caller.0.send(get(1, "/"));
    let mut windows = Vec::new();
    for _ in 0..2999 {
        windows.extend(frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()));
    }
    caller.0.send(windows);
    let outcome = caller.outcome(1);
    assert_eq!((outcome.status, outcome.end), (200, End::Stream));
    assert_eq!(outcome.body, b"ab".repeat(1500));
}

#[test]
fn who_says_nothing_more_after_the_preface_or_half_a_head_is_closed_in_time() {
    let stage = Stage::with(SHORT, script);
    for more in [
        Vec::new(),
        frame(HEADERS, END_STREAM, 1, &head("GET", "/")),
        get(1, "/")[..12].to_vec(),
        // A head that is never whole, between two that are.
        [get(1, "/"), frame(HEADERS, END_STREAM, 3, &head("GET", "/"))].concat(),
    ] {
        let begun = Instant::now();
        let mut caller = Caller2::new(stage.caller());
        caller.0.send(&more);
        caller.0.rest();
        assert!(begun.elapsed() < IN_TIME, "{more:?}: {:?}", begun.elapsed());
    }
    let mut half = stage.caller();
    half.send("PRI * HTTP/2.0\r\n\r\nSM");
    let begun = Instant::now();
    half.rest();
    assert!(begun.elapsed() < IN_TIME);
}

#[test]
fn a_body_over_http_2_that_stops_coming_is_a_408() {
    let stage = Stage::with(SHORT, script);
    let mut caller = Caller2::new(stage.caller());
    caller.send(HEADERS, END_HEADERS, 1, &head("POST", "/"));
    caller.send(DATA, 0, 1, b"hel");
    let outcome = caller.outcome(1);
    assert_eq!(outcome.status, 408);
    caller.0.stream.shutdown(Shutdown::Both).unwrap();
}
