//! A configuration that changes is in use at once, costs nobody a call, and a wrong one changes nothing.

use http::Method;
use tokio::task::JoinSet;

use crate::support::{
    Answer, NO_LIMIT, Traffic, World,
    callers::{caller, key, limited, rate_limit},
    gateway::ADMIN,
    unlimited,
    world::upstream,
};

const ECHO: &str = "/api/v2/echo";
const DENY: &str = "[access]\nmode = \"key\"\ndeny = [\"DELETE /api/v2/echo\"]";

/// A configuration of this world's.
fn toml(world: &World, rest: &str) -> String {
    format!("{}\n{rest}", upstream(world.genesys.addr()))
}

async fn keyed(callers: &str) -> World {
    let toml = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{callers}");
    World::with_env(unlimited(), &toml, &[ADMIN]).await
}

async fn status_of(world: &World, name: &str) -> u16 {
    world.get_as(name, ECHO).send().await.unwrap().status().as_u16()
}

/// A login's token.
async fn login(world: &World, name: &str) -> String {
    let asked = world.request(Method::POST, "/oauth/token").basic_auth(name, Some(key(name)));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let asked = form.into_iter().fold(asked, |asked, (name, value)| asked.header(name, value));
    let answer = Answer::of(asked.body("grant_type=client_credentials").send().await.unwrap());
    answer.await.json()["access_token"].as_str().unwrap().to_owned()
}

