//! Nothing that the program emits holds a token, a secret, a key, a cookie, a body or a query value
//! (threats T24, T25; trap 26). Every other test's log and admin pages are looked through for the
//! same, by `support::planted`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use genesys_proxy::simulator::{Client, Options};
use reqwest::RequestBuilder;

use crate::support::{
    Gateway, NO_LIMIT,
    gateway::ADMIN,
    load::sha256,
    planted::{nothing_planted_in, planted},
    raw::{Caller, Stage},
    scene::run_knowing,
    unlimited, world,
};

/// Everything there is to log.
const TRACE: &str = "[telemetry]\nlog = \"trace\"\nformat = \"FORMAT\"\n";

fn with_query(path: &str) -> String {
    format!("{path}?q={}", planted("query"))
}

fn carrying(request: RequestBuilder) -> RequestBuilder {
    request
        .header("cookie", format!("session={}", planted("cookie")))
        .header("x-custom", planted("field"))
        .body(planted("body"))
}

/// Every way of saying who one is, right and wrong.
fn credentials() -> Vec<(&'static str, String)> {
    let basic = |key: String| format!("Basic {}", STANDARD.encode(format!("billing:{key}")));
    vec![
        ("x-api-key", planted("key")),
        ("x-api-key", planted("wrong-key")),
        ("authorization", basic(planted("key"))),
        ("authorization", basic(planted("wrong-key"))),
        ("authorization", format!("Bearer {}", planted("bearer"))),
        ("authorization", format!("Bearer eyJhbGciOiJIUzI1NiJ9.{}.c2ln", planted("jwt"))),
        ("authorization", format!("Digest {}", planted("digest"))),
        ("accept", "*/*".to_owned()),
    ]
}

/// The simulator, with a client whose secret is planted.
async fn genesys() -> (genesys_proxy::simulator::Handle, impl Drop) {
    let options = Options { clients: vec![Client::new("demo", planted("secret"))], ..unlimited() };
    world::simulator(options).await
}

