//! Chromium, and a server for the pages of `tests/browser/`.
//! It must never decide what a page may do: that is between the browser and the gateway.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::{
    raw::{Line, Peer},
    tools::installed,
};

/// A browser takes longer than anything else here.
const PATIENCE: Duration = Duration::from_secs(120);

const PAGES: [(&str, &str, &str); 5] = [
    ("/foreign.html", "text/html", include_str!("../../browser/foreign.html")),
    ("/listed.html", "text/html", include_str!("../../browser/listed.html")),
    ("/rebound.html", "text/html", include_str!("../../browser/rebound.html")),
    ("/settled.html", "text/html", include_str!("../../browser/settled.html")),
    ("/report.js", "text/javascript", include_str!("../../browser/report.js")),
];

/// Chromium on one page; gone when dropped.
pub struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// As if this URL was typed. Names that end in `.test` are this machine.
    pub fn open(url: &str) -> Self {
        let chromium = installed("GENESYS_PROXY_TEST_CHROMIUM", "/usr/bin/chromium");
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                // Or the page could only open windows when somebody clicks.
                "--disable-popup-blocking",
                "--host-resolver-rules=MAP *.test 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its children end with it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Somebody's web server on this machine.
pub struct Site {
    peer: Peer,
    reports: mpsc::Receiver<Value>,
}

impl Site {
    /// It redirects to `gateway`, where its pages' own attempts go, too.
    pub fn before(gateway: SocketAddr) -> Self {
        let (sender, reports) = mpsc::channel();
        let serve = move |line: &mut Line| {
            while let Some(request) = line.request() {
                let target = request.target.split('?').next().unwrap_or_default();
                let page = PAGES.iter().find(|(path, ..)| *path == target);
                let answer = match (page, target.strip_prefix("/redirect/")) {
                    (Some((_, kind, text)), _) => {
                        answer(&format!("200 OK\r\ncontent-type: {kind}"), text)
                    }
                    (None, Some(rest)) => {
                        let (status, name) = rest.split_once('/').unwrap();
                        // Read by the page, if only the gateway lets it.
                        let head = format!(
                            "{status} Away\r\nlocation: http://{gateway}/api/v2/attack/{name}\r\n\
                             access-control-allow-origin: *"
                        );
                        answer(&head, "")
                    }
                    (None, None) if target == "/settled" => {
                        let _ = sender.send(Value::Null);
                        answer("204 No Content", "")
                    }
                    (None, None) if target == "/report" => {
                        let found = serde_json::from_slice(&request.body).unwrap();
                        let _ = sender.send(found);
                        answer("200 OK\r\naccess-control-allow-origin: *", "")
                    }
                    (None, None) => answer("404 Not Found", ""),
                };
                line.send(&answer);
            }
        };
        Self { peer: Peer::start(serve), reports }
    }

    /// Where it is, under a name.
    pub fn origin(&self, name: &str) -> String {
        format!("http://{name}:{}", self.peer.address.port())
    }

    pub fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Waits until windows that were opened have all that a browser fetches for them by itself.
    pub fn settled(&self) {
        assert_eq!(self.report(), Value::Null);
    }

    /// What a page has found out.
    pub fn report(&self) -> Value {
        self.reports.recv_timeout(PATIENCE).expect("the page should report")
    }
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An address that a name of `site` means while a page of it is asked for, and that means `gateway`
/// for all that the page asks then: what a rebound DNS name is to a browser.
pub fn rebinding(site: SocketAddr, gateway: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || relay(stream, site, gateway));
        }
    });
    address
}

/// One connection, by its first request. Nobody waits for it: a browser opens some to spare.
fn relay(mut browser: TcpStream, site: SocketAddr, gateway: SocketAddr) -> Option<()> {
    let mut first = [0; 16 * 1024];
    let count = browser.read(&mut first).ok()?;
    let is_page = first.starts_with(b"GET /rebound.html");
    let mut server = TcpStream::connect(if is_page { site } else { gateway }).ok()?;
    server.write_all(first.get(..count)?).ok()?;
    if is_page {
        // One page, and the connection ends.
        server.shutdown(Shutdown::Write).ok()?;
    } else {
        let (mut up, mut down) = (browser.try_clone().ok()?, server.try_clone().ok()?);
        std::thread::spawn(move || std::io::copy(&mut up, &mut down));
    }
    std::io::copy(&mut server, &mut browser).ok()?;
    browser.shutdown(Shutdown::Both).ok()
}
