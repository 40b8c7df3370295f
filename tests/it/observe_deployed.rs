//! What watches the gateways of `docker-compose.yml` finds them, and shows what is shipped for it.
//! That the rules and the dashboard work is for `observe` to show.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::yaml::documents;

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().map(text).collect()).unwrap_or_default()
}

#[test]
fn prometheus_reads_both_gateways_and_grafana_has_the_dashboard_and_asks_prometheus() {
    let services = documents(&["docker-compose.yml"]).remove(0)["services"].take();
    let config = documents(&["deploy/compose/prometheus.yml"]).remove(0);
    let job = &config["scrape_configs"][0];
    // What alerts and dashboard ask for.
    assert_eq!(job["job_name"], "genesys-proxy");
    let targets = words(&job["static_configs"][0]["targets"]);
    assert_eq!(targets, ["gateway-1:8081", "gateway-2:8083"]);
    let toml = shipped("deploy/compose/proxy.toml");
    for target in targets {
        let (name, port) = target.split_once(':').unwrap();
        assert!(toml.contains(&format!("\"{name}\"")), "{name} is no Host of the gateway's");
        let admin = format!("0.0.0.0:{port}");
        let own = words(&services[name]["command"]).contains(&admin.as_str());
        assert!(own || toml.contains(&format!("admin = \"{admin}\"")), "{target}");
    }
    let mounted = |service: &str, file: &str, at: &str| {
        let mount = format!("./{file}:{at}:ro");
        assert!(words(&services[service]["volumes"]).contains(&mount.as_str()), "{mount}");
    };
    let rules = words(&config["rule_files"]);
    mounted("prometheus", "deploy/compose/prometheus.yml", "/etc/prometheus/prometheus.yml");
    mounted("prometheus", "deploy/prometheus/alerts.yaml", rules[0]);
    let provider = documents(&["deploy/compose/grafana/dashboards.yaml"]).remove(0);
    let path = text(&provider["providers"][0]["options"]["path"]);
    let at = format!("{path}/genesys-proxy.json");
    mounted("grafana", "deploy/grafana/genesys-proxy.json", &at);
    let source = documents(&["deploy/compose/grafana/datasources.yaml"]).remove(0);
    let source = &source["datasources"][0];
    assert_eq!(
        (&source["type"], &source["url"]),
        (&"prometheus".into(), &"http://prometheus:9090".into())
    );
    assert_eq!(source["jsonData"]["timeInterval"], config["global"]["scrape_interval"]);
    assert!(words(&services["grafana"]["networks"]).iter().all(|name| *name == "watch"));
    assert!(words(&services["prometheus"]["networks"]).contains(&"watch"));
}

/// Prometheus takes it, with the rules beside it.
#[test]
fn prometheus_takes_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str, text: String| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let rules = place("alerts.yaml", shipped("deploy/prometheus/alerts.yaml"));
    let config = shipped("deploy/compose/prometheus.yml");
    let config = config.replace("/etc/prometheus/alerts.yaml", rules.to_str().unwrap());
    let file = place("prometheus.yml", config);
    let checked = Command::new("promtool").args(["check", "config"]).arg(file).output();
    let checked = checked.expect("promtool is installed: tests/run.sh does it");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("rules found"), "{said}");
}
