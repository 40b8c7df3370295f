//! The gateway as a service manager starts it.

use std::{
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Started with sockets, as systemd does it: they are descriptors 3 and 4, and it is told that they are
/// its own.
pub struct Started {
    pub child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Started {
    pub fn with(toml: &str, directory: &Path, sockets: Vec<OwnedFd>) -> Self {
        let config = directory.join("proxy.toml");
        std::fs::write(&config, toml).unwrap();
        let count = sockets.len();
        // The shell's descriptors become those, and its process the gateway's.
        let mut command = Command::new("/bin/sh");
        let hand_over = "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";
        command.args(["-c", hand_over, "sh", env!("CARGO_BIN_EXE_genesys-proxy"), "serve"]);
        command.arg("--config").arg(config).env_clear().env("LISTEN_FDS", count.to_string());
        command.env("GENESYS_CLIENT_ID", "demo").env("GENESYS_CLIENT_SECRET", "demo");
        let mut sockets = sockets.into_iter();
        command.stdin(sockets.next().map_or_else(Stdio::null, Stdio::from));
        command.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads its log up to a line with this in it.
    pub fn says(&mut self, text: &str) {
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.contains(text)) {
            assert!(self.log.read_line(&mut said).unwrap() > 0, "no {text:?} in {said}");
        }
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