async fn every_path(format: &str, mode: &str, http2: &str) {
    let (genesys, _stop) = genesys().await;
    let audit = tempfile::tempdir().unwrap();
    let audit = audit.path().join("audit.log");
    let toml = format!(
        "{}\nhttp2 = \"{http2}\"\n{NO_LIMIT}\nmax_wait = \"0s\"\n[access]\nmode = \"{mode}\"\n\
         deny = [\"GET /api/v2/denied/**\", \"POST /api/v2/denied/**\"]\n{}[audit]\nfile = {:?}\n\
         [[caller]]\nname = \"billing\"\nkey_sha256 = \"{}\"\n",
        world::upstream(genesys.addr()),
        TRACE.replace("FORMAT", format),
        audit.display().to_string(),
        sha256(planted("key").as_bytes()),
    );
    let gateway =
        Gateway::start_with(&toml, &[ADMIN, ("GENESYS_CLIENT_SECRET", &planted("secret"))]);
    let clients = [
        world::client(),
        reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap(),
    ];
    let mut statuses = Vec::new();
    for client in &clients {
        for path in
            ["/api/v2/echo/x", "/api/v2/nowhere", "/api/v2/denied/x", "/oauth/token", "/a/../b"]
        {
            for (name, value) in credentials() {
                for method in [http::Method::GET, http::Method::POST] {
                    let request =
                        client.request(method, gateway.url(&with_query(path))).header(name, &value);
                    let answer = carrying(request).send().await.unwrap();
                    statuses.push(answer.status().as_u16());
                    if answer.headers().contains_key("proxy-status") {
                        nothing_planted_in(&format!("{:?}", answer.headers()));
                        nothing_planted_in(&answer.text().await.unwrap());
                    }
                }
            }
        }
        let login = |form: String| {
            client
                .post(gateway.url("/oauth/token"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
        };
        for key in ["key", "wrong-key"] {
            let key = planted(key);
            let form = format!(
                "grant_type=client_credentials&client_id=billing&client_secret={key}&x={}",
                planted("form")
            );
            let answer = login(form).send().await.unwrap();
            statuses.push(answer.status().as_u16());
            let body: serde_json::Value = answer.json().await.unwrap();
            let Some(token) = body["access_token"].as_str() else { continue };
            let mine = client.get(gateway.url("/api/v2/tokens/me")).bearer_auth(token);
            assert_eq!(mine.send().await.unwrap().status(), 200);
            let call = client.get(gateway.url("/api/v2/echo/y")).bearer_auth(token);
            assert_eq!(call.send().await.unwrap().status(), 200);
        }
    }
    // All of them were walked.
    for status in [200, 400, 403, 404, 405, if mode == "key" { 401 } else { 200 }] {
        assert!(statuses.contains(&status), "{status}: {statuses:?}");
    }
    let call = || {
        let request = clients[0].post(gateway.url(&with_query("/api/v2/echo/z")));
        carrying(request.header("x-api-key", planted("key")))
    };
    // The token dies, login breaks off, upstream breaks off.
    genesys.revoke();
    call().send().await.unwrap();
    genesys.faults(serde_json::from_value(serde_json::json!({"token": "garbage"})).unwrap());
    genesys.revoke();
    call().send().await.unwrap();
    raw(&gateway);
    for page in ["/metrics", "/readyz", "/healthz", "/api/status"] {
        let page = page.to_owned();
        let line = gateway.wait_for_log("health on http://");
        let base = line.rsplit_once("http://").unwrap().1.split('/').next().unwrap().to_owned();
        let answer = clients[0].get(format!("http://{base}{page}")).send().await.unwrap();
        nothing_planted_in(&answer.text().await.unwrap());
    }
    let log = gateway.log_at_end();
    assert!(log.contains("TRACE"), "it logs all");
    nothing_planted_in(&log);
    nothing_planted_in(&std::fs::read_to_string(&audit).unwrap());
}

/// What no client sends: bad framing, a trailer, a head with a NUL, half a body.
fn raw(gateway: &Gateway) {
    let (query, key, body) = (planted("query"), planted("key"), planted("body"));
    let head = format!("GET /a?q={query} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n");
    for request in [
        format!("{head}X-Nul: {body}\0\r\n\r\n"),
        format!("{head}Content-Length: 5\r\nContent-Length: {body}\r\n\r\n"),
        format!("{head}Content-Length: {body}\r\n\r\n"),
        format!("{head}Transfer-Encoding: {body}\r\n\r\n"),
        format!("{head}{body}\r\n\r\n"),
        format!("{head} {body}\r\n\r\n"),
        format!("{head}{body}: 1\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Api-Key: {key}\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{body}\0: 1\r\n\r\n"),
        format!("{head}Host: {body}\r\n\r\n"),
        format!("{head}Content-Length: 100\r\n\r\n{body}"),
        format!("GET http://{key}@evil.example/?q={query} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /?q={query}\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /a HTTP/{body}\r\nHost: localhost\r\n\r\n"),
        format!("{key}\r\n\r\n"),
    ] {
        let mut caller = Caller::connect(gateway.address);
        caller.send(&request);
        caller.end_sending();
        nothing_planted_in(&String::from_utf8_lossy(&caller.rest()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_and_however_it_ends_over_http1() {
    every_path("text", "open", "never").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_and_however_it_ends_over_http2() {
    every_path("json", "key", "always").await;
}

#[test]
fn an_upstream_that_breaks_off_or_talks_nonsense_is_logged_without_what_was_asked() {
    let secret = planted("said");
    for answer in [
        String::new(),
        format!("{secret}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX: {secret}\0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {secret}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{secret}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{secret}"),
    ] {
        let stage = Stage::with("telemetry.log = \"trace\"\n", move |line| {
            if line.request().is_some() {
                line.send(answer.as_bytes());
            }
        });
        let mut caller = stage.caller();
        caller.send(format!(
            "POST /a?q={} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
            planted("query"),
            planted("cookie"),
            planted("body").len(),
            planted("body"),
        ));
        caller.rest();
        nothing_planted_in(&stage.gateway().log());
    }
}

#[test]
fn no_core_is_left_of_a_crash() {
    let gateway = Gateway::start("[upstream]\napi_url = \"http://127.0.0.1:9\"");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&words[4..6], ["0", "0"], "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_is_wrong_with_a_secret_and_not_the_secret() {
    let (genesys, _stop) = genesys().await;
    let upstream = world::upstream(genesys.addr());
    let secret = planted("secret");
    let id = [("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", &*secret)];
    let blank = format!(" {secret}");
    let wrong = planted("wrong");
    let inline = format!("{upstream}\n[oauth]\nclient_secret = \"{secret}\"\n");
    let source = format!("{upstream}\n[oauth]\nclient_secret = {{ {secret} = \"x\" }}\n");
    let broken = format!("{upstream}\n[oauth]\nclient_secret = \"{secret}\n");
    for (toml, env) in [
        (&upstream, id),
        (&upstream, [id[0], ("GENESYS_CLIENT_SECRET", &*blank)]),
        (&upstream, [id[0], ("GENESYS_CLIENT_SECRET", &*wrong)]),
        (&inline, id),
        (&source, id),
        (&broken, id),
    ] {
        for arguments in [&["check"][..], &["check", "--live"], &["token"]] {
            nothing_planted_in(&run_knowing(&env, arguments, toml).all());
        }
    }
}

/// A file with a secret, replaced as editors and Kubernetes do.
fn replace(path: &std::path::Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

/// A secret like no other, in no part of it. Long, because memory that is freed in small pieces is
/// soon somebody else's.
fn unique() -> String {
    (0..28).fold(planted("secret"), |secret, _| format!("{secret}{:032x}", fastrand::u128(..)))
}

/// Where any part of a secret is in the memory of a process, and what is around it.
fn in_memory(pid: u32, secret: &str) -> Vec<String> {
    use std::{
        fs::File,
        io::{Read as _, Seek as _, SeekFrom},
    };
    let parts = secret.as_bytes()[planted("secret").len()..].chunks(32);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(from)).unwrap();
        // Some mappings are not for reading.
        let _ = (&mut memory).take(to - from).read_to_end(&mut bytes);
        let at = parts.clone().find_map(|part| memchr::memmem::find(&bytes, part));
        found.extend(at.map(|at| {
            let around = &bytes[at.saturating_sub(40)..(at + 72).min(bytes.len())];
            format!("{line}: {}", around.escape_ascii())
        }));
    }
    found
}

/// Mints with one secret, then with another: of the first nothing is left in memory.
async fn forgotten(client_auth: &str) {
    let (old, new) = (unique(), unique());
    let options = Options {
        clients: vec![Client::new("demo", &old)],
        token_life: std::time::Duration::from_secs(2),
        ..unlimited()
    };
    let (genesys, _stop) = world::simulator(options).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    replace(&path, &old);
    let gateway = Gateway::start(&format!(
        "{}\n{NO_LIMIT}\n[oauth]\nclient_auth = \"{client_auth}\"\n\
         client_secret = {{ file = {:?} }}",
        world::upstream(genesys.addr()),
        path.display().to_string(),
    ));
    genesys.until(|seen| seen.mints >= 2).await;
    // The scan sees what is there.
    assert_ne!(in_memory(gateway.pid(), &old), [""; 0]);
    replace(&path, &new);
    genesys.client(Client::new("demo", &new));
    gateway.logged("secret changed: the new one is live").await;
    let mints = genesys.counters().mints;
    genesys.until(|seen| seen.mints >= mints + 2).await;
    assert_eq!(in_memory(gateway.pid(), &old), [""; 0]);
    assert_ne!(in_memory(gateway.pid(), &new), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_replaced_is_gone_from_memory() {
    forgotten("basic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_was_sent_in_a_form() {
    forgotten("body").await;
}

#[test]
fn variables_are_in_memory_where_the_system_put_them_and_nowhere_else() {
    let secret = unique();
    let gateway = Gateway::start_with(
        "[upstream]\napi_url = \"http://127.0.0.1:9\"",
        &[("SOMEBODYS_SECRET", &secret)],
    );
    let found = in_memory(gateway.pid(), &secret);
    // The block that the system gave the process is not ours to clear.
    let at: Vec<bool> = found.iter().map(|at| at.contains("[stack]")).collect();
    assert_eq!(at, [true], "{found:#?}");
}
