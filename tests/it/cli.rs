//! The command line, as a stranger meets it.

use std::process::{Command, Output};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{
    Gateway, World,
    world::{simulator, unlimited, upstream},
};

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let empty = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .current_dir(empty.path())
        .output()
        .unwrap()
}

const CREDENTIALS: &[(&str, &str)] = &[
    ("GENESYS_CLIENT_ID", "id"),
    ("GENESYS_CLIENT_SECRET", "S3CR3T"),
    ("GENESYS_REGION", "eu-west-2"),
];

#[test]
fn three_variables_are_a_configuration() {
    let output = run(&["check"], CREDENTIALS);
    let summary = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{summary}");
    assert!(summary.contains("https://api.euw2.pure.cloud"), "{summary}");
    assert!(!summary.contains("S3CR3T"));
}

#[test]
fn a_wrong_configuration_ends_with_78_before_anything_starts() {
    for args in [&["check"][..], &["serve"], &[], &["--config", "absent.toml"]] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_say_how_it_goes() {
    let output = run(&["--lisen", "x"], CREDENTIALS);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--listen"));
}

#[test]
fn a_listener_for_everybody_is_refused_unless_insisted_upon() {
    let output = run(&["check", "--listen", "0.0.0.0:8080"], CREDENTIALS);
    assert_eq!(output.status.code(), Some(78));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("--insecure-open-listener"), "{report}");
    let insisted = ["check", "--listen", "0.0.0.0:8080", "--insecure-open-listener"];
    assert_eq!(run(&insisted, CREDENTIALS).status.code(), Some(0));
}

#[test]
fn an_address_in_use_ends_with_69_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address, "--admin", ""], CREDENTIALS);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_like_a_port() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    let both = format!("127.0.0.1:0,unix:{}", socket.display());
    let _gateway =
        Gateway::start_with(&upstream(genesys.addr()), &[("GENESYS_PROXY__LISTEN", &both)]);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let request =
        b"GET /api/v2/organizations/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_told_on_the_admin_listener_and_only_to_those_who_name_it() {
    let (genesys, _stop) = simulator(unlimited()).await;
    let gateway =
        Gateway::start_with(&upstream(genesys.addr()), &[("GENESYS_PROXY__ADMIN", "127.0.0.1:0")]);
    gateway.wait_for_log("token minted");
    let line = gateway.wait_for_log("health on http://");
    let url = line.rsplit("health on ").next().unwrap().trim().to_owned();
    let client = crate::support::world::client();
    let ready = client.get(&url).send().await.unwrap();
    assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (200, "ready\n"));
    let rebound = client.get(&url).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 421);
    let elsewhere = client.get(url.replace("/readyz", "/api/v2/users")).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404, "it proxies nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_line_in_json_says_who_what_and_how_it_ended() {
    let world = World::with(unlimited(), "[telemetry]\nformat = \"json\"").await;
    world.get("/api/v2/users/0f0f0f0f-1234?expand=S3CR3T").await.text().await.unwrap();
    let line = world.gateway.wait_for_log("\"kind\":\"access\"");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/api/v2/users/*");
    assert_eq!(line["end"], "complete");
    assert_eq!(line["attempts"], 1);
    assert!(line["correlation_id"].as_str().unwrap().len() > 8);
    assert!(!world.gateway.log().contains("S3CR3T"));
}

/// The README's first command: what it prints works as printed.
#[test]
fn the_demo_prints_commands_that_work() {
    use std::io::{BufRead, BufReader};
    let mut demo = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut commands = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(command) = line.strip_prefix("   ") {
            commands.push(command.to_owned());
        }
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let outputs: Vec<String> = commands
        .iter()
        .map(|command| {
            let output = Command::new("sh").args(["-c", command]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    demo.kill().unwrap();
    demo.wait().unwrap();
    let [plain, revoked, many] = &outputs[..] else { panic!("{commands:?}") };
    assert!(plain.contains("Demo Organisation"), "{plain}");
    assert!(revoked.contains("\"revoked\"") && revoked.contains("\"entities\""), "{revoked}");
    assert_eq!(many.trim(), "150 200");
}
