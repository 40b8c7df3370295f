//! A token endpoint that cannot be trusted, and answers that would make us hurt it
//! (threats T18, T27 to T31).

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::support::raw::{Line, Peer, Stage, TOKEN, granted, grants, ok};

const IMPATIENT: &str = "rate_limit.max_wait = \"500ms\"\n";
/// Planted in bad answers: no log may repeat it.
const PLANTED: &str = "pLaNtEd";

fn answers(line: &mut Line) {
    while line.request().is_some() {
        line.send(&ok("{}"));
    }
}

fn json(body: &str) -> Vec<u8> {
    ok(body)
}

/// What no token may come of.
fn bad_answers() -> Vec<Vec<u8>> {
    let token = |token: &str| granted(token, "86400");
    let life = |life: &str| granted(PLANTED, life);
    let status = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    vec![
        token(""),
        token(" "),
        token("="),
        token(&format!("{PLANTED} {PLANTED}")),
        token(&format!("{PLANTED}\\r\\nX-Injected: 1")),
        token(&format!("{PLANTED}\\n")),
        token(&format!("{PLANTED}\\u0000")),
        token(&format!("{PLANTED}\\u0009")),
        token(&format!("{PLANTED}\\u00e9")),
        token(&format!("{PLANTED}\u{e9}")),
        token(&format!("{PLANTED}\\\"")),
        token(&format!("{PLANTED},{PLANTED}")),
        token(&format!("{PLANTED}=a")),
        token(&PLANTED.repeat(3_000)),
        life("0"),
        life("-1"),
        life("-1e300"),
        life("0.5"),
        life("\"soon\""),
        life("\"\""),
        life("true"),
        life("[]"),
        life("{}"),
        life("null, \"expires_in\": 5"),
        life("NaN"),
        json(&format!("{{\"access_token\":[\"{PLANTED}\"],\"expires_in\":60}}")),
        json("{\"access_token\":17,\"expires_in\":60}"),
        json("{\"access_token\":null,\"expires_in\":60}"),
        json(&format!(
            "{{\"access_token\":\"{PLANTED}\",\"token_type\":\"mac\",\"expires_in\":60}}"
        )),
        json(&format!("{{\"access_token\":\"{PLANTED}\",\"expires_in\":60}} trailing")),
        json(&format!("{{\"access_token\":\"{PLANTED}\",\"expires_in\":60")),
        json("{}"),
        json("[]"),
        json("null"),
        json(""),
        json("<html>"),
        json(&format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000))),
        json(&format!(
            "{{\"access_token\":\"{PLANTED}\",\"expires_in\":60,\"pad\":\"{}\"}}",
            "x".repeat(20_000)
        )),
        status("201 Created", &format!("{{\"access_token\":\"{PLANTED}\",\"expires_in\":60}}")),
        status("204 No Content", ""),
        status(
            "401 Unauthorized",
            &format!("{{\"error\":\"{PLANTED}\",\"error_description\":\"{PLANTED}\"}}"),
        ),
        status("500 Internal Server Error", PLANTED),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{{\"access_token\":\"{PLANTED}\"")
            .into_bytes(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_vec(),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
        b"\0\0\0\0".to_vec(),
        Vec::new(),
    ]
}

