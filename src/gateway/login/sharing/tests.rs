//! What is told, on paused time.

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    config::{self, Servers, Sources, load},
    decide::callers::Principal,
    secret::Secret,
    telemetry::metrics::Metrics,
    token::issuer::{Network, Secrets},
    upstream::tls,
};

const BILLING: Principal = Principal::Named(0);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// Without a store, and without what it would be asked with.
fn away(metrics: &Metrics, tasks: &TaskTracker, stop: &CancellationToken) -> Sharing {
    let (runtime, dir) = (Handle::current(), "/nonexistent");
    let env = [("GENESYS_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", "secret")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = load(&Sources { env, dir: dir.into(), ..Sources::default() }).unwrap();
    let store = config::Store {
        servers: Servers::Unix("/nonexistent/redis.sock".into()),
        tls: false,
        username: None,
        password: None,
        ca_file: None,
        timeout: SECOND,
    };
    let link = Link::spawn(&store, None, metrics.clone(), tasks, &runtime, stop).unwrap();
    let network = Network {
        connect_timeout: SECOND,
        proxy: None,
        tls: tls::client_config("upstream.ca_file", None).unwrap(),
        api: &config.upstream.api,
    };
    let client = config.oauth.clients[0].clone();
    let secrets = Secrets::of(&client.credentials, |source, kind| {
        Secret::spawn(source.clone(), kind, None, tasks, &runtime, stop.clone())
    });
    let login = Login::new(config.oauth, client, secrets, &network).unwrap();
    let sharing = Sharing::new(Arc::new(login), link);
    sharing.serve(who(b"k"));
    sharing
}

fn who(key: &[u8]) -> Vec<Who> {
    vec![(BILLING, "billing".to_owned(), KeyDigest::of(key))]
}

fn failed(metrics: &Metrics) -> u32 {
    let page = metrics.render();
    let line = "genesys_proxy_store_commands_total{outcome=\"error\"} ";
    page.lines().find_map(|all| all.strip_prefix(line)).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_it_is_asked_now_and_then_however_many_tokens_end() {
    let (metrics, tasks, stop) = (Metrics::default(), TaskTracker::new(), CancellationToken::new());
    let sharing = away(&metrics, &tasks, &stop);
    let table = Table::new(DAY, Instant::now());
    let end_one_a_second = async {
        for second in 0..600_u32 {
            let seal = sharing.seals().await.unwrap().first().cloned();
            let (digest, now) = (KeyDigest::of(&second.to_be_bytes()), Instant::now());
            table.insert(digest, (BILLING, seal), now + DAY, now);
            table.revoke(&digest);
            sharing.wake();
            sleep(SECOND).await;
        }
    };
    tokio::select! {
        () = sharing.follow(&table, DAY) => {}
        () = end_one_a_second => {}
    }
    let asked = failed(&metrics);
    assert!((120..400).contains(&asked), "in ten minutes {asked} times");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_has_another_key_is_called_otherwise_at_once() {
    let (metrics, tasks, stop) = (Metrics::default(), TaskTracker::new(), CancellationToken::new());
    let sharing = away(&metrics, &tasks, &stop);
    let table = Table::new(DAY, Instant::now());
    let change = async {
        let first = sharing.seals().await.unwrap();
        let called = first[0].whose(BILLING).unwrap();
        sharing.serve(who(b"other"));
        let second = sharing.seals().await.unwrap();
        assert_eq!(second[0].caller(&called), None);
        assert_eq!(second[0].key.id(), first[0].key.id());
        let now = second[0].whose(BILLING).unwrap();
        assert_eq!(second[0].caller(&now), Some((BILLING, KeyDigest::of(b"other"))));
    };
    tokio::select! {
        () = sharing.follow(&table, DAY) => {}
        () = change => {}
    }
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_a_caller_that_got_another_key_names_it_as_each_token_does() {
    let (metrics, tasks, stop) = (Metrics::default(), TaskTracker::new(), CancellationToken::new());
    let sharing = away(&metrics, &tasks, &stop);
    let table = Table::new(DAY, Instant::now());
    let change = async {
        let now = Instant::now();
        for (n, key) in [(1_u32, b"k"), (2, b"n")] {
            sharing.serve(who(key));
            let seal = sharing.seals().await.unwrap().first().cloned();
            table.insert(KeyDigest::of(&n.to_be_bytes()), (BILLING, seal), now + DAY, now);
        }
        table.end(&[BILLING]);
        let told = duty::batches(table.revoked(now));
        assert_eq!(told.len(), 2);
        for batch in told {
            let entry = &batch.entries[0];
            assert_eq!((batch.entries.len(), entry.seal.whose(BILLING)), (1, Some(batch.whose)));
        }
    };
    tokio::select! {
        () = sharing.follow(&table, DAY) => {}
        () = change => {}
    }
    stop.cancel();
}
