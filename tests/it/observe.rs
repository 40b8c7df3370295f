//! What is watched of a gateway is there: the alert rules, the dashboard and the documents speak of metrics
//! that a running one shows, and a real Prometheus answers what they ask.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{
    World, gateway::PATIENCE, prometheus::Prometheus, redis::Redis, unlimited, yaml::documents,
};

const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const DASHBOARD: &str = "deploy/grafana/genesys-proxy.json";

/// Metrics without a line until what they count happens; `telemetry::metrics::tests` makes it happen.
const SELDOM: [&str; 5] = [
    "genesys_proxy_retries_total",
    "genesys_proxy_retries_refused_total",
    "genesys_proxy_token_verifications_total",
    "genesys_proxy_connections_refused_total",
    "genesys_proxy_client_secret_live",
];

/// What is off in the test of the dashboard: there is no certificate.
const OFF: &str = "genesys_proxy_tls_certificate_not_after_seconds";

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What the panels of the dashboard ask, of whichever gateway.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| query.replace("$__rate_interval", "20s").replace("$instance", ".*"))
        .collect()
}

fn alerts() -> Vec<Value> {
    let rules = documents(&[ALERTS]).remove(0)["groups"][0]["rules"].take();
    serde_json::from_value(rules).unwrap()
}

/// The metrics that a text speaks of.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c| !word(c)).filter(|name| name.starts_with("genesys_proxy_"));
    names.map(str::to_owned).collect()
}

/// The metrics of a page, by the names that Prometheus has for them.
fn metrics_of(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let names = lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned());
    names.collect()
}

/// A histogram has three names, and is spoken of by a fourth.
fn family(name: &str) -> &str {
    let of = |end| name.strip_suffix(end).filter(|family| !family.ends_with("command_seconds"));
    ["_bucket", "_sum", "_count"].into_iter().find_map(of).unwrap_or(name)
}

/// A gateway with all that can be watched, and calls of each kind.
struct Watched {
    world: World,
    _redis: Redis,
    _dir: tempfile::TempDir,
}

impl Watched {
    async fn new() -> Self {
        let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
        let toml = format!(
            "[rate_limit]\nrequests_per_minute = 100000\n\
             [saving]\ncache = [{{ match = \"GET /api/v2/organizations/me\", for = \"1h\" }}]\n\
             [audit]\nfile = \"{}\"\n[store]\nurl = \"{}\"\n[telemetry]\naccess_log = false",
            dir.path().join("audit.jsonl").display(),
            redis.url(),
        );
        let admin = [("GENESYS_PROXY__ADMIN", "127.0.0.1:0")];
        let world = World::with_env(unlimited(), &toml, &admin).await;
        Self { world, _redis: redis, _dir: dir }
    }

    /// One that is answered, one that is saved but for the first time, one that is refused.
    async fn call(&self) {
        for path in ["/api/v2/users", "/api/v2/organizations/me"] {
            assert_eq!(self.world.get(path).await.status(), 200, "{path}");
        }
        let end = self.world.gateway.url("/api/v2/tokens/me");
        assert_eq!(self.world.client.delete(end).send().await.unwrap().status(), 403);
    }

    fn admin(&self) -> String {
        let line = self.world.gateway.wait_for_log("health on http://");
        line.rsplit_once("http://").unwrap().1.split('/').next().unwrap().to_owned()
    }
}

#[test]
fn each_alert_fires_when_it_should_and_is_silent_when_it_should_be() {
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output()
            .expect("promtool is installed: tests/run.sh does it");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{wrong}");
    };
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", "deploy/prometheus/alerts.test.yaml"]);
    let tests = shipped("deploy/prometheus/alerts.test.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        for how in ["fires", "silent"] {
            assert!(tests.contains(&format!("name: {name}, {how}\n")), "{name} {how}");
        }
    }
}

#[test]
fn each_alert_waits_says_how_bad_it_is_what_to_do_and_where_to_read_on() {
    for alert in alerts() {
        assert!(alert["for"].is_string(), "{alert}");
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{alert}");
        assert!(alert["annotations"]["summary"].as_str().unwrap().contains(": "), "{alert}");
        let link = alert["annotations"]["documentation"].as_str().unwrap();
        let (file, section) = link.split_once('#').unwrap_or((link, ""));
        let headings = shipped(file);
        let headings = headings.lines().filter_map(|line| line.strip_prefix('#'));
        let anchors = headings
            .map(|heading| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
        assert!(anchors.chain([String::new()]).any(|anchor| anchor == section), "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_alerts_and_dashboard_speak_of_metrics_that_there_are_and_documents_of_all() {
    let watched = Watched::new().await;
    watched.call().await;
    watched.call().await;
    let page = metrics_of(&watched.world.gateway.admin("/metrics").await);
    let families: BTreeSet<&str> = page.iter().map(|name| family(name)).collect();
    let told = metrics_in(&shipped("docs/metrics.md"));
    let untold: Vec<_> = families.iter().filter(|name| !told.contains(**name)).collect();
    assert!(untold.is_empty(), "docs/metrics.md lacks {untold:?}");
    let made = shipped("src/telemetry/metrics/tests.rs");
    for seldom in SELDOM {
        assert!(made.contains(seldom), "{seldom}");
        assert!(told.contains(seldom) && !page.contains(seldom), "{seldom}");
    }
    let known =
        |name: &str| page.contains(name) || families.contains(name) || SELDOM.contains(&name);
    for file in ["docs/metrics.md", "docs/operations.md", "docs/limits.md", ALERTS, DASHBOARD] {
        let unknown: Vec<_> =
            metrics_in(&shipped(file)).into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_answers_what_the_dashboard_and_the_alerts_ask() {
    let watched = Watched::new().await;
    let prometheus = Prometheus::reading(&watched.admin()).await;
    for alert in alerts() {
        prometheus.ask(alert["expr"].as_str().unwrap()).await;
    }
    let (off, mut waiting): (Vec<_>, Vec<_>) = queries()
        .into_iter()
        .partition(|query| SELDOM.iter().chain([&OFF]).any(|name| query.contains(name)));
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "no data: {waiting:?}");
        // What has begun to be counted must be seen to grow.
        watched.call().await;
        for query in std::mem::take(&mut waiting) {
            if prometheus.ask(&query).await.is_empty() {
                waiting.push(query);
            }
        }
    }
    for query in off {
        assert!(prometheus.ask(&query).await.is_empty(), "there is data after all: {query}");
    }
}
