//! An upstream that closes idle connections at any moment: nothing is lost unseen, and what must not
//! be sent twice is not (traps 14, 19, 27).

use std::{collections::BTreeMap, io::ErrorKind, time::Duration};

use tokio::time::Instant;

use crate::support::raw::{Line, Stage, ok};

const CALLERS: usize = 8;
const CALLS: usize = 150;

/// Whether bytes come within `idle`. The kernel's own timeouts are far coarser than the race.
fn more_within(line: &Line, idle: Duration) -> bool {
    line.stream.set_nonblocking(true).unwrap();
    let end = Instant::now() + idle;
    let came = loop {
        match line.stream.peek(&mut [0]) {
            Ok(bytes) => break bytes > 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(_) => break false,
        }
    };
    line.stream.set_nonblocking(false).unwrap();
    came
}

/// Answers with the target; after each answer it hangs up soon, with an end or with a reset, or
/// takes one more request and tells nobody what became of it.
fn impatient(line: &mut Line) {
    let mut dice = fastrand::Rng::with_seed(line.number as u64);
    while let Some(request) = line.request() {
        line.send(&ok(&request.target));
        if dice.u8(..16) == 0 {
            line.request();
            return;
        }
        if !more_within(line, Duration::from_micros(dice.u64(..200))) {
            if dice.bool() {
                line.reset();
            }
            return;
        }
    }
}

#[test]
fn calls_that_meet_a_closing_connection_are_answered_once_and_a_post_is_never_sent_twice() {
    let stage = Stage::with("telemetry.log = \"info\"\n", impatient);
    let answers: Vec<(String, u16, String)> = std::thread::scope(|scope| {
        let stage = &stage;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn(move || {
                    let mut line = stage.caller();
                    let mut dice = fastrand::Rng::with_seed(caller as u64);
                    let calls = (0..CALLS).map(|call| {
                        let method = if dice.bool() { "GET" } else { "POST" };
                        let target = format!("/{method}/{caller}/{call}");
                        let length = if method == "POST" { "Content-Length: 2\r\n" } else { "" };
                        let body = if method == "POST" { "{}" } else { "" };
                        line.send(format!(
                            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}"
                        ));
                        let answer = line.answer();
                        let said = if answer.status == 200 { answer.text() } else { answer.code() };
                        (target, answer.status, said)
                    });
                    calls.collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let connections = stage.peer.connections();
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for request in stage.end().iter().flat_map(|record| record.requests().0) {
        *arrived.entry(request.target).or_default() += 1;
    }
    let mut broken = 0;
    for (target, status, said) in &answers {
        let arrived = arrived.get(target).copied().unwrap_or_default();
        match (target.starts_with("/POST/"), status) {
            (_, 200) => assert_eq!(said, target, "another call's answer"),
            (true, 502) => {
                assert_eq!(said, "proxy.upstream.broken", "{target}");
                broken += 1;
            }
            _ => panic!("{target}: {status} {said}"),
        }
        if target.starts_with("/POST/") {
            assert!(arrived <= 1, "{target} was sent {arrived} times");
        }
        assert!(arrived >= usize::from(*status == 200), "{target}: answered, but by whom?");
    }
    assert_eq!(answers.len(), CALLERS * CALLS);
    assert!(connections > 4 * CALLERS, "{connections} connections: nothing was closed");
    assert!(broken < answers.len() / 4, "{broken} POSTs met a close, of {}", answers.len());
}
