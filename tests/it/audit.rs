//! Each call has its line in the audit log, in a chain; what cannot be recorded is refused or counted,
//! as configured; and the log goes on after a crash, a full disk and a rotation.
//! It never reads more of the gateway than its answers, its log and the file.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use rlimit::Resource;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{
    Gateway,
    gateway::{ADMIN, PATIENCE},
    planted::nothing_planted_in,
    raw::{
        Answer, Caller, Line, Peer, SECRET, TOKEN, grants,
        http2::{Caller2, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, literals},
        ok,
    },
};

/// What the log begins with.
const STARTED: usize = 1;

/// A gateway with an audit log, between a scripted upstream and a login.
struct Scene {
    /// Killed first.
    gateway: Gateway,
    dir: tempfile::TempDir,
    peer: Peer,
    _login: Peer,
    settings: String,
}

impl Scene {
    fn new(settings: &str) -> Self {
        Self::before(settings, |line| {
            while line.request().is_some() {
                line.send(&ok("{}"));
            }
        })
    }

    /// Upstream follows `script` on each connection.
    fn before(settings: &str, script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (peer, login) = (Peer::start(script), Peer::start(grants));
        let toml = format!(
            "upstream.api_url = \"{}\"\noauth.token_url = \"{}/oauth/token\"\n\
             rate_limit.requests_per_minute = 0\nupstream.warm_connections = 0\n\
             audit.file = \"{}\"\n{settings}",
            peer.url(),
            login.url(),
            dir.path().join("audit.jsonl").display(),
        );
        let gateway = start(&toml);
        Self { gateway, dir, peer, _login: login, settings: toml }
    }

