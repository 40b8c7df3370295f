//! Callers over TLS: what they are shown, by which certificate they are known, and that neither a
//! new certificate nor a stranger's handshake disturbs anybody.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use reqwest::{Client, Version};
use tokio::time::Instant;

use crate::support::{
    Gateway, NO_LIMIT,
    bridge::Bridge,
    edge::{Files, showing, trusting},
    front::Authority,
    raw::{Caller, Peer, Stage, ok},
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";

fn url(gateway: &Gateway, path: &str) -> String {
    format!("https://localhost:{}{path}", gateway.address.port())
}

fn echo(line: &mut crate::support::raw::Line) {
    while line.request().is_some() {
        line.send(&ok("{}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_agrees_on_http_2_or_http_1_1_and_the_log_says_https() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let ca = Authority::new();
    let files = Files::of(&ca);
    let upstream = world::upstream(genesys.addr());
    let gateway = Gateway::start(&format!("{}{upstream}\n{NO_LIMIT}", files.toml()));
    gateway.wait_for_log("listening on https://127.0.0.1:");
    for (client, version) in
        [(trusting(&ca), Version::HTTP_2), (trusting(&ca).http1_only(), Version::HTTP_11)]
    {
        let client = client.build().unwrap();
        for _ in 0..3 {
            let answer = client.get(url(&gateway, ME)).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            assert!(answer.text().await.unwrap().contains("Demo Organisation"));
        }
    }
    let stranger = trusting(&Authority::new()).build().unwrap();
    assert!(stranger.get(url(&gateway, ME)).send().await.is_err(), "it shows its own certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_caller_and_who_shows_none_is_known_by_its_address() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&ca);
    let toml = format!(
        "{}{}\n{NO_LIMIT}\n\
         [[caller]]\nname = \"billing\"\nclient_cert = \"CN=billing\"\n\
         [[caller]]\nname = \"near\"\nnetworks = [\"127.0.0.0/8\"]\n",
        files.toml_asking(&clients),
        world::upstream(genesys.addr())
    );
    let gateway = Gateway::start(&toml);
    for (id, client, caller) in [
        ("certified", showing(&ca, &clients, "billing"), "billing"),
        ("unknown-name", showing(&ca, &clients, "nobody"), "near"),
        ("no-certificate", trusting(&ca).build().unwrap(), "near"),
    ] {
        for _ in 0..2 {
            let call = client.get(url(&gateway, ME)).header("x-request-id", id);
            assert_eq!(call.send().await.unwrap().status(), 200, "{id}");
        }
        for line in gateway.wait_for_logs(&format!("request_id={id} "), 2) {
            assert!(line.contains(&format!(" caller={caller} ")), "{line}");
        }
    }
    let forged = showing(&ca, &Authority::new(), "billing");
    let seen = genesys.counters().requests;
    assert!(forged.get(url(&gateway, ME)).send().await.is_err());
    assert_eq!(
        genesys.counters().requests,
        seen,
        "a certificate that does not verify is no caller"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_callers_must_be_known_a_certificate_is_enough_and_a_strangers_is_not() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&ca);
    let toml = format!(
        "{}access.mode = \"key\"\n{}\n{NO_LIMIT}\n\
         [[caller]]\nname = \"billing\"\nclient_cert = \"CN=billing\"\n",
        files.toml_asking(&clients),
        world::upstream(genesys.addr())
    );
    let gateway = Gateway::start(&toml);
    for (client, status) in [
        (showing(&ca, &clients, "billing"), 200),
        (showing(&ca, &clients, "nobody"), 401),
        (trusting(&ca).build().unwrap(), 401),
    ] {
        assert_eq!(client.get(url(&gateway, ME)).send().await.unwrap().status(), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_for_new_connections_and_bad_ones_for_nobody() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (ca, next, clients) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&ca);
    let toml = format!(
        "{}{}\n{NO_LIMIT}\n[[caller]]\nname = \"billing\"\nclient_cert = \"CN=billing\"\n",
        files.toml_asking(&Authority::new()),
        world::upstream(genesys.addr())
    );
    let gateway = Gateway::start(&toml);
    let get = |client: &Client| client.get(url(&gateway, ME)).send();
    let old = trusting(&ca).build().unwrap();
    assert_eq!(get(&old).await.unwrap().status(), 200);
    assert!(get(&showing(&ca, &clients, "billing")).await.is_err());
    files.write("clients.pem", &clients.pem());
    gateway.logged("new connections are shown").await;
    assert_eq!(get(&showing(&ca, &clients, "billing")).await.unwrap().status(), 200);

    let (key, cert) = next.issue("localhost");
    files.write("key.pem", &key);
    gateway.logged("the key does not fit the certificate").await;
    assert_eq!(get(&trusting(&ca).build().unwrap()).await.unwrap().status(), 200);
    files.write("cert.pem", &cert);
    gateway.wait_for_logs("new connections are shown", 2);
    assert_eq!(get(&trusting(&next).build().unwrap()).await.unwrap().status(), 200);
    // Its connection is the one that it opened at first: another would fail.
    assert_eq!(get(&old).await.unwrap().status(), 200);
    assert!(get(&trusting(&ca).build().unwrap()).await.is_err());
}

#[test]
fn plain_http_on_a_port_of_tls_is_told_so_and_reaches_nobody() {
    let ca = Authority::new();
    let files = Files::of(&ca);
    let stage = Stage::with(&files.toml(), echo);
    let answer = stage.get("/");
    assert_eq!((answer.status, answer.cut), (400, false));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    let mut http2 = stage.caller();
    http2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(http2.answer().status, 400);
    let mut other = stage.caller();
    other.send("\0\x01\x02");
    assert!(other.rest().is_empty());
    assert_eq!(stage.peer.connections(), 0);
}

/// The beginning of a `ClientHello` whose end never comes.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[test]
fn a_handshake_that_fails_or_trickles_ends_in_time_disturbs_nobody_and_fills_no_log() {
    let ca = Authority::new();
    let short = "access.header_timeout = \"1s\"\ntelemetry.log = \"info\"\n";
    let files = Files::of(&ca);
    let stage = Stage::with(&format!("{}{short}", files.toml()), echo);
    let bridge = Bridge::to(stage.gateway().address, &ca);
    let mut slow: Vec<Caller> = (0..40).map(|_| stage.caller()).collect();
    for (number, caller) in slow.iter_mut().enumerate() {
        match number % 4 {
            0 => {}
            1 => caller.send(HELLO),
            2 => caller.send(b"\x16\x03\x01\x00\x05hello"),
            _ => {
                caller.send(HELLO);
                caller.end_sending();
            }
        }
    }
    let begun = Instant::now();
    let mut caller = Caller::connect(bridge.address);
    caller.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(caller.answer().status, 200);
    let mut trickle = stage.caller().stream;
    trickle.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    trickle.write_all(HELLO).unwrap();
    // One byte each time nothing has come for a while.
    while trickle
        .read(&mut [0; 64])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    {
        let _ = trickle.write_all(b"\0");
    }
    for caller in &mut slow {
        // At most an alert.
        assert!(caller.rest().len() < 16);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let log = stage.gateway().log();
    // In up to five seconds.
    assert!(
        (1..=2).contains(&log.matches("a TLS handshake of a caller's failed").count()),
        "{log}"
    );
}

#[test]
fn why_a_handshake_failed_is_in_the_log_and_a_scan_is_only_counted() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&ca);
    let stage = Stage::with(&files.toml_asking(&clients), echo);
    for _ in 0..3 {
        drop(stage.caller());
    }
    let hello = |bytes: &[u8]| {
        let mut caller = stage.caller();
        caller.send(bytes);
        caller.rest();
    };
    hello(b"\x16\x03\x01\x00\x05hello");
    let line = stage.gateway().wait_for_log("a TLS handshake of a caller's failed");
    assert!(line.contains("WARN") && line.contains("left_out=0"), "a scan is not told of: {line}");
    // What rustls says, and not what stands around it.
    assert!(line.contains("why=received corrupt message"), "{line}");
    // The next ones are counted.
    hello(b"\x16\x03\x01\x00\x05hello");
    assert_eq!(stage.gateway().log().matches("a TLS handshake of a caller's failed").count(), 1);
}

#[test]
fn a_handshake_has_its_place_among_all_connections() {
    let ca = Authority::new();
    let few = "access.max_connections = 1\naccess.header_timeout = \"1s\"\n";
    let files = Files::of(&ca);
    let stage = Stage::with(&format!("{}{few}", files.toml()), echo);
    let bridge = Bridge::to(stage.gateway().address, &ca);
    // Which of the two workers is first is not ours to say: one order of several shows it.
    let waited = (0..12).any(|_| {
        let begun = Instant::now();
        let mut silent = stage.caller();
        let mut caller = Caller::connect(bridge.address);
        caller.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(caller.answer().status, 200);
        let waited = begun.elapsed() > Duration::from_millis(900);
        assert!(silent.rest().is_empty());
        waited
    });
    assert!(waited, "it has no place of its own");
}

#[test]
fn the_clocks_of_slow_callers_hold_over_tls() {
    let ca = Authority::new();
    let short = "access.header_timeout = \"1s\"\naccess.body_timeout = \"1s\"\n\
                 access.keep_alive = \"1s\"\nupstream.idle_timeout = \"1s\"\n";
    let files = Files::of(&ca);
    let stage = Stage::with(&format!("{}{short}", files.toml()), |line| {
        while let Some(request) = line.request() {
            if request.target == "/large" {
                line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                let piece = vec![b'.'; 1 << 20];
                while line.stream.write_all(&piece).is_ok() {}
                return;
            }
            line.send(&ok("{}"));
        }
    });
    let bridge = Bridge::to(stage.gateway().address, &ca);
    let begun = Instant::now();
    let mut callers: Vec<Caller> =
        ["", "GET / HTTP/1.1\r\nHost: loc", "GET /large", "POST /", "GET /"]
            .into_iter()
            .map(|begin| {
                let mut caller = Caller::connect(bridge.address);
                let rest = match begin {
                    "GET /large" | "GET /" => " HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "POST /" => " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhel",
                    _ => "",
                };
                caller.send(format!("{begin}{rest}"));
                caller
            })
            .collect();
    let [silent, head, large, body, idle] = &mut callers[..] else { panic!() };
    assert_eq!(idle.answer().status, 200);
    for caller in [silent, head, idle] {
        assert!(matches!(caller.answer().status, 0 | 408));
    }
    assert_eq!(body.answer().status, 408);
    // Upstream is released only when the gateway gives up on the caller.
    let large_upstream = |records: &[crate::support::raw::Record]| {
        // It may have come over the connection of the call before it.
        let large = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("GET /large");
        records.iter().any(|r| r.over && large(&r.bytes))
    };
    stage.peer.wait("the end of /large", large_upstream);
    assert!(large.answer().cut);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn idle_connections_over_tls_are_parked_and_lose_no_byte() {
    let ca = Authority::new();
    let files = Files::of(&ca);
    let stage = Stage::with(&files.toml(), |line| {
        while let Some(request) = line.request() {
            line.send(&ok(&".".repeat(request.target.len() * 10_000)));
        }
    });
    let bridge = Bridge::to(stage.gateway().address, &ca);
    let crowd: Vec<TcpStream> =
        (0..1200).map(|_| TcpStream::connect(stage.gateway().address).unwrap()).collect();
    let mut callers: Vec<Caller> = (0..4).map(|_| Caller::connect(bridge.address)).collect();
    for round in 1..40 {
        for caller in &mut callers {
            let target = format!("/{}", "a".repeat(round));
            caller.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        }
        for caller in &mut callers {
            let answer = caller.answer();
            assert_eq!((answer.status, answer.body.len()), (200, (round + 1) * 10_000));
        }
    }
    drop(crowd);
}

#[test]
fn a_unix_socket_stays_plain() {
    let ca = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let (peer, login) = (Peer::start(echo), Peer::start(crate::support::raw::grants));
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let files = Files::of(&ca);
    let toml = format!(
        "{}upstream.api_url = \"{}\"\noauth.token_url = \"{}/oauth/token\"\n",
        files.toml(),
        peer.url(),
        login.url()
    );
    let _gateway = Gateway::start_with(&toml, &[("GENESYS_PROXY__LISTEN", &listen)]);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
