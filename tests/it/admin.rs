//! The health listener answers, whatever others do to it, and its port is taken before any work.
//! It never expects anything of the gateway's own listener.

use std::{net::TcpListener, process::Command, time::Duration};

use crate::support::Socket;

fn command(admin: &str, shell: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &format!("{shell} exec \"$@\""), "sh", env!("CARGO_BIN_EXE_genesys-proxy")])
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", admin])
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("GENESYS_CLIENT_ID", "demo")
        .env("GENESYS_CLIENT_SECRET", "demo")
        .env("GENESYS_PROXY__UPSTREAM__API_URL", "http://127.0.0.1:9")
        .stderr(std::process::Stdio::piped());
    command
}

#[test]
fn a_taken_admin_port_is_noticed_before_anything_is_sent_or_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = command(&taken.local_addr().unwrap().to_string(), "").output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot listen on") && !said.contains("no new token"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_make_room_and_few_descriptors_are_warned_about() {
    use std::io::{BufRead, BufReader};
    let mut child = command("127.0.0.1:0", "ulimit -n 256;").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut said) = (String::new(), String::new());
    while !line.contains("health on http://") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "{said}");
        said.push_str(&line);
    }
    assert!(said.contains("too few open files") && said.contains("20128"), "{said}");
    let (_, rest) = line.split_once("http://").unwrap();
    let address = rest.split('/').next().unwrap().parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(Socket::to(address).await);
    }
    let mut probe =
        Socket::saying(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = tokio::time::timeout(Duration::from_secs(15), probe.line()).await.unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    let closed = tokio::time::timeout(Duration::from_secs(15), silent[0].rest()).await.unwrap();
    assert_eq!(closed, "");
    child.kill().unwrap();
    child.wait().unwrap();
}
