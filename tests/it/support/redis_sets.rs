//! Several servers that belong together: one watched by Sentinels, and a cluster.

use std::{
    process::{Child, Command},
    time::Instant,
};

use redis::{FromRedisValue, Value};

use super::{
    gateway::PATIENCE,
    redis::{Redis, some_port, start},
};

/// What Sentinels call the master.
pub const MASTER: &str = "mymaster";

/// A master, its replica, and three Sentinels that put one in the other's place.
pub struct Sentinels {
    /// The first is the master, until it fails.
    pub servers: [Redis; 2],
    pub ports: Vec<u16>,
    children: Vec<Child>,
    _dirs: Vec<tempfile::TempDir>,
}

impl Sentinels {
    /// All know one another when this returns.
    pub fn start() -> Self {
        let master = Redis::start();
        let port = master.port.to_string();
        let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]);
        let (mut ports, mut children, mut dirs) = (Vec::new(), Vec::new(), Vec::new());
        while children.len() < 3 {
            let (dir, port) = (tempfile::tempdir().unwrap(), some_port());
            let file = dir.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\n\
                 sentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} 600\n\
                 sentinel failover-timeout {MASTER} 3000\n",
                dir.path().display(),
                master.port
            );
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new("redis-server");
            if let Some(child) = start(command.arg(&file).arg("--sentinel"), "+monitor master") {
                children.push(child);
                ports.push(port);
                dirs.push(dir);
            }
        }
        let all = Self { servers: [master, replica], ports, children, _dirs: dirs };
        all.until_they_know_one_another();
        all
    }

    fn until_they_know_one_another(&self) {
        until("Sentinels that know one another", || {
            self.ports.iter().all(|port| {
                let facts: Vec<String> = ask(*port, &["SENTINEL", "MASTER", MASTER]);
                let fact = |name: &str| {
                    let at = facts.iter().position(|word| word == name)?;
                    facts.get(at + 1).cloned()
                };
                fact("num-slaves").as_deref() == Some("1")
                    && fact("num-other-sentinels").as_deref() == Some("2")
            })
        });
        // Who is promoted must be ready for it.
        until("a replica in step", || {
            self.servers[1].ask::<String>(&["INFO", "replication"]).contains("link_status:up")
        });
    }

    /// For `store.url`.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three nodes, each with a third of the keys.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Whole when this returns.
    pub fn start() -> Self {
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::start_node()).collect();
        for (number, (node, slots)) in
            nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]).enumerate()
        {
            let epoch = (number + 1).to_string();
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        }
        for node in &nodes[1..] {
            let (port, bus) = (node.port.to_string(), node.bus().to_string());
            nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        until("a whole cluster", || {
            nodes.iter().all(|node| {
                let facts: String = node.ask(&["CLUSTER", "INFO"]);
                facts.contains("cluster_state:ok") && facts.contains("cluster_known_nodes:3")
            })
        });
        Self { nodes }
    }

    /// For `store.url`; the last is one that the others name.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes[..2].iter().map(Redis::address).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// One more, which has all that a node has, and takes its place when that dies.
    pub fn copy_of(&self, number: usize) -> Redis {
        let (copy, node) = (Redis::start_node(), &self.nodes[number]);
        let (port, bus) = (node.port.to_string(), node.bus().to_string());
        let all = (self.nodes.len() + 1).to_string();
        let knows = |node: &Redis, count: &str| {
            let facts: String = node.ask(&["CLUSTER", "INFO"]);
            facts.contains(&format!("cluster_known_nodes:{count}\r"))
        };
        until("a node that all know", || {
            // On a busy machine nodes give up a handshake that takes too long.
            if knows(&copy, "1") {
                copy.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
            self.nodes.iter().chain([&copy]).all(|node| knows(node, &all))
        });
        let id: String = node.ask(&["CLUSTER", "MYID"]);
        copy.ask::<()>(&["CLUSTER", "REPLICATE", &id]);
        until("a copy in step, as all know", || {
            let in_step = copy.ask::<String>(&["INFO", "replication"]);
            let me: String = copy.ask(&["CLUSTER", "MYID"]);
            in_step.contains("link_status:up")
                && self.nodes.iter().all(|node| {
                    let nodes: String = node.ask(&["CLUSTER", "NODES"]);
                    nodes.lines().any(|line| line.starts_with(&me) && line.contains("slave"))
                })
        });
        copy
    }

    /// Which node has a key.
    pub fn node_of(&self, key: &str) -> usize {
        let slot: u32 = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        match slot {
            0..=5460 => 0,
            5461..=10922 => 1,
            _ => 2,
        }
    }
}

/// Asks until it is so.
pub fn until(what: &str, is: impl Fn() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "time is never paused where processes run")]
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Any command to whoever listens at a port.
fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> T {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_connection_with_timeout(PATIENCE).unwrap();
    let told: Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap();
    redis::from_redis_value(told).unwrap()
}
