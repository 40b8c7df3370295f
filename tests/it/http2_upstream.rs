//! Upstream over HTTP/2: what it refused unprocessed goes again, what it may have processed does
//! not, and a reset answer is visibly cut (threats T16, T17, T30; traps 14, 19, 27).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::raw::{
    Line, Stage,
    http2::{
        DATA, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, Line2, NO_ERROR, PUSH_PROMISE,
        REFUSED_STREAM, literals,
    },
};

const HTTP2: &str = "upstream.http2 = \"always\"\n";

/// A stage whose upstream runs `script`, and how many requests upstream took.
fn stage(
    script: impl Fn(&mut Line2<'_>, &AtomicUsize) + Send + Sync + 'static,
) -> (Stage, Arc<AtomicUsize>) {
    stage_with("", script)
}

/// The same, with more settings.
fn stage_with(
    settings: &str,
    script: impl Fn(&mut Line2<'_>, &AtomicUsize) + Send + Sync + 'static,
) -> (Stage, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let stage = Stage::with(&format!("{HTTP2}{settings}"), move |line: &mut Line| {
        script(&mut Line2::new(line), &counted);
    });
    (stage, taken)
}

fn call(stage: &Stage, method: &str) -> crate::support::raw::Answer {
    stage.call(format!("{method} /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"))
}

#[test]
fn a_plain_call_goes_over_http2() {
    let (stage, taken) = stage(|line, taken| {
        while let Some(stream) = line.request() {
            taken.fetch_add(1, Ordering::Relaxed);
            line.answer(stream, "{}");
        }
    });
    for method in ["GET", "POST"] {
        let answer = call(&stage, method);
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    }
    assert_eq!(taken.load(Ordering::Relaxed), 2);
}

#[test]
fn a_refused_stream_goes_again_whatever_its_method() {
    for method in ["GET", "POST"] {
        let (stage, taken) = stage(|line, taken| {
            while let Some(stream) = line.request() {
                if taken.fetch_add(1, Ordering::Relaxed) == 0 {
                    line.reset(stream, REFUSED_STREAM);
                } else {
                    line.answer(stream, "{}");
                }
            }
        });
        assert_eq!(call(&stage, method).status, 200, "{method}");
        assert_eq!(taken.load(Ordering::Relaxed), 2, "{method}");
    }
}

#[test]
fn a_stream_that_is_refused_on_every_connection_goes_again_after_a_pause() {
    for (attempts, status, arrived) in [(1, 502, 4), (2, 200, 5)] {
        let settings = format!("retry.attempts = {attempts}\n");
        let (stage, taken) = stage_with(&settings, |line, taken| {
            while let Some(stream) = line.request() {
                if taken.fetch_add(1, Ordering::Relaxed) < 4 {
                    line.reset(stream, REFUSED_STREAM);
                } else {
                    line.answer(stream, "{}");
                }
            }
        });
        assert_eq!(call(&stage, "POST").status, status, "{attempts}");
        assert_eq!(taken.load(Ordering::Relaxed), arrived, "{attempts}");
    }
}

#[test]
fn a_stream_that_was_reset_goes_again_for_what_may_go_twice() {
    for (method, status, arrived) in [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)] {
        let (stage, taken) = stage_with("retry.attempts = 2\n", |line, taken| {
            while let Some(stream) = line.request() {
                if taken.fetch_add(1, Ordering::Relaxed) == 0 {
                    line.reset(stream, INTERNAL_ERROR);
                } else {
                    line.answer(stream, "{}");
                }
            }
        });
        assert_eq!(call(&stage, method).status, status, "{method}");
        assert_eq!(taken.load(Ordering::Relaxed), arrived, "{method}");
    }
}

#[test]
fn streams_above_a_goaways_last_go_again_on_another_connection() {
    for code in [0, INTERNAL_ERROR] {
        for method in ["GET", "POST"] {
            let (stage, _) = stage(move |line, _| {
                while let Some(stream) = line.request() {
                    if line.0.number == 0 {
                        line.go_away(0, code);
                        return;
                    }
                    line.answer(stream, "{}");
                }
            });
            assert_eq!(call(&stage, method).status, 200, "{method} {code}");
            assert_eq!(stage.peer.connections(), 2, "{method} {code}");
        }
    }
}

#[test]
fn a_post_below_a_goaways_last_is_not_sent_again_when_the_connection_ends() {
    for code in [0, INTERNAL_ERROR] {
        let (stage, taken) = stage(move |line, taken| {
            if let Some(stream) = line.request() {
                taken.fetch_add(1, Ordering::Relaxed);
                line.go_away(stream, code);
            }
        });
        let answer = call(&stage, "POST");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "proxy.upstream.broken"),
            "{code}"
        );
        assert_eq!(taken.load(Ordering::Relaxed), 1, "{code}");
    }
}

