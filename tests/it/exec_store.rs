//! `genesys-proxy exec` with the `proxy.toml` of replicas: it has their token, and without the store it runs all
//! the same. The demo has no store, whatever is configured.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::support::{
    Gateway, NO_LIMIT,
    exec::{Company, Ended, SECRET, run},
    redis::Redis,
    world::upstream,
};

const CALLS: &str = "curl -sS -o /dev/null -w '%{http_code}' -H \"X-Api-Key: $GENESYS_API_KEY\" \\
    $GENESYS_BASE_URL/api/v2/organizations/me";

fn with_store(url: &str) -> String {
    format!("{NO_LIMIT}\n[store]\nurl = \"{url}\"")
}

fn calls(company: &Company, log: &str) -> Ended {
    run(company.shell(&["--log", log], CALLS))
}

fn served(ended: &Ended) {
    let told = (ended.code, ended.stdout.as_str());
    assert_eq!(told, (Some(0), "200"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_the_token_that_replicas_share_and_leaves_it_to_them() {
    let redis = Redis::start();
    let toml = with_store(&redis.url());
    let company = Company::with(&format!("{toml}\n[oauth]\nrevoke_on_exit = true")).await;
    let env = [("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", SECRET)];
    let gateway =
        Gateway::start_with(&format!("{}\n{toml}", upstream(company.genesys.addr())), &env);
    gateway.logged("token minted").await;
    for _ in 0..2 {
        let ended = calls(&company, "info");
        served(&ended);
        assert!(ended.stderr.contains("token adopted from another replica"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("token revoked"), "{}", ended.stderr);
    }
    let seen = company.genesys.counters();
    assert_eq!((seen.mints, seen.unauthorized), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_whatever_is_the_matter_with_the_store() {
    for trouble in ["gone", "hangs", "locked"] {
        let mut redis = Redis::start();
        match trouble {
            "gone" => redis.kill(),
            "hangs" => redis.pause(),
            _ => redis.ask::<()>(&["CONFIG", "SET", "requirepass", "another"]),
        }
        let company = Company::with(&with_store(&redis.url())).await;
        let ended = calls(&company, "warn");
        served(&ended);
        assert!(ended.stderr.contains("the store cannot be used"), "{trouble}: {}", ended.stderr);
        assert_eq!(company.genesys.counters().mints, 1, "{trouble}");
    }
}

#[test]
fn the_demo_has_no_store() {
    let redis = Redis::start();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("GENESYS_PROXY__STORE__URL", redis.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("Ctrl-C")));
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert_eq!(redis.keys_and_values(), []);
    assert_eq!(redis.calls("evalsha"), 0);
}
