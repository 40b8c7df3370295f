//! `genesys-proxy exec` with a command that the test talks to.
//! It must never have a variable that the test did not give it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
};

use genesys_proxy::simulator::{Client, Handle, Options};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::{NO_LIMIT, gateway::PATIENCE, tools::installed, unlimited, world};

/// The company's secret: nothing but the login may see it.
pub const SECRET: &str = "pLaNtEd-7c1f0a93e5d2b846";

/// A simulated Genesys Cloud, and a configuration for it.
pub struct Company {
    pub genesys: Handle,
    config: tempfile::NamedTempFile,
    _stop: DropGuard,
}

impl Company {
    pub async fn new() -> Self {
        Self::with(NO_LIMIT).await
    }

    /// `toml` comes after `[upstream]`.
    pub async fn with(toml: &str) -> Self {
        let clients = vec![Client::new("demo", SECRET)];
        let (genesys, stop) = world::simulator(Options { clients, ..unlimited() }).await;
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), format!("{}\n{toml}", world::upstream(genesys.addr())))
            .unwrap();
        Self { genesys, config, _stop: stop }
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// `genesys-proxy exec OPTIONS -- `, for the command to follow.
    pub fn exec(&self, options: &[&str]) -> Command {
        let mut exec = outside(&[OsStr::new(env!("CARGO_BIN_EXE_genesys-proxy"))]);
        exec.args(["exec", "--config"]).arg(self.config()).args(options).arg("--");
        exec
    }

    /// The same, of a shell script.
    pub fn shell(&self, options: &[&str], script: &str) -> Command {
        let mut exec = self.exec(options);
        exec.args(["sh", "-c", script]);
        exec
    }

    /// The same, of a script for Python.
    pub fn python(&self, options: &[&str], script: &str) -> Command {
        let mut exec = self.exec(options);
        exec.arg(python()).args(["-c", script]);
        exec
    }
}

/// What runs Python.
pub fn python() -> std::path::PathBuf {
    installed("GENESYS_PROXY_TEST_PYTHON", "sdk/python/bin/python")
}

/// A command with the company's credentials in its environment, in no terminal's foreground, and
/// without the rights by which root reads other processes.
pub fn outside(words: &[&OsStr]) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        let without = "-sys_ptrace,-sys_admin,-perfmon";
        command.arg(format!("--bounding-set={without}")).arg(format!("--inh-caps={without}"));
        command.arg("--").args(words);
        command
    } else {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap())
        .env("GENESYS_CLIENT_ID", "demo")
        .env("GENESYS_CLIENT_SECRET", SECRET)
        .current_dir(env::temp_dir())
        .process_group(0);
    command
}

/// One that runs, with all below it killed when dropped, and after `PATIENCE`.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: tempfile::NamedTempFile,
    _patience: Sender<()>,
}

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What was left of it to be read.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

/// Runs it to its end; nothing is on its stdin.
pub fn run(command: Command) -> Ended {
    Running::start(command).end()
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().unwrap())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (patience, gone) = channel();
        let group = Pid::from_child(&child);
        std::thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                kill_process_group(group, Signal::KILL).ok();
            }
        });
        Self { child, stdin, stdout, stderr, _patience: patience }
    }

    /// The next line that the command prints; "" at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The environment that it prints, up to a line with a dot.
    pub fn environment(&mut self) -> BTreeMap<String, String> {
        let lines = std::iter::from_fn(|| Some(self.line()).filter(|line| line != "."));
        let pair = |line: String| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        lines.map_while(pair).collect()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The program's id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until its stderr has this.
    pub fn logged(&self, text: &str) {
        let begin = Instant::now();
        while !self.stderr().contains(text) {
            assert!(begin.elapsed() < PATIENCE, "no {text:?} in:\n{}", self.stderr());
            std::thread::yield_now();
        }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Its stdin ends; then it does.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout, stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}
