//! The gateway as a real process on a free port.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::planted::{given_away, nothing_planted_in};

/// Everything but a hang is faster than this, on a slow machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that gives it an admin listener, on a free port.
pub const ADMIN: (&str, &str) = ("GENESYS_PROXY__ADMIN", "127.0.0.1:0");

/// A running `genesys-proxy serve`; killed when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    child: Child,
    log: Arc<Log>,
    /// Reads the log until the process ends.
    reader: Option<JoinHandle<()>>,
    config: tempfile::TempPath,
    reloads: Mutex<usize>,
    _turn: Turn,
}

/// Who uses the machine: tests run beside one another, but for those that measure what a busy
/// machine would spoil.
static MACHINE: (Mutex<Use>, Condvar) =
    (Mutex::new(Use { gateways: 0, alone: false }), Condvar::new());

struct Use {
    gateways: usize,
    alone: bool,
}

/// One gateway's share of the machine.
struct Turn;

impl Turn {
    /// Beside others. A test may have several, so nobody waits for one who only wants to be alone.
    fn shared() -> Self {
        let users = MACHINE.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut users = MACHINE.1.wait_while(users, |users| users.alone).unwrap();
        users.gateways += 1;
        Self
    }

    fn alone() -> Self {
        let users = MACHINE.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut users = MACHINE.1.wait_while(users, |users| users.gateways > 0).unwrap();
        (users.gateways, users.alone) = (1, true);
        Self
    }

    /// Beside those of a test that is alone: nobody else can begin.
    fn alone_too() -> Self {
        let mut users = MACHINE.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(users.alone, "this test is not alone");
        users.gateways += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut users = MACHINE.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.gateways -= 1;
        users.alone &= users.gateways > 0;
        MACHINE.1.notify_all();
    }
}

/// A configuration for it, with what is the same in all.
fn whole(toml: &str) -> String {
    format!("listen = [\"127.0.0.1:0\"]\nadmin = \"\"\n{toml}")
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    /// The same for whoever must not block a thread: a bump a line.
    bumped: watch::Sender<()>,
    /// The first line that gives a secret away: no test passes with one.
    given_away: OnceLock<String>,
}

impl Gateway {
    /// Starts it with `toml` (without `listen` and `admin`) and waits until it listens.
    pub fn start(toml: &str) -> Self {
        Self::start_with(toml, &[])
    }

    /// The same, with more environment variables.
    pub fn start_with(toml: &str, env: &[(&str, &str)]) -> Self {
        Self::launch(toml, env, Turn::shared(), None)
    }

    /// The same, with no more than so many open files.
    pub fn start_poor(toml: &str, descriptors: u32) -> Self {
        Self::launch(toml, &[], Turn::shared(), Some(descriptors))
    }

    /// The same, while no other test's gateway runs.
    pub fn start_alone(toml: &str, env: &[(&str, &str)]) -> Self {
        Self::launch(toml, env, Turn::alone(), None)
    }

    /// One more of a test whose first was started alone.
    pub fn start_alone_too(toml: &str, env: &[(&str, &str)]) -> Self {
        Self::launch(toml, env, Turn::alone_too(), None)
    }

