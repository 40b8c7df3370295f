//! What a stranger sees first: the demo, readiness, an access line.

use std::process::Command;

use crate::support::{
    Gateway, World,
    world::{simulator, unlimited, upstream},
};

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
    let post = client.post(&url).send().await.unwrap();
    assert_eq!(post.status(), 405, "it is for looking at");
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
    let (mut commands, mut dashboard) = (Vec::new(), None);
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(command) = line.strip_prefix("   ") {
            commands.push(command.to_owned());
        }
        if let Some(url) = line.strip_prefix("Its dashboard is on ") {
            dashboard = Some(url.to_owned());
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
    let page = Command::new("curl").args(["-s", &dashboard.unwrap()]).output().unwrap().stdout;
    demo.kill().unwrap();
    demo.wait().unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("<title>genesys-proxy"), "{page}");
    let [plain, revoked, many] = &outputs[..] else { panic!("{commands:?}") };
    assert!(plain.contains("Demo Organisation"), "{plain}");
    assert!(revoked.contains("\"revoked\"") && revoked.contains("\"entities\""), "{revoked}");
    assert_eq!(many.trim(), "150 200");
}
