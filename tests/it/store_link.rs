//! The way to the store: it is found, lost and found again, and calls go on all the same.

use std::{fmt::Write as _, time::Duration};

use crate::support::{
    Gateway, NO_LIMIT, World,
    front::Authority,
    gateway::ADMIN,
    redis::{Data, Redis},
    redis_sets::{Cluster, Sentinels},
    relay::{Cable, Relay},
    scene, unlimited,
};

const CONNECTED: &str = "the store is connected";
const LOST: &str = "the store cannot be used";
const BACK: &str = "the store is back";

/// A gateway with an admin listener and this `[store]`.
async fn with_store(store: &str) -> World {
    World::with_env(unlimited(), &format!("{NO_LIMIT}\n[store]\n{store}"), &[ADMIN]).await
}

fn count(gateway: &Gateway, text: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(text)).count()
}

async fn served(world: &World) {
    assert_eq!(world.get("/api/v2/routing/queues").await.status(), 200);
}

#[tokio::test]
async fn a_store_is_found_by_every_kind_of_url() {
    let plain = Redis::start();
    let ca = Authority::new();
    let tls = Redis::start_tls(&ca);
    let user = "gateway on >S3cret ~gp1:* &gp1:* +@all -@dangerous";
    let acl = [&["--user"][..], &user.split(' ').collect::<Vec<_>>()].concat();
    let acl = Redis::start_with(&acl);
    let (sentinels, cluster) = (Sentinels::start(), Cluster::start());
    for store in [
        format!("url = '{}/3'", plain.url()),
        format!("url = 'unix:{}'", plain.socket()),
        format!("url = '{}'\nca_file = '{}'", tls.url(), ca.path()),
        format!("url = '{}'", acl.url_as("gateway:S3cret@")),
        format!("url = '{}'", sentinels.url()),
        format!("url = '{}'", cluster.url()),
    ] {
        let world = with_store(&store).await;
        world.gateway.logged(CONNECTED).await;
        served(&world).await;
        assert_eq!(world.gateway.admin("/readyz").await, "ready\n", "{store}");
        let page = world.gateway.admin("/metrics").await;
        assert!(page.contains("\ngenesys_proxy_store_up 1\n"), "{store}: {page}");
        assert_eq!(count(&world.gateway, "not encrypted"), 0, "{store}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_and_a_wrong_password_are_told_of_and_calls_are_served() {
    let tls = Redis::start_tls(&Authority::new());
    let locked = Redis::start_with(&["--requirepass", "hunter2"]);
    for (store, why) in [
        (format!("url = '{}'", tls.url()), "nobody who is trusted here issued its certificate"),
        (format!("url = '{}'", locked.url()), "it wants a password"),
        (
            format!("url = '{}'", locked.url_as(":wrong-S3cret@")),
            "it refuses the user name or the password",
        ),
    ] {
        let world = with_store(&store).await;
        world.gateway.logged(LOST).await;
        served(&world).await;
        let ready = world.gateway.admin("/readyz").await;
        assert!(ready.starts_with("ready, but the store is away: "), "{ready}");
        assert!(ready.contains(why), "{ready}");
        let page = world.gateway.admin("/metrics").await;
        assert!(page.contains("\ngenesys_proxy_store_up 0\n"), "{page}");
        assert!(!world.gateway.log().contains("wrong-S3cret"));
    }
}

#[tokio::test]
async fn another_password_needs_no_restart() {
    let redis = Redis::start_with(&["--requirepass", "second"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first").unwrap();
    let path = file.path().display();
    let world =
        with_store(&format!("url = '{}'\npassword = {{ file = '{path}' }}", redis.url())).await;
    world.gateway.logged(LOST).await;
    std::fs::write(file.path(), "second\n").unwrap();
    world.gateway.logged(BACK).await;
    served(&world).await;
}

// The relay runs while this waits for a line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_and_every_return_is_one_line_and_calls_go_on() {
    let mut redis = Redis::start();
    let relay = Relay::to(redis.port).await;
    let world = with_store(&format!("url = 'redis://{}'", relay.address)).await;
    world.gateway.logged(CONNECTED).await;
    let mut times = 0;
    for trouble in ["kill", "pause", "hang", "reset", "full", "read-only"] {
        match trouble {
            "kill" => redis.kill(),
            "pause" => redis.pause(),
            "hang" => relay.is(Cable::Hangs),
            "reset" => relay.is(Cable::Resets),
            "full" => redis.fill(),
            _ => redis.read_only(),
        }
        times += 1;
        world.gateway.wait_for_logs(LOST, times);
        served(&world).await;
        let ready = world.gateway.admin("/readyz").await;
        assert!(ready.starts_with("ready, but the store is away: "), "{trouble}: {ready}");
        if ["full", "read-only"].contains(&trouble) {
            // It refuses again and again, and that is no news.
            let refused = redis.calls("evalsha");
            while redis.calls("evalsha") < refused + 3 {
                tokio::task::yield_now().await;
            }
        }
        match trouble {
            "kill" => redis.restart(Data::Lost),
            "pause" => redis.resume(),
            "hang" | "reset" => relay.is(Cable::Whole),
            "full" => redis.make_room(),
            _ => redis.writable(),
        }
        world.gateway.wait_for_logs(BACK, times);
        let (lost, back) = (count(&world.gateway, LOST), count(&world.gateway, BACK));
        assert_eq!((lost, back), (times, times), "{trouble}");
    }
    assert_eq!(world.gateway.admin("/readyz").await, "ready\n");
}

#[tokio::test]
async fn a_gateway_that_begins_without_its_store_finds_it_later() {
    let mut redis = Redis::start();
    redis.kill();
    let world = with_store(&format!("url = '{}'", redis.url())).await;
    world.gateway.logged(LOST).await;
    served(&world).await;
    redis.restart(Data::Lost);
    world.gateway.logged(BACK).await;
}

#[tokio::test]
async fn a_gateway_follows_its_sentinels_to_the_new_master() {
    let mut sentinels = Sentinels::start();
    let world = with_store(&format!("url = '{}'", sentinels.url())).await;
    world.gateway.logged(CONNECTED).await;
    sentinels.servers[0].kill();
    world.gateway.logged(LOST).await;
    served(&world).await;
    world.gateway.logged(BACK).await;
    assert!(sentinels.servers[1].calls("evalsha") > 0);
    let (lost, back) = (count(&world.gateway, LOST), count(&world.gateway, BACK));
    assert_eq!((lost, back), (1, 1), "{}", world.gateway.log());
}

#[tokio::test]
async fn a_password_that_crosses_a_network_unencrypted_is_warned_about() {
    // For documentation (RFC 5737): nobody is there.
    let world = with_store("url = 'redis://:S3cret@192.0.2.1'\ntimeout = '50ms'").await;
    world.gateway.logged("the way to the store is not encrypted").await;
    world.gateway.logged(LOST).await;
    served(&world).await;
    assert!(!world.gateway.log().contains("S3cret"));
}

#[tokio::test]
async fn the_end_of_a_gateway_does_not_wait_for_a_store_that_hangs() {
    let redis = Redis::start();
    let mut world = with_store(&format!("url = '{}'\ntimeout = '1500ms'", redis.url())).await;
    world.gateway.logged(CONNECTED).await;
    redis.pause();
    let begun = tokio::time::Instant::now();
    world.gateway.signal("TERM");
    world.gateway.wait();
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(count(&world.gateway, "tasks did not end"), 0);
}

#[test]
fn check_live_says_what_is_wrong_with_the_store() {
    let locked = Redis::start_with(&["--requirepass", "S3cret-x"]);
    let deaf = "gateway on >S3cret-x ~gp1:* resetchannels +@all -@dangerous";
    let deaf = [&["--user"][..], &deaf.split(' ').collect::<Vec<_>>()].concat();
    let deaf = Redis::start_with(&deaf);
    let mut gone = Redis::start();
    gone.kill();
    let mut told = String::new();
    for (redis, user) in
        [(&locked, ":S3cret-x@"), (&locked, ":no@"), (&deaf, "gateway:S3cret-x@"), (&gone, "")]
    {
        let toml = format!(
            "[upstream]\napi_url = \"http://127.0.0.1:1\"\n[store]\nurl = '{}'",
            redis.url_as(user)
        );
        let said = scene::run(&["check", "--live"], &toml);
        let (_, store) = said.stdout.split_once("\nstore at ").unwrap();
        let port = redis.port.to_string();
        // There is no Genesys Cloud here, which says 69 already.
        let store = store.replace(&port, "PORT").replace("It does not work yet.\n", "exit");
        write!(told, "{store} {}\n\n", said.code).unwrap();
    }
    insta::assert_snapshot!(told, @r#"
    127.0.0.1:PORT
      store       takes writes, and passes on messages

    exit 69

    127.0.0.1:PORT
      store       does not work: 127.0.0.1:PORT: it refuses the user name or the password
      fix         check url, username, password and ca_file in [store], and the server's ACL

    exit 78

    127.0.0.1:PORT
      messages    does not work: 127.0.0.1:PORT: its ACL does not let the user do this: this user has no permissions to access one of the channels used as arguments
      fix         let the user subscribe to channels, &gp1:* in its ACL: without messages replicas find out by asking now and then

    exit 78

    127.0.0.1:PORT
      store       does not work: 127.0.0.1:PORT: Connection refused (os error 111)
      fix         check store.url, firewalls and the server: without it this replica is alone

    exit 69
    "#);
}

#[tokio::test]
async fn a_store_whose_scripts_fail_is_told_of_once_and_calls_are_served() {
    // It connects, writes, and knows a command less than the scripts need.
    let redis = Redis::start_with(&["--rename-command", "HMGET", "nothing"]);
    let world = with_store(&format!("url = '{}'", redis.url())).await;
    world.gateway.logged(LOST).await;
    let line = world.gateway.wait_for_log(LOST);
    assert!(line.contains("a script failed: "), "{line}");
    let failed = redis.calls("evalsha");
    while redis.calls("evalsha") < failed + 10 {
        tokio::task::yield_now().await;
    }
    served(&world).await;
    let ready = world.gateway.admin("/readyz").await;
    assert!(ready.starts_with("ready, but the store is away: "), "{ready}");
    assert!(ready.contains("a script failed: "), "{ready}");
    let page = world.gateway.admin("/metrics").await;
    assert!(page.contains("\ngenesys_proxy_store_up 0\n"), "{page}");
    let told = (count(&world.gateway, LOST), count(&world.gateway, BACK));
    assert_eq!(told, (1, 0), "{}", world.gateway.log());
}