    fn launch(toml: &str, env: &[(&str, &str)], turn: Turn, descriptors: Option<u32>) -> Self {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(whole(toml).as_bytes()).unwrap();
        let config = config.into_temp_path();
        let mut child = program(descriptors)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env_clear()
            .env("GENESYS_CLIENT_ID", "demo")
            .env("GENESYS_CLIENT_SECRET", "demo")
            .envs(env.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let (stderr, collected) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(why) = given_away(&line) {
                    collected.given_away.get_or_init(|| why);
                }
                collected.lines.lock().unwrap().push(line);
                collected.more.notify_all();
                collected.bumped.send_replace(());
            }
        });
        let address = ([127, 0, 0, 1], 0).into();
        let mut gateway = Self {
            address,
            child,
            log,
            reader: Some(reader),
            config,
            reloads: Mutex::default(),
            _turn: turn,
        };
        // The first of them: others belong to further organisations.
        let line = gateway.wait_for_logs("listening on http", 1).remove(0);
        gateway.address =
            line.rsplit("://").next().unwrap().trim().split('"').next().unwrap().parse().unwrap();
        gateway
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A page of the admin listener, which is there when `ADMIN` was among its variables.
    pub async fn admin(&self, path: &str) -> String {
        let url = self.admin_url(path);
        let answer = super::world::client().get(url).send().await.unwrap();
        let page = answer.error_for_status().unwrap().text().await.unwrap();
        nothing_planted_in(&page);
        page
    }

    /// Its file.
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// Its file is another one now.
    pub fn rewrite(&self, toml: &str) {
        std::fs::write(&self.config, whole(toml)).unwrap();
    }

    /// The same, and a SIGHUP; returns once it has read it, with what it said.
    pub async fn reload(&self, toml: &str) -> String {
        self.rewrite(toml);
        self.hang_up().await
    }

    /// The same, of a file in which only this is another.
    pub async fn edit(&self, from: &str, to: &str) -> String {
        let toml = std::fs::read_to_string(&self.config).unwrap();
        assert!(toml.contains(from), "{toml}");
        std::fs::write(&self.config, toml.replace(from, to)).unwrap();
        self.hang_up().await
    }

    async fn hang_up(&self) -> String {
        let count = {
            let mut reloads = self.reloads.lock().unwrap();
            *reloads += 1;
            *reloads
        };
        self.signal("HUP");
        let said = || {
            let log = self.log();
            let lines = log.lines().filter(|line| line.contains("why=\"SIGHUP\""));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        self.until_log("line about the reload", || said().len() >= count).await;
        said().pop().unwrap()
    }

    /// The URL of a page of the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        let line = self.wait_for_log("health on http://");
        let base = line.rsplit_once("http://").unwrap().1.split('/').next().unwrap();
        format!("http://{base}{path}")
    }

    /// A gauge on its page of metrics.
    pub async fn gauge(&self, name: &str) -> u32 {
        let page = self.admin("/metrics").await;
        let line = page.lines().find(|line| line.starts_with(&format!("genesys_proxy_{name}{{")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a line of the log contains `text`; returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_logs(text, 1).pop().unwrap()
    }

    /// Waits until `count` lines of the log contain `text`; returns them.
    pub fn wait_for_logs(&self, text: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let found: Vec<_> = lines.iter().filter(|l| l.contains(text)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {count} lines with {text:?} in:\n{}", lines.join("\n"));
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// The same without blocking the thread, for a test that has something else to do meanwhile.
    pub async fn logged(&self, text: &str) {
        self.until_log(&format!("line with {text:?}"), || self.log().contains(text)).await;
    }

    /// Waits until it knows of so many replicas, itself included: what it knew before does not count.
    pub async fn knows_of(&self, replicas: usize) {
        let wanted = replicas.to_string();
        let knows = || self.newest("replicas=").is_some_and(|known| known == wanted);
        self.until_log(&format!("replicas={wanted} as the newest"), knows).await;
    }

    async fn until_log(&self, what: &str, is: impl Fn() -> bool) {
        let mut bumps = self.log.bumped.subscribe();
        while !is() {
            let bump = tokio::time::timeout(PATIENCE, bumps.changed()).await;
            assert!(bump.is_ok(), "no {what} in:\n{}", self.log());
        }
    }

    /// The value of a field in the newest line of the log that has it.
    pub fn newest(&self, field: &str) -> Option<String> {
        let log = self.log();
        let value = log.lines().rev().find_map(|line| line.split_once(field))?.1;
        Some(value.split_whitespace().next()?.trim_matches('"').to_owned())
    }

    /// All lines so far.
    pub fn log(&self) -> String {
        // A wait that failed has poisoned it; its own panic needs the lines.
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Ends the process; the whole log, to its last line.
    pub fn log_at_end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as in "TERM".
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// Waits until so many callers are connected, as the kernel counts them.
    pub async fn until_open(&self, connections: usize) {
        let deadline = Instant::now() + PATIENCE;
        let local = format!("0100007F:{:04X}", self.address.port());
        loop {
            // `sl local remote state …`; 01 is ESTABLISHED.
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let open = table.lines().filter(|line| {
                let mut words = line.split_whitespace().skip(1);
                words.next() == Some(&local) && words.nth(1) == Some("01")
            });
            let open = open.count();
            if open == connections {
                return;
            }
            assert!(Instant::now() < deadline, "{open} connections, not {connections}");
            tokio::task::yield_now().await;
        }
    }

    /// Resident memory now, in bytes.
    pub fn resident(&self) -> u64 {
        self.status_field("VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    pub fn peak_resident(&self) -> u64 {
        self.status_field("VmHWM:")
    }

    fn status_field(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

fn program(descriptors: Option<u32>) -> Command {
    let program = env!("CARGO_BIN_EXE_genesys-proxy");
    let Some(limit) = descriptors else { return Command::new(program) };
    // The hard limit, too: the gateway raises its own as far as it may.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), program]);
    shell
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let newest = lines.get(lines.len().saturating_sub(100)..).unwrap_or_default();
            eprintln!("--- the newest of the gateway's log ---\n{}", newest.join("\n"));
            return;
        }
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let given_away = self.log.given_away.get();
        assert!(given_away.is_none(), "the log: {}", given_away.unwrap());
    }
}
