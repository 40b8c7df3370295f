//! A day of whoever runs it, as docs/operator.md has it: each step done, and no call of a well-behaved
//! caller lost by any of them.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use genesys_proxy::simulator::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    NO_LIMIT, Started,
    callers::{caller, key},
    load::sha256,
    patience::until,
    planted::planted,
    unlimited, world,
};

const ME: &str = "/api/v2/organizations/me";

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_check_to_an_upgrade_no_call_fails() {
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let (directory, client) = (tempfile::tempdir().unwrap(), world::client());
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [listen, admin] = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let secret = directory.path().join("client-secret");
    std::fs::write(&secret, "demo").unwrap();
    let callers = caller("billing", "") + &caller("reports", "");
    let toml = format!(
        "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nadmin_key_sha256 = \"{}\"\n{}\n\
         [oauth]\nclient_secret = {{ file = {secret:?} }}\n{NO_LIMIT}\n{callers}",
        sha256(planted("admin-key").as_bytes()),
        world::upstream(genesys.addr()),
    );

    // Looked at before it is started.
    let file = directory.path().join("checked.toml");
    std::fs::write(&file, &toml).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
        .args(["check", "--live", "--config"])
        .arg(&file)
        .env_clear()
        .env("GENESYS_CLIENT_ID", "demo")
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");

    // Started, and called all day long.
    let start = || {
        let sockets = sockets.iter().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        Started::with(&toml, directory.path(), sockets.collect())
    };
    let mut gateway = start();
    gateway.says("listening on");
    let call =
        |name: &str| client.get(format!("http://{listen}{ME}")).header("x-api-key", key(name));
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut billing = JoinSet::new();
    {
        let (call, over, answered) = (call("billing"), Arc::clone(&over), Arc::clone(&answered));
        billing.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let answer = call.try_clone().unwrap().send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let goes_on = async || {
        let enough = answered.load(Ordering::Relaxed) + 50;
        until("calls", async || answered.load(Ordering::Relaxed) >= enough).await;
    };
    goes_on().await;

    // Who uses up the budget?
    let many = answered.load(Ordering::Relaxed) + 2_000;
    while genesys.counters().requests < many {
        assert_eq!(call("reports").send().await.unwrap().status(), 200);
    }
    let status = async || -> Value {
        client.get(format!("http://{admin}/api/status")).send().await.unwrap().json().await.unwrap()
    };
    let told = status().await;
    let names = told["organisations"][0]["callers"].to_string();
    assert!(names.contains("reports") && names.contains("billing"), "{names}");

    // They are paused, and nobody else is.
    let act = async |action: &str, body: Value| {
        let request = client.post(format!("http://{admin}/api/{action}")).body(body.to_string());
        let request = request.header("x-api-key", planted("admin-key"));
        assert!(request.send().await.unwrap().status().is_success(), "{action}");
    };
    act("callers/pause", json!({"caller": "reports"})).await;
    let refused = call("reports").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.text().await.unwrap().contains("proxy.caller.paused"));
    goes_on().await;
    act("callers/resume", json!({"caller": "reports"})).await;
    assert_eq!(call("reports").send().await.unwrap().status(), 200);

    // Another secret, in both places.
    let before = genesys.counters();
    genesys.client(Client::new("demo", "S3cret-2"));
    std::fs::write(&secret, "S3cret-2").unwrap();
    gateway.says("secret changed: the new one is live");
    act("tokens/refresh", json!({})).await;
    genesys.until(|seen| seen.mints > before.mints).await;
    goes_on().await;
    let after = genesys.counters();
    assert_eq!(after.mint_attempts - before.mint_attempts, after.mints - before.mints);

    // Another version, on the same sockets.
    gateway.terminate();
    gateway.says("drained clean=true");
    assert!(gateway.child.wait().unwrap().success());
    gateway = start();
    gateway.says("listening on");
    goes_on().await;
    over.store(true, Ordering::Relaxed);
    billing.join_next().await.unwrap().unwrap();
    assert_eq!(status().await["version"], env!("CARGO_PKG_VERSION"));
}
