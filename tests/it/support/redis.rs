//! Real redis-server processes, as many as a test needs, each of its own.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use redis::{Connection, FromRedisValue, Value};
use rustix::process::{Pid, Signal, kill_process};

use super::{front::Authority, gateway::PATIENCE};

/// What becomes of the data when a server starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// As after a clean restart.
    Kept,
    /// As without a disk.
    Lost,
}

/// A running redis-server on a port of its own; killed when dropped.
pub struct Redis {
    pub port: u16,
    child: Child,
    dir: tempfile::TempDir,
    arguments: Vec<String>,
    tls: bool,
    password: Option<String>,
}

impl Redis {
    /// Without a password, in plain text.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more of the configuration, as on the command line: `["--requirepass", "x"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::launch(arguments, None)
    }

    /// A node of a cluster, alone so far.
    pub fn start_node() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        Self::launch(&arguments, None)
    }

    /// Where it speaks to other nodes.
    pub fn bus(&self) -> u16 {
        self.ask::<(String, u16)>(&["CONFIG", "GET", "cluster-port"]).1
    }

    /// Which speaks TLS only, with a certificate for localhost.
    pub fn start_tls(ca: &Authority) -> Self {
        Self::launch(&[], Some(ca))
    }

    fn launch(arguments: &[&str], ca: Option<&Authority>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut all: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        if let Some(ca) = ca {
            let (key, certificate) = ca.issue("localhost");
            let file = |name: &str, text: &str| {
                let path = dir.path().join(name);
                std::fs::write(&path, text).unwrap();
                path.display().to_string()
            };
            let (key, certificate) = (file("key.pem", &key), file("cert.pem", &certificate));
            for (name, value) in [
                ("--tls-key-file", key.as_str()),
                ("--tls-cert-file", &certificate),
                ("--tls-ca-cert-file", ca.path()),
                ("--tls-auth-clients", "no"),
            ] {
                all.extend([name.to_owned(), value.to_owned()]);
            }
        }
        let password = arguments
            .iter()
            .position(|word| *word == "--requirepass")
            .map(|at| arguments[at + 1].to_owned());
        loop {
            let port = some_port();
            if let Some(child) = run(dir.path(), port, &all, ca.is_some()) {
                return Self { port, child, dir, arguments: all, tls: ca.is_some(), password };
            }
        }
    }

    /// For `store.url`, without a user.
    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// The same with `user:password@`.
    pub fn url_as(&self, user: &str) -> String {
        let (scheme, host) =
            if self.tls { ("rediss", "localhost") } else { ("redis", "127.0.0.1") };
        format!("{scheme}://{user}{host}:{}", self.port)
    }

    /// `host:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All data are gone.
    pub fn flush(&self) {
        self.ask::<()>(&["FLUSHALL"]);
    }

    /// It answers nothing, and closes nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// As a crash of the machine.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it, if it runs, and starts it on the same port.
    pub fn restart(&mut self, data: Data) {
        let running = self.child.try_wait().unwrap().is_none();
        match data {
            Data::Kept if running => self.ask::<()>(&["SAVE"]),
            Data::Kept => {}
            Data::Lost => drop(std::fs::remove_file(self.dir.path().join("dump.rdb"))),
        }
        self.kill();
        let again = run(self.dir.path(), self.port, &self.arguments, self.tls);
        self.child = again.expect("nobody takes a port outside of the range for clients");
    }

    /// It takes no writes, as a master that was replaced.
    pub fn read_only(&self) {
        // Nobody listens there.
        self.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    }

    /// It does again.
    pub fn writable(&self) {
        self.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Its memory is full: it takes no writes.
    pub fn fill(&self) {
        self.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    }

    /// It has room again.
    pub fn make_room(&self) {
        self.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    }

    /// Any command.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.connect()).unwrap()
    }

    fn connect(&self) -> Connection {
        let password = self.password.as_ref().map(|password| format!(":{password}@"));
        let password = password.unwrap_or_default();
        let url = if self.tls {
            format!("unix://{}", self.socket())
        } else {
            format!("redis://{password}127.0.0.1:{}", self.port)
        };
        let connection = redis::Client::open(url).unwrap().get_connection_with_timeout(PATIENCE);
        let connection = connection.unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    /// The path of its unix socket.
    pub fn socket(&self) -> String {
        self.dir.path().join("socket").display().to_string()
    }

    /// How often it ran a command so far, as in "evalsha".
    pub fn calls(&self, command: &str) -> u64 {
        let text: String = self.ask(&["INFO", "commandstats"]);
        let begin = format!("cmdstat_{command}:calls=");
        let line = text.lines().find_map(|line| line.strip_prefix(&begin));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// All that is in it: each key, and every byte of its value, however it is kept.
    pub fn keys_and_values(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut connection = self.connect();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        let mut found = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let mut read = match kind.as_str() {
                "string" => redis::cmd("GET"),
                "hash" => redis::cmd("HGETALL"),
                "set" => redis::cmd("SMEMBERS"),
                "list" => redis::cmd("LRANGE"),
                "zset" => redis::cmd("ZRANGE"),
                // It has ended meanwhile.
                "none" => continue,
                other => panic!("a {other} in the store"),
            };
            read.arg(&key);
            if ["list", "zset"].contains(&kind.as_str()) {
                read.arg(0).arg(-1);
            }
            let read: Value = read.query(&mut connection).unwrap();
            let mut bytes = Vec::new();
            flatten(&read, &mut bytes);
            found.push((key, bytes));
        }
        found
    }

    /// Keys that would stay for ever.
    pub fn without_an_end(&self) -> Vec<String> {
        let mut connection = self.connect();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        let mut ends =
            |key: &String| redis::cmd("PTTL").arg(key).query::<i64>(&mut connection).unwrap() != -1;
        keys.into_iter().filter(|key| !ends(key)).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn flatten(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::BulkString(text) => bytes.extend(text),
        Value::SimpleString(text) => bytes.extend(text.bytes()),
        Value::Int(number) => bytes.extend(number.to_string().bytes()),
        Value::Array(all) => all.iter().for_each(|one| flatten(one, bytes)),
        other => bytes.extend(format!("{other:?}").bytes()),
    }
    bytes.push(b'\n');
}

/// Below the range that the kernel takes for clients: a server that starts again finds it free.
pub fn some_port() -> u16 {
    fastrand::u16(10_000..32_000)
}

/// Waits until it serves; `None` when the port is taken.
fn run(dir: &Path, port: u16, arguments: &[String], tls: bool) -> Option<Child> {
    let (plain, port) =
        if tls { ("0".to_owned(), port.to_string()) } else { (port.to_string(), "0".to_owned()) };
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--port", &plain]);
    let bus = some_port().to_string();
    command
        .args(["--cluster-port", &bus, "--tls-port", &port, "--unixsocket", "socket", "--dir"])
        .arg(dir);
    start(command.args(arguments).current_dir(dir), "eady to accept connections")
}

/// Waits for a line of its log; `None` when it ends before.
pub fn start(command: &mut Command, ready: &'static str) -> Option<Child> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run.sh does it");
    let (stdout, (told, heard)) = (child.stdout.take().unwrap(), mpsc::channel());
    // To its end: a full pipe would stop the server.
    std::thread::spawn(move || {
        let mut log = Vec::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.contains(ready) {
                let _ = told.send(Ok(()));
            }
            if log.len() < 100 {
                log.push(line);
            }
        }
        let _ = told.send(Err(log.join("\n")));
    });
    match heard.recv_timeout(PATIENCE).expect("redis-server serves in time") {
        Ok(()) => Some(child),
        Err(log) => {
            child.wait().unwrap();
            assert!(log.contains("Address already in use"), "redis-server does not start:\n{log}");
            None
        }
    }
}