#[test]
fn a_stream_that_goaway_covers_is_still_answered() {
    let (stage, _) = stage(|line, _| {
        while let Some(stream) = line.request() {
            line.go_away(stream, 0);
            line.answer(stream, "{}");
        }
    });
    for _ in 0..3 {
        assert_eq!(call(&stage, "POST").status, 200);
    }
}

#[test]
fn after_a_goaway_calls_take_another_connection_at_once_and_the_download_ends() {
    let (answered, others_answered) = std::sync::mpsc::channel();
    let others_answered = Mutex::new(others_answered);
    let (stage, taken) = stage(move |line, taken| {
        while let Some(stream) = line.request() {
            if line.0.number > 0 {
                line.answer(stream, "{}");
                continue;
            }
            taken.fetch_add(1, Ordering::Relaxed);
            line.go_away(stream, 0);
            let head = [&[0x88][..], &literals(&[("content-length", "10")])].concat();
            line.send(HEADERS, END_HEADERS, stream, &head);
            line.send(DATA, 0, stream, b"hello");
            others_answered.lock().unwrap().recv().unwrap();
            line.send(DATA, END_STREAM, stream, b"world");
        }
    });
    let mut download = stage.caller();
    download.send("GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut heard = Vec::new();
    while !heard.ends_with(b"hello") {
        heard.extend(download.bytes(1));
    }
    // Enough of them that the download's worker has some.
    for _ in 0..16 {
        assert_eq!(call(&stage, "POST").status, 200);
    }
    answered.send(()).unwrap();
    assert_eq!(download.bytes(5), b"world");
    assert_eq!(taken.load(Ordering::Relaxed), 1, "nothing more was sent to who said goodbye");
}

#[test]
fn a_post_that_was_reset_or_cut_off_is_a_502_and_delivered_once() {
    for how in ["reset", "close"] {
        let (stage, taken) = stage(move |line, taken| {
            while let Some(stream) = line.request() {
                taken.fetch_add(1, Ordering::Relaxed);
                if how == "close" {
                    return;
                }
                line.reset(stream, INTERNAL_ERROR);
            }
        });
        let answer = call(&stage, "POST");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "proxy.upstream.broken"),
            "{how}"
        );
        assert_eq!(taken.load(Ordering::Relaxed), 1, "{how}");
    }
}

#[test]
fn an_answer_that_is_reset_is_visibly_cut() {
    // hyper takes NO_ERROR for the end of the body.
    for code in [INTERNAL_ERROR, NO_ERROR] {
        for fields in [&[("content-length", "9")][..], &[]] {
            let head = [&[0x88][..], &literals(fields)].concat();
            let (stage, _) = stage(move |line, _| {
                while let Some(stream) = line.request() {
                    line.send(HEADERS, END_HEADERS, stream, &head);
                    line.send(DATA, 0, stream, b"hello");
                    line.reset(stream, code);
                }
            });
            let answer = call(&stage, "GET");
            assert!(answer.status == 0 || answer.cut, "{code}: {answer:?}");
        }
    }
}

