//! A real Prometheus that reads a gateway's metrics each second; killed when dropped.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{gateway::PATIENCE, redis::some_port, world};

/// On a port of its own, with nothing that outlives it.
pub struct Prometheus {
    url: String,
    child: Child,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Which reads `/metrics` at `target`.
    pub async fn reading(target: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{
                "job_name": "genesys-proxy",
                "static_configs": [{"targets": [target]}],
            }],
        });
        std::fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
        let client = world::client();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let address = format!("127.0.0.1:{}", some_port());
            let (mut child, url) = (start(dir.path(), &address), format!("http://{address}"));
            while child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < deadline, "prometheus does not serve in time");
                let ready = client.get(format!("{url}/-/ready")).send().await;
                if ready.is_ok_and(|answer| answer.status() == 200) {
                    return Self { url, child, client, _dir: dir };
                }
                tokio::task::yield_now().await;
            }
            // Somebody else has the port.
        }
    }

    /// What a query answers now.
    pub async fn ask(&self, query: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.client.post(url).form(&[("query", query)]).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }
}

fn start(dir: &Path, address: &str) -> Child {
    Command::new("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus is installed: tests/run.sh does it")
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
