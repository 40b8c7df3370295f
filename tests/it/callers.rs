//! Callers are told apart by key, by network and by user, and each is called by its name. A caller's
//! key is seen by the gateway alone.

use std::io::Write as _;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{
    Answer, Gateway, NO_LIMIT, World, assert_all, at_once,
    gateway::PATIENCE,
    load::sha256,
    raw::{Stage, ok},
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";
const ECHO: &str = "/api/v2/echo";
const KEY: &str = "bIlLiNg-5f2e90c1d7a83b46";
const UNKNOWN: &str = "nObOdY-0a1b2c3d4e5f6a7b";

/// `billing` by its key, `reports` by its address.
fn two() -> String {
    let digest = sha256(KEY.as_bytes());
    format!(
        "[[caller]]\nname = \"billing\"\nkey_sha256 = \"{digest}\"\n\
         [[caller]]\nname = \"reports\"\nnetworks = [\"127.0.0.2/32\", \"127.0.0.0/30\"]\n\
         [[caller]]\nname = \"rest\"\nnetworks = [\"127.0.0.0/28\"]\n"
    )
}

/// A caller at this address; any of 127.0.0.0/8 is this machine's.
fn from(address: &str) -> Client {
    let client = Client::builder().no_proxy().timeout(PATIENCE);
    client.local_address(Some(address.parse().unwrap())).build().unwrap()
}

/// Whose the call was, as the access log says.
async fn named(gateway: &Gateway, id: &str, call: RequestBuilder, status: u16) -> String {
    let answer = call.header("x-request-id", id).send().await.unwrap();
    assert_eq!(answer.status(), status);
    answer.bytes().await.unwrap();
    let line = gateway.wait_for_log(&format!("request_id={id} "));
    let (_, rest) = line.split_once(" caller=").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_logged_under_its_callers_name() {
    let (near, far, other) = (from("127.0.0.1"), from("127.0.0.9"), from("127.0.0.77"));
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{}", two())).await;
    let (gateway, url) = (&world.gateway, world.gateway.url(ME));
    let key = |client: &Client, key| client.get(&url).header("x-api-key", key);
    for (id, call, name) in [
        ("key-in-a-network", key(&near, KEY), "billing"),
        ("key-in-none", key(&other, KEY), "billing"),
        ("network", near.get(&url), "reports"),
        ("larger-network", far.get(&url), "rest"),
        ("no-network", other.get(&url), "127.0.0.77"),
        ("unknown-key", key(&near, UNKNOWN), "reports"),
        ("unknown-key-in-none", key(&other, UNKNOWN), "127.0.0.77"),
        ("two-keys", key(&other, KEY).header("x-api-key", KEY), "127.0.0.77"),
        ("the-twin", other.get(&url).header("x_api_key", KEY), "127.0.0.77"),
    ] {
        assert_eq!(named(gateway, id, call, 200).await, name, "{id}");
    }
    let refused = near.delete(gateway.url("/api/v2/tokens/me")).header("x-api-key", KEY);
    assert_eq!(named(gateway, "refused", refused, 403).await, "billing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_log_names_callers_too() {
    let toml = format!("{NO_LIMIT}\n[telemetry]\nformat = \"json\"\n{}", two());
    let world = World::with(unlimited(), &toml).await;
    for (id, client, name) in
        [("named", from("127.0.0.1"), "reports"), ("not-named", from("127.0.0.77"), "127.0.0.77")]
    {
        let call = client.get(world.gateway.url(ME)).header("x-request-id", id);
        assert_eq!(call.send().await.unwrap().status(), 200);
        let line = world.gateway.wait_for_log(&format!("\"request_id\":\"{id}\""));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["caller"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_in_a_file_and_its_caller_speak_http2() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{KEY}").unwrap();
    let caller = format!("[[caller]]\nname = \"billing\"\nkey_file = {:?}\n", file.path());
    let world = World::with(unlimited(), &format!("{NO_LIMIT}\n{caller}")).await;
    let client = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let call = client.get(world.gateway.url(ME));
    let name = named(&world.gateway, "by-file", call.header("x-api-key", KEY), 200).await;
    assert_eq!(name, "billing");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_unix_socket_the_caller_is_its_user() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let toml = format!("{}\n{NO_LIMIT}\n{}", world::upstream(genesys.addr()), two());
    let gateway = Gateway::start_with(&toml, &[("GENESYS_PROXY__LISTEN", &listen)]);
    let user = format!("uid:{}", rustix::process::geteuid().as_raw());
    for (id, key, name) in [("user", UNKNOWN, user.as_str()), ("key", KEY, "billing")] {
        let mut caller = UnixStream::connect(&path).await.unwrap();
        let call = format!(
            "GET {ME} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\nX-Api-Key: {key}\r\n\
             Connection: close\r\n\r\n"
        );
        caller.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let line = gateway.wait_for_log(&format!("request_id={id} "));
        assert!(line.contains(&format!(" caller={name} ")), "{line}");
    }
}

/// The fields of an echoed call whose names say that they hold a key.
async fn keys_upstream(
    gateway: &Gateway,
    client: &Client,
    upstream: &str,
) -> Vec<(String, String)> {
    let call = client.post(gateway.url(ECHO)).body("{}");
    let call = call.header("x-api-key", KEY).header("x_api_key", KEY).header("x-api_key", UNKNOWN);
    let answer = Answer::of(call.send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!(echo["version"], upstream);
    let fields: Vec<(String, String)> = serde_json::from_value(echo["headers"].clone()).unwrap();
    fields.into_iter().filter(|(name, _)| name.replace('_', "-") == "x-api-key").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_key_goes_no_further_than_the_gateway_unless_no_caller_has_one() {
    let none = "[[caller]]\nname = \"reports\"\nnetworks = [\"127.0.0.2/32\"]\n";
    let clients =
        [world::client(), Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()];
    for (setting, version) in [("never", "HTTP/1.1"), ("always", "HTTP/2.0")] {
        for (callers, crossing) in [(two().as_str(), 0), (none, 3), ("", 3)] {
            let toml = format!("http2 = \"{setting}\"\n{NO_LIMIT}\n{callers}");
            let world = World::with(unlimited(), &toml).await;
            for client in &clients {
                let seen = keys_upstream(&world.gateway, client, version).await;
                assert_eq!(seen.len(), crossing, "{version}: {seen:?}");
            }
        }
    }
}

#[test]
fn a_key_in_a_trailer_does_not_cross() {
    let stage = Stage::with(&two(), |line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    let answer = stage.call(format!(
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Api-Key: {KEY}\r\nX_Api_Key: {KEY}\r\nX-Sum: 1\r\n\r\n",
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(stage.peer.requests()[0].trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_holds_a_key_or_its_digest() {
    let toml = format!("{NO_LIMIT}\n[telemetry]\nlog = \"trace\"\n{}", two());
    let world = World::with(unlimited(), &toml).await;
    let clients =
        [world::client(), Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()];
    for client in &clients {
        for (key, path) in [(KEY, ECHO), (UNKNOWN, ECHO), (KEY, "/nowhere"), (UNKNOWN, "/")] {
            client.get(world.gateway.url(path)).header("x-api-key", key).send().await.unwrap();
        }
    }
    world.gateway.wait_for_logs(" access ", 8);
    let log = world.gateway.log_at_end();
    for secret in [KEY, UNKNOWN, &sha256(KEY.as_bytes())] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}

/// One call a window, and callers of different patience.
async fn patient_and_impatient(window: &str, everybody: &str) -> World {
    let limit = format!(
        "[rate_limit]\nrequests_per_minute = 1\nwindow = \"{window}\"\nmax_wait = \"{everybody}\"\n\
         [[caller]]\nname = \"patient\"\nnetworks = [\"127.0.0.2/32\"]\nmax_wait = \"1h\"\n\
         [[caller]]\nname = \"impatient\"\nnetworks = [\"127.0.0.3/32\"]\nmax_wait = \"0s\"\n"
    );
    World::with(unlimited(), &limit).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_as_long_as_it_has_patience_whatever_others_have() {
    let world = patient_and_impatient("1s", "0s").await;
    let (patient, url) = (from("127.0.0.2"), world.gateway.url(ME));
    let anybody = from("127.0.0.1").get(&url).header("prefer", "wait=60");
    let calls = (0..3).map(|_| patient.get(&url)).chain([anybody]);
    assert_all(&at_once(calls).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_patience_is_told_at_once_and_a_preference_counts_more() {
    let world = patient_and_impatient("30m", "1h").await;
    let url = world.gateway.url(ME);
    assert_eq!(from("127.0.0.1").get(&url).send().await.unwrap().status(), 200);
    assert_eq!(from("127.0.0.3").get(&url).send().await.unwrap().status(), 429);
    let at_once = from("127.0.0.2").get(&url).header("prefer", "wait=0");
    assert_eq!(at_once.send().await.unwrap().status(), 429);
}