async fn with_token(world: &World, token: &str) -> u16 {
    let request = world.request(Method::GET, ECHO).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_come_and_go_and_whoever_stays_is_who_it_was() {
    let billing = caller("billing", "");
    let world = keyed(&billing).await;
    let token = login(&world, "billing").await;
    assert_eq!(
        (status_of(&world, "billing").await, status_of(&world, "reports").await),
        (200, 401)
    );

    // The new one stands first in the file.
    let both = format!("{NO_LIMIT}\n{DENY}\n{}{billing}", caller("reports", ""));
    let said = world.gateway.reload(&toml(&world, &both)).await;
    assert!(said.contains("changed=\"caller, access.deny\""), "{said}");
    assert_eq!(
        (status_of(&world, "billing").await, status_of(&world, "reports").await),
        (200, 200)
    );
    assert_eq!(with_token(&world, &token).await, 200);
    let refused = world.request(Method::DELETE, ECHO).header("x-api-key", key("billing"));
    assert_eq!(refused.send().await.unwrap().status(), 403);
    let of_reports = login(&world, "reports").await;

    let one = format!("{NO_LIMIT}\n{DENY}\n{}", caller("reports", ""));
    world.gateway.reload(&toml(&world, &one)).await;
    assert_eq!(
        (status_of(&world, "billing").await, status_of(&world, "reports").await),
        (401, 200)
    );
    assert_eq!(with_token(&world, &token).await, 401, "who has gone has no token either");
    assert_eq!(with_token(&world, &of_reports).await, 200);

    let page = world.gateway.admin("/metrics").await;
    for (name, good) in [("billing", 3), ("reports", 3)] {
        let line = format!(
            "genesys_proxy_requests_total{{caller=\"{name}\",outcome=\"answered\",status=\"2xx\"}} {good}\n"
        );
        assert!(page.contains(&line), "{name}: {page}");
    }
    let status = world.gateway.admin("/api/status").await;
    assert!(status.contains("\"ready\":true"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_ends_the_logins_of_the_former_one() {
    let world = keyed(&caller("billing", "")).await;
    let token = login(&world, "billing").await;
    let other = caller("billing", "").replace(
        &crate::support::load::sha256(key("billing").as_bytes()),
        &crate::support::load::sha256(key("another").as_bytes()),
    );
    let other = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{other}");
    world.gateway.reload(&toml(&world, &other)).await;
    assert_eq!(
        (status_of(&world, "billing").await, status_of(&world, "another").await),
        (401, 200)
    );
    assert_eq!(with_token(&world, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_is_loud_until_it_is_right() {
    let world = keyed(&caller("billing", "")).await;
    let wrong = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\ndenny = []\n{}", caller("b", ""));
    let said = world.gateway.reload(&toml(&world, &wrong)).await;
    assert!(said.contains("ERROR") && said.contains("the former one stays in use"), "{said}");
    let hint = world.gateway.wait_for_log("denny");
    assert!(!hint.is_empty());
    assert_eq!((status_of(&world, "billing").await, status_of(&world, "b").await), (200, 401));
    let failing = |page: &str| page.contains("genesys_proxy_config_reload_failing 1\n");
    assert!(failing(&world.gateway.admin("/metrics").await));

    let right = wrong.replace("denny", "deny");
    let said = world.gateway.reload(&toml(&world, &right)).await;
    assert!(said.contains("configuration read again"), "{said}");
    assert_eq!((status_of(&world, "billing").await, status_of(&world, "b").await), (401, 200));
    let page = world.gateway.admin("/metrics").await;
    assert!(!failing(&page) && page.contains("genesys_proxy_config_reloads_total 1\n"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_goes_by_what_counts_now() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key("admin")).unwrap();
    let admin_key = ("GENESYS_PROXY__ADMIN_KEY_FILE", file.path().to_str().unwrap());
    let config = |callers: &str| format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{callers}");
    let billing = caller("billing", "");
    let world = World::with_env(unlimited(), &config(&billing), &[ADMIN, admin_key]).await;
    let pause = async |with: &str, name: &str| {
        let url = world.gateway.admin_url("/api/callers/pause");
        let request = world.client.post(url).header("x-api-key", key(with));
        let body = format!("{{\"caller\": \"{name}\"}}");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(pause("admin", "reports").await, 404);
    std::fs::write(file.path(), key("another")).unwrap();
    world.gateway.reload(&toml(&world, &config(&caller("reports", "")))).await;
    assert_eq!(pause("admin", "reports").await, 401);
    assert_eq!((pause("another", "billing").await, pause("another", "reports").await), (404, 200));
    assert_eq!(status_of(&world, "reports").await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_leaves_everything_as_it_is_until_it_is_back() {
    let world = keyed(&caller("billing", "")).await;
    let path = world.gateway.config();
    std::fs::rename(path, path.with_extension("away")).unwrap();
    world.gateway.logged("is gone or empty").await;
    assert_eq!(status_of(&world, "billing").await, 200);
    std::fs::rename(path.with_extension("away"), path).unwrap();
    world.gateway.logged("configuration read again").await;
    assert_eq!(status_of(&world, "billing").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_emptied_forgets_nobody() {
    let world = keyed(&caller("billing", "")).await;
    std::fs::write(world.gateway.config(), "").unwrap();
    world.gateway.signal("HUP");
    let said = world.gateway.wait_for_log("why=\"SIGHUP\"");
    assert!(said.contains("is gone or empty: restart to go on without it"), "{said}");
    assert_eq!(status_of(&world, "billing").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_is_looked_at_again_by_itself_and_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let late = dir.path().join("late");
    let world = keyed(&caller("billing", "")).await;
    let of_file = format!("[[caller]]\nname = \"late\"\nkey_file = \"{}\"\n", late.display());
    let rest = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{of_file}");
    let said = world.gateway.reload(&toml(&world, &rest)).await;
    assert!(said.contains("the former one stays in use"), "{said}");
    std::fs::write(&late, key("late")).unwrap();
    world.gateway.logged("why=\"another try\"").await;
    assert_eq!((status_of(&world, "late").await, status_of(&world, "billing").await), (200, 401));
    assert_eq!(world.gateway.log().matches("the former one stays in use").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_hangs_does_not_keep_the_gateway_from_ending() {
    let mut world = keyed(&caller("billing", "")).await;
    let path = world.gateway.config().to_owned();
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    world.gateway.signal("HUP");
    // There is a reader: it is being read, and what is never written is waited for.
    let writer = tokio::task::spawn_blocking(move || std::fs::File::create(&path).unwrap());
    let writer = writer.await.unwrap();
    assert_eq!(status_of(&world, "billing").await, 200);
    world.gateway.signal("TERM");
    assert_eq!(world.gateway.wait().code(), Some(0));
    assert!(!world.gateway.log().contains("do not end"), "it was waited for");
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_file_is_a_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key("former")).unwrap();
    let billing =
        format!("[[caller]]\nname = \"billing\"\nkey_file = \"{}\"\n", file.path().display());
    let world = keyed(&billing).await;
    assert_eq!((status_of(&world, "former").await, status_of(&world, "latter").await), (200, 401));
    std::fs::write(file.path(), key("latter!")).unwrap();
    world.gateway.logged("a file has changed").await;
    assert_eq!((status_of(&world, "former").await, status_of(&world, "latter!").await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_restart_is_named_each_time_and_the_rest_is_used() {
    let world = keyed(&caller("billing", "")).await;
    let both = caller("billing", "") + &caller("reports", "");
    let rest = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\nmax_connections = 77\n{both}");
    let rest = format!("connect_timeout = \"3s\"\n{rest}");
    for count in 1..=2 {
        world.gateway.reload(&toml(&world, &rest)).await;
        let said = world.gateway.wait_for_logs("take a restart", count);
        let names = "waiting=\"access.max_connections, upstream.connect_timeout\"";
        assert!(said.last().unwrap().contains(names), "{said:?}");
        assert_eq!(status_of(&world, "reports").await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_needs_no_signal() {
    let world = keyed(&caller("billing", "")).await;
    let both = caller("billing", "") + &caller("reports", "");
    let both = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{both}");
    world.gateway.rewrite(&toml(&world, &both));
    world.gateway.logged("a file has changed").await;
    assert_eq!(status_of(&world, "reports").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_limit_counts_what_has_left_under_the_former_one() {
    let limit = |most| {
        format!(
            "{}[[caller]]\nname = \"a\"\nnetworks = [\"127.0.0.1/32\"]\n",
            rate_limit(most, 60, "max_wait = \"1ms\"")
        )
    };
    let world = World::with(limited(8, 60), &limit(5)).await;
    let calls = async |count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(world.get(ECHO).await.status().as_u16());
        }
        statuses
    };
    assert_eq!(calls(6).await, [200, 200, 200, 200, 200, 429]);
    world.gateway.reload(&toml(&world, &limit(8))).await;
    assert_eq!(calls(4).await, [200, 200, 200, 429]);
    world.gateway.reload(&toml(&world, &limit(6))).await;
    assert_eq!(calls(1).await, [429]);
    assert_eq!(world.genesys.counters().rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ceiling_and_another_patience_count_at_once() {
    let of = |most| {
        let billing =
            caller("billing", &format!("requests_per_minute = {most}\nmax_wait = \"1ms\""));
        format!("{}[access]\nmode = \"key\"\n{billing}", rate_limit(300, 60, ""))
    };
    let world = World::with(unlimited(), &of(2)).await;
    let calls = async |count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(status_of(&world, "billing").await);
        }
        statuses
    };
    assert_eq!(calls(3).await, [200, 200, 429]);
    world.gateway.reload(&toml(&world, &of(4))).await;
    assert_eq!(calls(3).await, [200, 200, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_five_hundred_calls_a_second_no_reload_costs_one() {
    let world = World::with_env(unlimited(), NO_LIMIT, &[ADMIN]).await;
    let mut slow = world.get("/api/v2/stream?chunks=5&gap_ms=300").await;
    assert_eq!(slow.chunk().await.unwrap().unwrap(), "{\"chunk\":0}\n");
    let traffic: Vec<_> = (0..10).map(|_| Traffic::of(world.gateway.url(ECHO))).collect();
    for round in 0..20 {
        let so_far = world.genesys.counters().requests;
        world.until(|seen| seen.requests >= so_far + 50).await;
        let deny = format!("[access]\ndeny = [\"GET /api/v2/round/{round}\"]");
        let waits = format!("shutdown_timeout = \"{}s\"", 20 + round);
        let toml = format!("{waits}\n{}", toml(&world, &format!("{NO_LIMIT}\n{deny}")));
        let said = world.gateway.reload(&toml).await;
        assert!(said.contains("configuration read again"), "{said}");
        assert_eq!(world.get(&format!("/api/v2/round/{round}")).await.status(), 403);
    }
    let mut ends = JoinSet::new();
    for traffic in traffic {
        ends.spawn(traffic.end());
    }
    let served: u64 = ends.join_all().await.into_iter().sum();
    assert!(served >= 1000, "{served}");
    let mut rest = String::new();
    while let Some(chunk) = slow.chunk().await.unwrap() {
        rest.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(rest.lines().count(), 4, "{rest}");
    assert_eq!(world.genesys.counters().mints, 1);
    assert_eq!(world.gateway.admin("/healthz").await, "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_change_of_who_may_call_is_never_in_use() {
    let header = format!("{NO_LIMIT}\n[access]\nrequire_header = \"x-ours\"\n");
    let world = World::with(unlimited(), &header).await;
    assert_eq!(world.get(ECHO).await.status(), 403);
    let keys = format!("{NO_LIMIT}\n[access]\nmode = \"key\"\n{}", caller("billing", ""));
    let said = world.gateway.reload(&toml(&world, &keys)).await;
    assert!(said.contains("takes a restart: access.mode"), "{said}");
    assert_eq!(world.get(ECHO).await.status(), 403, "neither configuration lets it in");
}
