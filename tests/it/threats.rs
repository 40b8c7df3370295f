//! The threat model names the test that shows each of its defences: every one of them is there.
//! And what it found that no other test shows.

use std::{fs, path::Path};

use reqwest::Client;

use crate::support::{Socket, World, load::sha256, unlimited};

const ME: &str = "/api/v2/organizations/me";

fn read(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok()
}

/// What stands between backticks and is a test's path: `module::name`, or `module::{one, other}`.
fn named(text: &str) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    for span in text.split('`').skip(1).step_by(2).filter(|span| span.contains("::")) {
        let (module, names) = span.rsplit_once("::").unwrap();
        let (module, names) = match span.split_once("::{") {
            Some((module, names)) => (module, names.strip_suffix('}').unwrap()),
            None => (module, names),
        };
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        for name in names.split(',') {
            found.push((module.clone(), name.trim().to_owned()));
        }
    }
    found
}

/// The file of a module: of `tests/it`, or of `src`, where `tests` may be a file or a part of one.
fn file(module: &[String]) -> Option<String> {
    let path = module.join("/");
    let within = path.strip_suffix("/tests").unwrap_or("?");
    let files = [
        format!("tests/it/{path}.rs"),
        format!("src/{path}.rs"),
        format!("src/{within}.rs"),
        format!("src/{within}/mod.rs"),
    ];
    files.iter().find_map(|name| read(name))
}

fn is_test(file: &str, name: &str) -> bool {
    file.split(&format!("fn {name}(")).next().is_some_and(|before| {
        let marked = before.rfind("#[test]").max(before.rfind("#[tokio::test"));
        let next = |at| !before.get(at..).unwrap().contains("\n}");
        before.len() < file.len() && marked.is_some_and(next)
    })
}

#[test]
fn each_test_that_the_threat_model_names_exists_and_each_threat_has_one() {
    let model = read("docs/threats.md").unwrap();
    let all = named(&model);
    let missing: Vec<String> = all
        .iter()
        .filter(|(module, name)| !file(module).is_some_and(|file| is_test(&file, name)))
        .map(|(module, name)| format!("{}::{name}", module.join("::")))
        .collect();
    assert!(missing.is_empty(), "there is no test\n{}", missing.join("\n"));
    assert!(all.len() > 100, "it reads what it should: {}", all.len());

    let (attacks, open) = model.split_once("## Not shown by a test").unwrap();
    let rows: Vec<&str> = attacks.lines().filter(|line| line.starts_with("| T")).collect();
    let number = |row: &&str| row[3..].split(' ').next().unwrap().parse::<usize>().unwrap();
    assert_eq!(rows.iter().map(number).collect::<Vec<_>>(), (1..=rows.len()).collect::<Vec<_>>());
    assert!(rows.len() >= 34);
    for row in rows {
        let threat = row[2..].split(' ').next().unwrap();
        let shown = !named(row).is_empty() || open.contains(&format!("| {threat} |"));
        assert!(shown, "{row}\nhas neither a test nor a reason why there is none");
    }
}

/// Two known callers: `billing` may do anything, the other what `rules` say.
async fn with_rules(rules: &str, more: &str) -> World {
    let caller = |name: &str, rules: &str| {
        let digest = sha256(name.repeat(4).as_bytes());
        format!("[[caller]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n{rules}\n")
    };
    let callers = caller("billing", "") + &caller("reports", rules);
    let access = "[rate_limit]\nrequests_per_minute = 0\n[access]\nmode = \"key\"\n";
    World::with(unlimited(), &format!("{access}{more}{callers}")).await
}

async fn get(world: &World, client: &Client, name: &str, path: &str) -> u16 {
    let call = client.get(world.gateway.url(path)).header("x-api-key", name.repeat(4));
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_gets_no_socket_to_say_anything_on() {
    let world = with_rules("read_only = true", "").await;
    for (name, status) in [("billing", "101"), ("reports", "403")] {
        let head = format!(
            "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Api-Key: {}\r\n\r\n",
            name.repeat(4)
        );
        let mut caller = Socket::saying(world.gateway.address, &head).await;
        let line = caller.head().await.remove(0);
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {line}");
    }
    assert_eq!(get(&world, &world.client, "reports", ME).await, 200);
    world
        .gateway
        .wait_for_log("GET /api/v2/upgrade 403 code=proxy.caller.not.allowed rule=\"read_only\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_is_for_nobody_who_might_not_have_asked() {
    let saving = format!("[saving]\ncache = [{{ match = \"GET {ME}\", for = \"1h\" }}]\n");
    let world = with_rules(&format!("deny = [\"GET {ME}\"]"), &saving).await;
    for (name, status) in [("billing", 200), ("billing", 200), ("reports", 403)] {
        assert_eq!(get(&world, &world.client, name, ME).await, status, "{name}");
    }
    world.gateway.wait_for_log("saved=cached");
    let stranger = world.client.get(world.gateway.url(ME)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert_eq!(world.genesys.counters().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_says_nothing_of_what_was_nearly_right() {
    let world = with_rules("", "").await;
    let right = "billing".repeat(4);
    let mut answers = Vec::new();
    for (name, key) in [
        ("billing", right.trim_end_matches('g')),
        ("billing", ""),
        ("nobody", right.as_str()),
        ("reports", right.as_str()),
        ("", ""),
    ] {
        let call = world.client.post(world.gateway.url("/oauth/token")).basic_auth(name, Some(key));
        let answer = call.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        answers.push((answer.status().as_u16(), answer.text().await.unwrap()));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Each of them is on record, with where it came from.
    world.gateway.wait_for_logs(" 401 code=proxy.login.refused", answers.len());
}
