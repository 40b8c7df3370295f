//! Who is slow is cut in time, and nobody else notices (threat T20; trap 4).

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use socket2::SockRef;
use tokio::time::Instant;

use crate::support::raw::{Caller, Record, Stage, ok};

/// What a configured second may become: a coarse clock, and a busy machine.
const GRACE: Duration = Duration::from_secs(3);
const SHORT: &str = "access.header_timeout = \"1s\"\naccess.body_timeout = \"1s\"\n\
                     access.keep_alive = \"1s\"\nupstream.idle_timeout = \"1s\"\n";

fn stage(settings: &str) -> Stage {
    Stage::with(settings, |line| {
        while let Some(request) = line.request() {
            if request.target == "/large" {
                line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                let piece = vec![b'.'; 1 << 20];
                while line.stream.write_all(&piece).is_ok() {}
                return;
            }
            line.send(&ok("{}"));
        }
    })
}

/// How long `wait` took, within what one second may become.
fn in_time(what: &str, wait: impl FnOnce()) {
    let begun = Instant::now();
    wait();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1) + GRACE, "{what} took {took:?}");
}

#[test]
fn a_head_that_does_not_end_is_closed_in_time() {
    let stage = stage(SHORT);
    for head in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: y", "\r\n"]
    {
        let mut caller = stage.caller();
        caller.send(head);
        in_time(head, || assert!(matches!(caller.answer().status, 0 | 408), "{head:?}"));
    }
    assert_eq!(stage.peer.connections(), 0);
}

#[test]
fn a_head_that_trickles_is_closed_all_the_same() {
    let stage = stage(SHORT);
    let mut caller = stage.caller();
    caller.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    in_time("a trickle", || {
        // One byte each time nothing has come for a while.
        while matches!(caller.stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
            caller.send("y");
        }
    });
}

#[test]
fn a_second_head_that_trickles_behind_an_answer_is_closed_too() {
    let stage = stage(SHORT);
    let mut caller = stage.caller();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /second HTTP/1.1\r\nHost: loc");
    assert_eq!(caller.answer().status, 200);
    in_time("half a head", || assert!(caller.rest().is_empty()));
}

#[test]
fn a_body_that_stops_coming_is_a_408_and_never_whole_upstream() {
    let stage = stage(SHORT);
    for body in [
        "Content-Length: 9\r\n\r\n",
        "Content-Length: 9\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let mut caller = stage.caller();
        caller.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{body}"));
        in_time(body, || {
            let answer = caller.answer();
            assert_eq!((answer.status, answer.code().as_str()), (408, "proxy.body.timeout"));
            assert!(caller.rest().is_empty());
        });
    }
    assert!(stage.end().iter().all(|record| record.requests().0.is_empty()));
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let stage = stage(SHORT);
    let mut caller = stage.caller();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(caller.answer().status, 200);
    in_time("an idle connection", || assert!(caller.rest().is_empty()));
}

#[test]
fn an_empty_line_behind_a_request_does_not_shorten_keep_alive() {
    let stage = stage("access.header_timeout = \"500ms\"\naccess.keep_alive = \"4s\"\n");
    let mut caller = stage.caller();
    let begun = Instant::now();
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n");
    assert_eq!(caller.answer().status, 200);
    assert!(caller.rest().is_empty());
    assert!(begun.elapsed() > GRACE, "closed after {:?}", begun.elapsed());
}

#[test]
fn a_reader_that_stalls_is_cut_and_its_upstream_connection_with_it() {
    let stage = stage(SHORT);
    let mut caller = stage.caller();
    caller.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // Upstream is released only when the gateway gives up on the caller.
    in_time("a stalled reader", || drop(stage.peer.wait_for_end(0)));
    let answer = caller.answer();
    assert!(answer.cut, "{} bytes", answer.body.len());
}

#[test]
fn of_an_answer_that_nobody_reads_the_kernel_is_given_little() {
    let stage = stage(SHORT);
    let mut caller = stage.caller();
    SockRef::from(&caller.stream).set_recv_buffer_size(1 << 12).unwrap();
    caller.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let line = stage.gateway().wait_for_log(" end=cut ");
    // All that was taken from upstream's answer: 4 MB, if the kernel may have it.
    let taken = line.split_once("bytes=").unwrap().1.split_once(' ').unwrap().0;
    assert!(taken.parse::<u64>().unwrap() < 1 << 20, "{line}");
}

#[test]
fn a_slow_caller_disturbs_nobody() {
    // Far more patience than the test takes: the slow ones stay all the time.
    let stage = stage("access.header_timeout = \"60s\"\naccess.body_timeout = \"60s\"\n");
    let mut slow: Vec<Caller> = Vec::new();
    for number in 0..60 {
        let mut caller = stage.caller();
        caller.send(match number % 3 {
            0 => "GET / HTTP/1.1\r\nHost: loc",
            1 => "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhel",
            _ => "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
        });
        slow.push(caller);
    }
    let begun = |records: &[Record]| records.iter().filter(|r| !r.bytes.is_empty()).count() >= 40;
    stage.peer.wait("the slow ones' requests", begun);
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(stage.get("/").status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    assert!(times[95] < Duration::from_secs(2), "p95 is {:?}", times[95]);
    drop(slow);
}

/// `count` callers that have said this, and say `more` all the while, cost `bound` bytes each at most,
/// and others are answered.
fn held_open(count: usize, first: &str, more: &str, bound: u64) {
    let stage = stage("access.header_timeout = \"60s\"\nupstream.idle_timeout = \"60s\"\n");
    assert_eq!(stage.get("/").status, 200);
    let before = stage.gateway().resident();
    let mut crowd: Vec<Caller> = (0..count).map(|_| stage.caller()).collect();
    for caller in &mut crowd {
        SockRef::from(&caller.stream).set_recv_buffer_size(1 << 12).unwrap();
        caller.send(first);
    }
    for _ in 0..10 {
        for caller in &mut crowd {
            caller.stream.write_all(more.as_bytes()).unwrap();
        }
        for _ in 0..10 {
            assert_eq!(stage.get("/").status, 200);
        }
    }
    let each = stage.gateway().peak_resident().saturating_sub(before) / count as u64;
    assert!(each < bound, "{first:?}: {each} bytes each");
}

#[test]
fn crowds_of_slow_callers_cost_what_is_documented_and_nobody_waits_for_them() {
    held_open(500, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", "y", 32 << 10);
    held_open(100, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 384 << 10);
}