#[test]
fn no_bad_answer_becomes_a_token_and_no_log_repeats_it() {
    let cases = Mutex::new(bad_answers());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(bad) = cases.lock().unwrap().pop() else { return };
                    let text = String::from_utf8_lossy(&bad).chars().take(200).collect::<String>();
                    let stage = Stage::with_login(IMPATIENT, answers, move |line| {
                        if line.request().is_some() {
                            line.send(&bad);
                        }
                    });
                    let answer = stage.get("/a");
                    let fine = answer.status == 503
                        && answer.code() == "proxy.token.unavailable"
                        && !answer.all("retry-after").is_empty()
                        && !answer.text().contains(PLANTED);
                    let log = stage.gateway().log();
                    let (mints, calls) = (stage.login.requests().len(), stage.end());
                    if !fine || log.contains(PLANTED) || mints > 4 || !calls.is_empty() {
                        let what = format!("{text:?}: {mints} mints, {answer:?}\n{log}");
                        wrong.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn odd_but_usable_lives_are_usable() {
    for life in ["1e300", "\"3600\"", "3600.9", "99999999999999999999"] {
        let stage = Stage::with_login("", answers, move |line| {
            while line.request().is_some() {
                line.send(&granted(TOKEN, life));
            }
        });
        assert_eq!(stage.get("/a").status, 200, "{life}");
        assert_eq!(stage.login.requests().len(), 1, "{life}");
    }
}

#[test]
fn the_token_endpoints_redirects_are_not_followed() {
    let elsewhere = Peer::start(grants);
    for status in [301, 302, 303, 307, 308] {
        let to = elsewhere.url();
        let stage = Stage::with_login(IMPATIENT, answers, move |line| {
            while line.request().is_some() {
                line.send(
                    format!("HTTP/1.1 {status} Moved\r\nLocation: {to}/oauth/token\r\nContent-Length: 0\r\n\r\n")
                        .as_bytes(),
                );
            }
        });
        assert_eq!(stage.get("/a").status, 503, "{status}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_token_that_is_still_good_is_kept_while_the_endpoint_misbehaves() {
    // The second mint comes after half of the first token's life.
    let stage = Stage::with_login("", answers, |line| {
        while line.request().is_some() {
            if line.number == 0 {
                line.send(&granted(TOKEN, "8"));
                return;
            }
            line.send(&granted("not a token", "60"));
        }
    });
    assert_eq!(stage.get("/a").status, 200);
    stage.login.wait_for_requests(2);
    stage.gateway().wait_for_log("no new token");
    assert_eq!(stage.get("/a").status, 200);
    assert!(stage.peer.requests().iter().all(|r| r.all("authorization").len() == 1));
}

#[test]
fn many_callers_and_a_dead_endpoint_are_few_mints() {
    let stage = Stage::with_login("rate_limit.max_wait = \"2s\"\n", answers, |line| {
        line.request();
    });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let answer = stage.get("/a");
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (503, "proxy.token.unavailable")
                );
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let mints = stage.login.requests().len();
    assert!(mints <= 8, "{mints} mints");
}

#[test]
fn one_endpoint_that_always_says_401_does_not_drain_renewals() {
    let mints = AtomicUsize::new(0);
    let stage = Stage::with_login(
        "",
        |line| {
            while let Some(request) = line.request() {
                if request.target == "/bad" {
                    line.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nlocked");
                } else {
                    line.send(&ok("{}"));
                }
            }
        },
        grants,
    );
    for _ in 0..30 {
        assert_eq!(stage.get("/good").status, 200);
        let answer = stage.get("/bad");
        assert_eq!((answer.status, answer.text().as_str()), (401, "locked"));
        mints.store(stage.login.requests().len(), Ordering::Relaxed);
    }
    assert!(mints.into_inner() <= 3, "{} mints", stage.login.requests().len());
    let bad = stage.peer.requests().iter().filter(|r| r.target == "/bad").count();
    assert!(bad <= 33, "30 calls became {bad}");
}

#[test]
fn an_absurd_retry_after_neither_freezes_nor_spins() {
    for (seconds, most) in [
        ("99999999999999999999", 1),
        ("86400", 1),
        ("181", 1),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1),
        ("0", 4),
        ("-1", 4),
        ("soon", 4),
        ("1e9", 4),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 4),
    ] {
        let stage = Stage::with("rate_limit.max_wait = \"2s\"\n", move |line| {
            while let Some(request) = line.request() {
                if request.target == "/limited" {
                    line.send(
                        format!("HTTP/1.1 429 X\r\nRetry-After: {seconds}\r\nContent-Length: 2\r\n\r\n{{}}")
                            .as_bytes(),
                    );
                } else {
                    line.send(&ok("{}"));
                }
            }
        });
        let begun = Instant::now();
        assert_eq!(stage.get("/limited").status, 429, "{seconds}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{seconds}: {:?}", begun.elapsed());
        let tries = stage.peer.requests().len();
        assert!(tries <= most, "{seconds}: {tries} tries");
        // Nobody else is frozen for longer than they would wait: a day least of all.
        if most == 1 {
            assert_eq!(stage.get("/other").status, 200, "{seconds}");
        }
    }
}
