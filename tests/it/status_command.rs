//! `genesys-proxy status`: what a running gateway does, for a person, a script and a terminal.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

use http::Method;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{
    World, assert_all, at_once,
    callers::{caller, key, rate_limit, sent},
    gateway::ADMIN,
    openapi::follows,
    planted::nothing_planted_in,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";

async fn world() -> World {
    let toml = format!("{}\n{}", rate_limit(1, 60, "max_wait = \"10m\""), caller("billing", ""));
    World::with_env(unlimited(), &toml, &[ADMIN]).await
}

/// Where its admin listener is.
fn admin(world: &World) -> String {
    world.gateway.admin_url("").trim_start_matches("http://").to_owned()
}

fn status(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"));
    command
        .arg("status")
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("GENESYS_CLIENT_ID", "demo")
        .env("GENESYS_CLIENT_SECRET", "demo")
        .env("GENESYS_REGION", "us-east-1");
    command
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        nothing_planted_in(&text);
        text
    };
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_names_the_token_the_budget_who_waits_and_what_failed() {
    let world = world().await;
    let call = || world.request(Method::GET, ECHO).header("x-api-key", key("billing"));
    world.faults(json!({"api": [{"status": 500, "times": 1}]}));
    let failed = at_once([world.request(Method::POST, ECHO)]).await;
    assert_all(&failed, 500);
    let _waiting = sent([call(), call()]);
    world.gateway.until_waiting(2).await;
    let (table, wrong, code) = said(&status(&["--admin", &admin(&world)]).output().unwrap());
    assert_eq!((wrong.as_str(), code), ("", Some(0)));
    let fingerprint = world.gateway.newest("fingerprint=").unwrap();
    for part in [
        "ready\n",
        "default\n",
        fingerprint.as_str(),
        "[##############################] 1 of 1 in 1m",
        "2 of 1000 wait, 0 in flight",
        "billing                       2",
        "genesys 127.0.0.1 POST /api/v2/echo ",
    ] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    assert!(!table.contains('\x1b'), "it is no terminal: {table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_where_to_ask_and_json_is_the_gateways_own() {
    let world = world().await;
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&config, format!("admin = \"{}\"\n", admin(&world))).unwrap();
    let path = config.path().to_str().unwrap();
    let (json, wrong, code) = said(&status(&["--config", path, "--json"]).output().unwrap());
    assert_eq!((wrong.as_str(), code), ("", Some(0)));
    follows("Status", &json);
    std::fs::write(&config, "admin = \"\"\n").unwrap();
    let (table, wrong, code) = said(&status(&["--config", path]).output().unwrap());
    assert_eq!((table.as_str(), code), ("", Some(78)));
    assert!(wrong.contains("`admin` is \"\""), "{wrong}");
}

#[test]
fn where_nothing_answers_it_says_so_and_ends_with_69() {
    // Bound, so that nobody else is there, and not listened on.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap().to_string();
    let (table, wrong, code) = said(&status(&["--admin", &address]).output().unwrap());
    assert_eq!((table.as_str(), code), ("", Some(69)));
    assert!(wrong.contains(&address) && wrong.contains("is the gateway running"), "{wrong}");
    assert_eq!(wrong.lines().count(), 1, "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_gets_one_table_after_the_other_until_they_have_enough() {
    let world = world().await;
    let mut watch =
        status(&["--watch", "--admin", &admin(&world)]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    for _ in 0..2 {
        let head = lines.find(|line| line.starts_with("genesys-proxy ")).unwrap();
        assert!(!head.contains('\x1b'), "{head:?}");
    }
    let pid = watch.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_that_is_none_is_a_wrong_use() {
    for wrong in ["8081", "localhost", "http://127.0.0.1:8081", "::1:8081", "a b:1", "127.0.0.1:0"]
    {
        let (out, told, code) = said(&status(&["--admin", wrong]).output().unwrap());
        assert_eq!((out.as_str(), code), ("", Some(2)), "{wrong}: {told}");
        assert!(told.contains("a host and a port, such as 127.0.0.1:8081"), "{told}");
    }
}