    fn file(&self) -> PathBuf {
        self.beside("audit.jsonl")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Status and `code` of a GET's answer, on a connection of its own.
    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.call(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let code = if answer.status < 400 { String::new() } else { answer.code() };
        (answer.status, code)
    }

    fn call(&self, request: &str) -> Answer {
        let mut caller = Caller::connect(self.gateway.address);
        caller.send(request);
        caller.answer()
    }

    /// The log's lines, as soon as there are so many in it.
    fn lines(&self, count: usize) -> Vec<Value> {
        until(&self.gateway, || {
            let lines = read(&self.file());
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The same with `kill -9`, which leaves the file as it is.
    fn kill(&mut self) {
        self.gateway.signal("KILL");
        self.gateway.wait();
    }

    fn again(&mut self) {
        self.gateway = start(&self.settings);
    }

    /// The chain of the log is whole.
    fn assert_whole(&self) -> String {
        let (said, code) = verify(&[self.file().to_str().unwrap()]);
        assert_eq!(code, 0, "{said}");
        assert!(said.starts_with("The chain is whole: "), "{said}");
        said
    }

    /// No file of the gateway's may be longer than this.
    fn limit(&self, bytes: u64) {
        let pid = self.gateway.pid().try_into().unwrap();
        let limits = Some((bytes, rlimit::INFINITY));
        rlimit::prlimit(pid, Resource::FSIZE, limits, None).unwrap();
    }

    /// The disk is full, but for half a line.
    fn fill(&self) {
        self.limit(self.file().metadata().unwrap().len() + 100);
    }

    fn readiness(&self) -> (u16, String) {
        let line = self.gateway.wait_for_log("health on http://");
        let admin = line.rsplit_once("http://").unwrap().1.split('/').next().unwrap();
        let admin: SocketAddr = admin.parse().unwrap();
        let mut caller = Caller::connect(admin);
        caller.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = caller.answer();
        (answer.status, answer.text().trim().to_owned())
    }
}

fn start(toml: &str) -> Gateway {
    let gateway = Gateway::start_with(toml, &[ADMIN, ("GENESYS_CLIENT_SECRET", SECRET)]);
    gateway.wait_for_log("health on http://");
    gateway
}

fn run(arguments: &[&str]) -> Output {
    // Whatever should end and does not is killed.
    let output = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_genesys-proxy")])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GENESYS_CLIENT_ID", "demo")
        .env("GENESYS_CLIENT_SECRET", SECRET)
        .output()
        .unwrap();
    for said in [&output.stdout, &output.stderr] {
        nothing_planted_in(&String::from_utf8_lossy(said));
    }
    output
}

/// What `audit verify` says of these, and its exit code.
fn verify(arguments: &[&str]) -> (String, i32) {
    let output = run(&[&["audit", "verify"], arguments].concat());
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn until<T>(gateway: &Gateway, there: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come:\n{}", gateway.log());
        std::thread::yield_now();
    }
}

/// The whole lines of a file.
fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(lines: &'a [Value], request_id: &str) -> &'a Value {
    let mut found = lines.iter().filter(|line| line["request_id"] == request_id);
    let line = found.next().unwrap_or_else(|| panic!("{request_id} has no line: {lines:#?}"));
    assert!(found.next().is_none(), "{request_id} has two");
    line
}

/// Upstream, as the target asks for it.
fn upstream() -> impl Fn(&mut Line) + Send + Sync + 'static {
    let (stale, broken) = (AtomicU32::new(0), AtomicU32::new(0));
    let first = |count: &AtomicU32| count.fetch_add(1, Ordering::Relaxed) == 0;
    let status = |line: &mut Line, status: &str| {
        let more = "Content-Length: 0\r\nININ-Correlation-Id: c0ffee";
        line.send(format!("HTTP/1.1 {status}\r\n{more}\r\n\r\n").as_bytes());
    };
    move |line| {
        while let Some(request) = line.request() {
            match &*request.target {
                "/stale" if first(&stale) => status(line, "401 Unauthorized"),
                "/broken" if first(&broken) => return,
                "/missing" => status(line, "404 Not Found"),
                "/trouble" => status(line, "500 Internal Server Error"),
                "/hang" => return line.wait_closed(),
                "/cut" => return line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
                _ => status(line, "200 OK"),
            }
        }
    }
}

#[test]
fn every_call_has_its_line_whatever_became_of_it() {
    let scene = Scene::before("retry.attempts = 2\n", upstream());
    let request = |line: &str, id: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n\r\n")
    };
    for (line, id) in [
        ("GET /fine", "fine"),
        ("DELETE /api/v2/tokens/me", "denied"),
        ("TRACE /fine", "traced"),
        ("GET /stale", "stale"),
        ("GET /broken", "broken"),
        ("GET /missing", "missing"),
        ("GET /trouble", "trouble"),
    ] {
        scene.call(&request(line, id));
    }
    let mut cut = Caller::connect(scene.gateway.address);
    cut.send(request("GET /cut", "cut"));
    cut.rest();
    let foreign = "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nX-Request-Id: foreign\r\n\r\n";
    assert_eq!(scene.call(foreign).status, 421);
    let mut leaver = Caller::connect(scene.gateway.address);
    leaver.send(request("GET /hang", "left"));
    scene.peer.wait("the call that hangs", |records| {
        records.iter().any(|record| record.requests().0.iter().any(|r| r.target == "/hang"))
    });
    drop(leaver);
    let mut upload = Caller::connect(scene.gateway.address);
    let head =
        "POST /fine HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: half\r\nContent-Length: 9\r\n";
    upload.send(format!("{head}\r\nhalf"));
    upload.end_sending();
    upload.rest();
    let lines = scene.lines(STARTED + 11);
    for (id, method, path, status, decision, rule, attempts, replayed, end) in [
        ("fine", "GET", "/fine", 200, "allowed", None, 1, false, "complete"),
        (
            "denied",
            "DELETE",
            "/api/v2/tokens/me",
            403,
            "refused",
            Some("access.deny DELETE /api/v2/tokens/me"),
            0,
            false,
            "complete",
        ),
        (
            "traced",
            "TRACE",
            "/fine",
            405,
            "refused",
            Some("proxy.method.refused"),
            0,
            false,
            "complete",
        ),
        ("stale", "GET", "/stale", 200, "allowed", None, 2, true, "complete"),
        ("broken", "GET", "/broken", 200, "allowed", None, 2, false, "complete"),
        ("missing", "GET", "/missing", 404, "allowed", None, 1, false, "complete"),
        ("trouble", "GET", "/trouble", 500, "allowed", None, 1, false, "complete"),
        ("cut", "GET", "/cut", 200, "allowed", None, 1, false, "cut"),
        ("foreign", "GET", "/", 421, "refused", Some("proxy.misdirected"), 0, false, "complete"),
        ("left", "GET", "/hang", 499, "allowed", None, 1, false, "cut"),
        ("half", "POST", "/fine", 499, "allowed", None, 1, false, "cut"),
    ] {
        let line = of(&lines, id);
        assert_eq!((&line["method"], &line["path"]), (&method.into(), &path.into()), "{line}");
        assert_eq!(
            (&line["status"], &line["attempts"]),
            (&status.into(), &attempts.into()),
            "{line}"
        );
        assert_eq!((&line["decision"], line["rule"].as_str()), (&decision.into(), rule), "{line}");
        assert_eq!((&line["replayed"], &line["end"]), (&replayed.into(), &end.into()), "{line}");
        assert_eq!((&line["caller"], &line["peer"]), (&"127.0.0.1".into(), &"127.0.0.1".into()));
    }
    assert_eq!(of(&lines, "missing")["correlation_id"], "c0ffee");
    let millis = lines[1]["time"].as_str().unwrap();
    assert!(millis.len() == "2026-11-23T08:34:08.123Z".len() && millis.ends_with('Z'), "{millis}");
    scene.assert_whole();
}

/// A place is given back with its line: who never takes their answers would use up all of them.
#[test]
fn what_the_gateway_answers_itself_has_its_line_before_its_caller_takes_it() {
    let scene = Scene::new("");
    let mut caller = Caller2::new(Caller::connect(scene.gateway.address));
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
    caller.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let elsewhere =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/untaken")];
    for stream in 0..50 {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream * 2 + 1, &literals(&elsewhere));
        caller.0.send(head);
    }
    let told = || {
        let lines = read(&scene.dir.path().join("audit.jsonl"));
        let all = lines.iter().filter(|line| line["path"] == "/untaken").count() == 50;
        all.then_some(lines)
    };
    let lines = until(&scene.gateway, told);
    assert!(lines.iter().skip(STARTED).all(|line| line["decision"] == "refused"));
    drop(caller);
}

#[test]
fn nothing_secret_that_comes_with_a_call_is_in_the_log() {
    let scene = Scene::before("", |line| {
        while line.request().is_some() {
            line.send(
                b"HTTP/1.1 200 OK\r\nSet-Cookie: hush-1\r\nX-Other: hush-2\r\nContent-Length: 6\r\n\r\nhush-3",
            );
        }
    });
    let request = "POST /api/v2/users?name=hush-4 HTTP/1.1\r\nHost: localhost\r\n\
                   Authorization: Bearer hush-6\r\nCookie: hush-7\r\nX-Api-Key: hush-8\r\n\
                   User-Agent: hush-9\r\nContent-Length: 7\r\n\r\nhush-10";
    scene.call(request);
    scene.call(&request.replace("POST /api", "DELETE /api"));
    let refused = "GET /?hush-11 HTTP/1.1\r\nHost: hush-12\r\nOrigin: http://hush-13\r\n\r\n";
    scene.call(refused);
    scene.lines(STARTED + 3);
    let text = fs::read_to_string(scene.file()).unwrap();
    for secret in ["hush", TOKEN, SECRET] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert_eq!(scene.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn after_a_crash_the_chain_goes_on_from_the_last_whole_line() {
    let mut scene = Scene::new("");
    scene.get("/one");
    scene.lines(STARTED + 1);
    scene.kill();
    // In the middle of a line.
    let mut torn = fs::read(scene.file()).unwrap();
    let whole = torn.len();
    torn.extend_from_slice(b"{\"seq\":3,\"time\":\"2026");
    fs::write(scene.file(), &torn).unwrap();
    let (said, code) = verify(&[scene.file().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(said.contains("audit.jsonl:3: ") && said.contains("up to seq 2"), "{said}");
    scene.again();
    scene.gateway.wait_for_log("half a line at the end of the audit log was cut off");
    scene.get("/two");
    let lines = scene.lines(4);
    assert_eq!(lines[2]["kind"], "started");
    assert_eq!(lines[2]["cut"], torn.len() - whole);
    assert_eq!(lines[2]["prev"], lines[1]["hash"]);
    assert_eq!(lines[3]["path"], "/two");
    let said = scene.assert_whole();
    assert!(said.contains("1 of 2 starts came after a crash"), "{said}");
    scene.gateway.signal("TERM");
    assert!(scene.gateway.wait().success());
    assert_eq!(read(&scene.file()).last().unwrap()["kind"], "stopped");
    scene.again();
    let said = scene.assert_whole();
    assert!(said.contains("1 of 3 starts"), "an end is no crash: {said}");
}

#[test]
fn the_newest_hash_is_in_the_gateways_own_log_to_be_compared() {
    let mut scene = Scene::new("");
    let begin = scene.gateway.wait_for_log("the audit log begins");
    assert!(begin.contains(scene.lines(1)[0]["hash"].as_str().unwrap()), "{begin}");
    scene.get("/one");
    scene.lines(2);
    scene.gateway.signal("TERM");
    scene.gateway.wait();
    let end = scene.gateway.wait_for_log("the audit log ends");
    let hash = end.split("hash=").nth(1).unwrap().split(' ').next().unwrap().trim();
    let file = scene.file();
    let file = file.to_str().unwrap();
    let (said, code) = verify(&[file, "--anchor", hash]);
    assert!(code == 0 && said.contains(&format!("last hash {hash}")), "{said}");
    // Cut off at its end, the chain is whole, and only the anchor tells.
    let text = fs::read_to_string(file).unwrap();
    let shorter: String = text.split_inclusive('\n').take(2).collect();
    fs::write(file, shorter).unwrap();
    scene.assert_whole();
    let (said, code) = verify(&[file, "--anchor", hash]);
    assert!(code == 1 && said.contains("--anchor"), "{said}");
}

#[test]
fn while_the_disk_is_full_calls_are_refused_before_they_are_sent_and_then_all_is_well_again() {
    let scene = Scene::new("");
    assert_eq!(scene.get("/before").0, 200);
    scene.lines(STARTED + 1);
    let length = scene.file().metadata().unwrap().len();
    scene.fill();
    // Nobody knows yet: it is made, and keeps its place.
    assert_eq!(scene.get("/at-the-edge").0, 200);
    let said = scene.gateway.wait_for_log("the audit log cannot be written");
    assert!(said.contains("ERROR") && said.contains("refused"), "{said}");
    assert_eq!(scene.file().metadata().unwrap().len(), length, "no half line is left");
    for _ in 0..3 {
        let (status, code) = scene.get("/while-full");
        assert_eq!((status, &*code), (503, "proxy.audit.unavailable"));
    }
    assert_eq!(scene.readiness(), (503, "the audit log cannot be written".to_owned()));
    scene.limit(rlimit::INFINITY);
    scene.gateway.wait_for_log("the audit log can be written again");
    assert_eq!(scene.readiness(), (200, "ready".to_owned()));
    assert_eq!(scene.get("/after").0, 200);
    let lines = until(&scene.gateway, || {
        let lines = read(&scene.file());
        lines.iter().any(|line| line["path"] == "/after").then_some(lines)
    });
    let told: Vec<_> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(told, ["/before", "/at-the-edge", "/after"]);
    let lost: Vec<_> = lines.iter().filter(|line| line["kind"] == "lost").collect();
    assert_eq!(lost.iter().map(|line| line["lost"].as_u64().unwrap()).sum::<u64>(), 3);
    assert!(lost.iter().all(|line| line["decision"] == "refused"));
    assert!(scene.assert_whole().contains("By its own word it lacks 3 calls."));
    let mut sent: Vec<_> =
        scene.peer.requests().into_iter().map(|request| request.target).collect();
    // On whichever connections.
    sent.sort();
    assert_eq!(sent, ["/after", "/at-the-edge", "/before"]);
}

#[test]
fn or_they_go_on_loudly_and_their_lines_come_when_there_is_room() {
    let scene = Scene::new("audit.on_failure = \"continue\"\n");
    scene.fill();
    assert_eq!(scene.get("/one").0, 200);
    let said = scene.gateway.wait_for_log("the audit log cannot be written");
    assert!(said.contains("ERROR") && said.contains("go on"), "{said}");
    for path in ["/two", "/three"] {
        assert_eq!(scene.get(path).0, 200);
    }
    let ready = "ready, but the audit log cannot be written".to_owned();
    assert_eq!(scene.readiness(), (200, ready));
    scene.limit(rlimit::INFINITY);
    scene.gateway.wait_for_log("the audit log can be written again");
    let lines = scene.lines(STARTED + 3);
    let told: Vec<_> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(told, ["/one", "/two", "/three"]);
    scene.assert_whole();
}

#[test]
fn two_gateways_never_write_one_file_and_no_file_is_written_through_a_link() {
    let scene = Scene::new("");
    let before = scene.lines(STARTED);
    let serve = |file: &Path| {
        let config = scene.beside("other.toml");
        let toml =
            "listen = [\"127.0.0.1:0\"]\nadmin = \"\"\nupstream.api_url = \"http://127.0.0.1:9\"\n";
        fs::write(&config, format!("{toml}audit.file = \"{}\"\n", file.display())).unwrap();
        let output = run(&["serve", "--config", config.to_str().unwrap()]);
        (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
    };
    let (said, code) = serve(&scene.file());
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("another process writes it") && said.contains("audit.jsonl"), "{said}");
    let (link, target) = (scene.beside("link"), scene.beside("target"));
    fs::write(&target, "").unwrap();
    symlink(&target, &link).unwrap();
    let (said, code) = serve(&link);
    assert!(code == 78 && said.contains("symbolic link"), "{said}");
    assert_eq!(fs::read(&target).unwrap(), b"");
    // What does not verify is evidence.
    let changed = fs::read_to_string(scene.file()).unwrap().replace("\"started\"", "\"stopped\"");
    let copy = scene.beside("copy");
    fs::write(&copy, &changed).unwrap();
    let (said, code) = serve(&copy);
    assert!(code == 78 && said.contains("audit verify"), "{said}");
    assert_eq!(fs::read_to_string(&copy).unwrap(), changed);
    assert_eq!(read(&scene.file()), before);
}

#[test]
fn a_file_that_was_moved_away_is_followed_by_a_new_one_in_one_chain() {
    let scene = Scene::new("");
    for (number, path) in ["/one", "/two", "/three"].iter().enumerate() {
        scene.get(path);
        scene.lines(if number == 0 { 2 } else { 1 });
        fs::rename(scene.file(), scene.beside(&format!("audit.jsonl-{number}"))).unwrap();
    }
    scene.get("/four");
    assert_eq!(scene.lines(1)[0]["path"], "/four");
    let files = ["audit.jsonl-2", "audit.jsonl", "audit.jsonl-0", "audit.jsonl-1"];
    let files = files.map(|name| scene.beside(name).display().to_string());
    let all: Vec<_> = files.iter().map(String::as_str).collect();
    let (said, code) = verify(&all);
    assert!(code == 0 && said.contains("5 lines, seq 1 to 5"), "{said}");
    // Without one between, it is missed; without the first, that is said.
    let (said, code) = verify(&[all[0], all[1], all[2]]);
    assert!(code == 1 && said.contains("seq 3 should be here: 1 lines are missing"), "{said}");
    let (said, code) = verify(&[all[0], all[1], all[3]]);
    assert!(code == 0 && said.contains("It begins before these files."), "{said}");
}

#[test]
fn a_file_that_is_full_is_put_aside_and_with_a_key_nobody_else_can_make_a_line() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
    let key = key.path().to_str().unwrap();
    let scene = Scene::new(&format!(
        "audit.max_size = \"64KiB\"\naudit.key_file = \"{key}\"\naudit.sync = \"0s\"\n"
    ));
    let long = format!("/{}", "x".repeat(400));
    let mut caller = Caller::connect(scene.gateway.address);
    for _ in 0..100 {
        caller.send(format!("GET {long} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(caller.answer().status, 200);
    }
    let aside = scene.beside("audit.jsonl.1");
    let count = || read(&aside).len() + read(&scene.file()).len();
    until(&scene.gateway, || (count() == STARTED + 100).then_some(()));
    assert!(aside.metadata().unwrap().len() <= 64 << 10);
    let file = scene.file();
    let (aside, file) = (aside.to_str().unwrap(), file.to_str().unwrap());
    let (said, code) = verify(&[file, aside, "--key-file", key]);
    assert!(code == 0 && said.contains("101 lines, seq 1 to 101"), "{said}");
    let (said, code) = verify(&[file, aside]);
    assert!(code == 1 && said.contains("audit.jsonl.1:1 (seq 1): its hash does not fit"), "{said}");
}

#[test]
fn verify_names_the_first_line_that_is_not_what_was_written() {
    let scene = Scene::new("");
    for path in ["/one", "/two", "/three"] {
        scene.get(path);
    }
    scene.lines(4);
    let file = scene.beside("copy");
    let good = fs::read_to_string(scene.file()).unwrap();
    let lines: Vec<_> = good.lines().collect();
    let of_text = |text: String| {
        fs::write(&file, text).unwrap();
        verify(&[file.to_str().unwrap()])
    };
    for (text, at, what) in [
        (good.replace("/two", "/2wo"), "copy:3 (seq 3): ", "its hash does not fit"),
        (good.replace(lines[2], ""), "copy:3: ", "no line of an audit log"),
        (good.replace(&format!("{}\n", lines[1]), ""), "copy:2 (seq 3): ", "1 lines are missing"),
        (format!("{good}{}\n", lines[1]), "copy:5 (seq 2): ", "put in or moved"),
        (good.trim_end().to_owned(), "copy:4 (seq 4): ", "lacks its newline"),
        (format!("{good}{}", "x".repeat(100_000)), "copy:5: ", "no line of an audit log"),
    ] {
        let (said, code) = of_text(text);
        assert!(code == 1 && said.contains(at) && said.contains(what), "{what}: {said}");
    }
    let (said, code) = of_text(String::new());
    assert!(code == 1 && said.starts_with("No lines.\n") && said.contains("cut off"), "{said}");
    assert_eq!(of_text(good.clone()).1, 0);
    let (said, code) = verify(&["/nonexistent/audit.jsonl"]);
    assert!(code == 66 && said.contains("/nonexistent/audit.jsonl: cannot be read"), "{said}");
    assert_eq!(run(&["audit", "verify"]).status.code(), Some(2));
}

/// Two gateways, a file each: what a company gathers and checks together.
#[test]
fn the_logs_of_several_gateways_are_checked_together_each_as_a_chain_of_its_own() {
    let scenes = [Scene::new(""), Scene::new("")];
    for scene in &scenes {
        scene.get("/one");
        scene.lines(STARTED + 1);
        fs::rename(scene.file(), scene.beside("audit.jsonl-1")).unwrap();
        scene.get("/two");
        scene.lines(1);
    }
    let [one, two] = &scenes;
    let chain = |scene: &Scene| {
        let lines = [read(&scene.beside("audit.jsonl-1")), read(&scene.file())].concat();
        let name = lines[0]["chain"].as_str().unwrap().to_owned();
        assert!(lines.iter().all(|line| line["chain"] == *name), "{lines:?}");
        assert!(scene.gateway.wait_for_log("the audit log begins").contains(&name));
        (name, lines.last().unwrap()["hash"].as_str().unwrap().to_owned())
    };
    let ((first, hash), (second, other_hash)) = (chain(one), chain(two));
    assert_ne!(first, second);
    let names = [one.file(), two.beside("audit.jsonl-1"), two.file(), one.beside("audit.jsonl-1")];
    let names = names.map(|path| path.display().to_string());
    let all = names.each_ref().map(String::as_str);
    let anchors = ["--anchor", &hash, "--anchor", &other_hash];
    let (said, code) = verify(&[&all[..], &anchors].concat());
    assert!(code == 0 && said.contains("2 chains, all of them whole."), "{said}");
    assert_eq!(said.matches("The chain is whole: 3 lines, seq 1 to 3").count(), 2, "{said}");
    for name in [&first, &second] {
        assert!(said.contains(&format!("chain {name}: ")), "{said}");
    }
    // Of each it is said what holds, and one that does not fails all.
    let good = fs::read_to_string(two.file()).unwrap();
    fs::write(two.file(), good.replace("/two", "/2wo")).unwrap();
    let (said, code) = verify(&all);
    assert!(code == 1 && said.contains("2 chains, 1 of them NOT whole."), "{said}");
    assert!(said.contains("audit.jsonl:1 (seq 3): its hash does not fit"), "{said}");
    assert_eq!(said.matches("The chain is whole: ").count(), 1, "{said}");
    fs::write(two.file(), &good).unwrap();
    // A line of the other's.
    fs::write(two.file(), fs::read_to_string(one.file()).unwrap() + &good).unwrap();
    let (said, code) = verify(&all);
    assert!(code == 1 && said.contains("another gateway's line"), "{said}");
    fs::write(two.file(), &good).unwrap();
    let (said, code) = verify(&[all[0], all[1], all[2]]);
    assert!(code == 0 && said.contains("It begins before these files."), "{said}");
    let (said, code) = verify(&[all[1], all[2], "--anchor", &hash]);
    assert!(code == 1 && said.contains(&hash), "{said}");
}

/// As on the copy of a disk: (chain, seq) is no longer one line.
#[test]
fn two_files_that_go_on_from_the_same_one_are_told_of() {
    let mut scene = Scene::new("");
    scene.get("/one");
    scene.lines(STARTED + 1);
    scene.kill();
    let copy = scene.beside("copy");
    fs::copy(scene.file(), &copy).unwrap();
    scene.again();
    scene.get("/two");
    scene.lines(4);
    let file = scene.file();
    let (said, code) = verify(&[file.to_str().unwrap(), copy.to_str().unwrap()]);
    assert!(code == 1 && said.contains("already: one is a copy of the other"), "{said}");
    assert!(said.contains("audit.jsonl") && said.contains("copy:1 (seq 1)"), "{said}");
}
