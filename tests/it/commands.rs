//! Starting: what is wrong is said with its exit code, and nothing half-started stays.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{Gateway, NO_LIMIT, unlimited, world};

/// Runs the program to its end.
fn run(arguments: &[&str], toml: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    // Whatever should end and does not is killed.
    Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_genesys-proxy")])
        .args(arguments)
        .arg("--config")
        .arg(file.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GENESYS_CLIENT_ID", "demo")
        .env("GENESYS_CLIENT_SECRET", "hush-hush")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const UPSTREAM: &str = "[upstream]\napi_url = \"http://127.0.0.1:9\"\n";

#[test]
fn a_wrong_configuration_is_78_with_every_problem_shown() {
    let wrong =
        format!("listen = [\"127.0.0.1:0\"]\nshutdown_timeout = \"soon\"\n{UPSTREAM}tmeout = 3\n");
    for command in ["serve", "check"] {
        let output = run(&[command], &wrong);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("shutdown_timeout") && said.contains("tmeout"), "{command}: {said}");
        assert!(!said.contains("hush-hush"), "{command}");
    }
    let missing = run(&["serve", "--config", "/nonexistent/proxy.toml"], "");
    assert_ne!(missing.status.code(), Some(0));
}

#[test]
fn a_right_configuration_is_0_and_says_what_it_amounts_to() {
    let output = run(&["check"], UPSTREAM);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("127.0.0.1:9"));
    assert!(!text(&output.stdout).contains("hush-hush"));
}

#[test]
fn wrong_arguments_are_2() {
    assert_eq!(run(&["serve", "--no-such-thing"], UPSTREAM).status.code(), Some(2));
    assert_eq!(run(&["no-such-command"], UPSTREAM).status.code(), Some(2));
}

#[test]
fn a_listener_for_strangers_is_refused_unless_it_is_meant() {
    let open = format!("listen = [\"0.0.0.0:0\"]\nadmin = \"\"\n{UPSTREAM}");
    for command in ["serve", "check"] {
        let output = run(&[command], &open);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("--insecure-open-listener"), "{said}");
    }
    assert_eq!(run(&["check", "--insecure-open-listener"], &open).status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_69_whoever_uses_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let serve = |address: std::net::SocketAddr, admin: &str| {
        run(&["serve"], &format!("listen = [\"{address}\"]\nadmin = \"{admin}\"\n{UPSTREAM}"))
    };
    let output = serve(taken.local_addr().unwrap(), "");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&taken.local_addr().unwrap().to_string()));
    let output = serve("127.0.0.1:0".parse().unwrap(), &taken.local_addr().unwrap().to_string());
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    // Another gateway is no exception: two would share the callers between them.
    let first = Gateway::start(UPSTREAM);
    let output = serve(first.address, "");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_like_a_port_and_is_the_owners_alone() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let upstream = world::upstream(genesys.addr());
    let gateway = Gateway::start_with(
        &format!("{upstream}\n{NO_LIMIT}"),
        &[("GENESYS_PROXY__LISTEN", &listen)],
    );
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o007, 0, "{mode:o}: strangers on this machine must not connect");
    let mut caller = UnixStream::connect(&path).await.unwrap();
    let get =
        "GET /api/v2/organizations/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(get.as_bytes()).await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(gateway);
    // Killed: the file is left, and is in nobody's way.
    let gateway = Gateway::start_with(
        &format!("{upstream}\n{NO_LIMIT}"),
        &[("GENESYS_PROXY__LISTEN", &listen)],
    );
    UnixStream::connect(&path).await.unwrap();
    drop(gateway);
}

#[test]
fn a_secret_in_the_environment_file_or_log_is_never_shown() {
    let toml = format!("{UPSTREAM}[telemetry]\nlog = \"trace\"\n");
    let gateway = Gateway::start_with(&toml, &[("GENESYS_CLIENT_SECRET", "hush-hush")]);
    gateway.wait_for_log("no new token");
    assert!(!gateway.log().contains("hush-hush"));
}
