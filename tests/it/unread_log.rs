//! A stderr that nobody reads costs lines, never requests, and never the end.
//! It never reads the gateway's log but where it says so.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, Stdio},
};

use tokio::time::Instant;

use crate::support::{
    NO_LIMIT,
    gateway::PATIENCE,
    unlimited,
    world::{client, simulator, upstream},
};

/// Their events fill a pipe, which holds 64 KiB.
const REQUESTS: usize = 500;

struct Unread {
    child: Child,
    /// Kept open, or writing to it would fail instead of wait.
    _log: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Unread {
    /// Reads no further than where it listens.
    fn start(genesys: SocketAddr) -> Self {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        let (upstream, access) = (upstream(genesys), "[telemetry]\nlog = \"trace\"");
        write!(
            config,
            "listen = [\"127.0.0.1:0\"]\nadmin = \"\"\nshutdown_timeout = \"1s\"\n\
             {upstream}\n{NO_LIMIT}\n{access}"
        )
        .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
            .args(["serve", "--log-format", "text", "--config"])
            .arg(config.path())
            .env_clear()
            .env("GENESYS_CLIENT_ID", "demo")
            .env("GENESYS_CLIENT_SECRET", "demo")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on http://") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        }
        let address = line.trim().rsplit("http://").next().unwrap().parse().unwrap();
        Self { child, _log: log, address }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn flood(gateway: &Unread) {
    let client = client();
    let url = format!("http://{}/api/v2/organizations/me", gateway.address);
    for number in 0..REQUESTS {
        let answer = tokio::time::timeout(PATIENCE, client.get(&url).send()).await;
        let answer = answer.unwrap_or_else(|_| panic!("request {number} hangs")).unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_and_sigterm_ends_it() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let mut gateway = Unread::start(genesys.addr());
    flood(&gateway).await;
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = gateway.child.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < PATIENCE, "it does not end");
        tokio::task::yield_now().await;
    };
    assert_eq!(status.code(), Some(0));
}