#[test]
fn an_answer_that_ends_before_its_request_is_whole() {
    let (stage, _) = stage(|line, _| {
        while let Some(stream) = line.head() {
            line.answer(stream, "no more of it");
            line.reset(stream, NO_ERROR);
        }
    });
    let mut caller = stage.caller();
    caller.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhe");
    let answer = caller.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "no more of it"));
    assert!(!answer.cut, "{answer:?}");
}

#[test]
fn an_answer_whose_length_lies_is_never_whole() {
    for body in ["hello", "hello, world"] {
        let (stage, _) = stage(move |line, _| {
            while let Some(stream) = line.request() {
                let head = [&[0x88][..], &literals(&[("content-length", "9")])].concat();
                line.send(HEADERS, END_HEADERS, stream, &head);
                line.send(DATA, END_STREAM, stream, body.as_bytes());
            }
        });
        let answer = call(&stage, "GET");
        assert!(answer.status == 0 || answer.status == 502 || answer.cut, "{answer:?}");
    }
}

#[test]
fn malformed_answers_are_a_502_or_cut_and_the_next_caller_is_served() {
    let malformed: Vec<Vec<u8>> = vec![
        literals(&[("x", "no status")]),
        literals(&[(":status", "abc")]),
        literals(&[(":status", "")]),
        literals(&[(":status", "200"), (":status", "200")]),
        literals(&[(":status", "101")]),
        literals(&[(":status", "200"), ("X-Upper", "a")]),
        literals(&[(":status", "200"), ("connection", "close")]),
        literals(&[(":status", "200"), ("transfer-encoding", "chunked")]),
        literals(&[(":status", "200"), ("x", "a\r\nSet-Cookie: b")]),
        literals(&[(":status", "200"), ("x", "a\0b")]),
        literals(&[(":status", "200"), ("content-length", "5"), ("content-length", "6")]),
        literals(&[(":status", "200"), ("content-length", "abc")]),
        literals(&[(":path", "/")]),
        vec![0xff; 20],
    ];
    for block in malformed {
        let sent = block.clone();
        let (stage, taken) = stage(move |line, taken| {
            while let Some(stream) = line.request() {
                if taken.fetch_add(1, Ordering::Relaxed) == 0 {
                    line.send(HEADERS, END_HEADERS, stream, &sent);
                    line.send(DATA, END_STREAM, stream, b"hello");
                } else {
                    line.answer(stream, "own");
                }
            }
        });
        let answer = call(&stage, "POST");
        let shown = String::from_utf8_lossy(&block).into_owned();
        assert!(answer.status == 502 || answer.status == 0 || answer.cut, "{shown:?}: {answer:?}");
        assert_eq!(call(&stage, "GET").text(), "own", "{shown:?}");
        assert_eq!(taken.load(Ordering::Relaxed), 2, "{shown:?}");
    }
}

#[test]
fn a_pushed_answer_ends_the_connection_and_reaches_nobody() {
    let (stage, _) = stage(|line, _| {
        while let Some(stream) = line.request() {
            if line.0.number == 0 {
                let promised =
                    [&2_u32.to_be_bytes()[..], &literals(&[(":path", "/pushed")])].concat();
                line.send(PUSH_PROMISE, END_HEADERS, stream, &promised);
                line.answer(2, "pushed");
            }
            line.answer(stream, "own");
        }
    });
    let first = call(&stage, "GET");
    assert!(first.status == 502 || first.text() == "own", "{first:?}");
    assert_eq!(call(&stage, "GET").text(), "own");
}

#[test]
fn an_early_answer_over_http2_is_relayed() {
    let (stage, _) = stage(|line, _| {
        while let Some(stream) = line.head() {
            let head = literals(&[(":status", "413"), ("content-length", "5")]);
            line.send(HEADERS, END_HEADERS, stream, &head);
            line.send(DATA, END_STREAM, stream, b"large");
            line.reset(stream, 0);
        }
    });
    let mut caller = stage.caller();
    caller.send(format!(
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{}",
        "x".repeat(10_000)
    ));
    let answer = caller.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
}
