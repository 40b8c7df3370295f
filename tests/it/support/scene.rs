//! A command of the program, run to its end between a scripted login and a scripted API: what it
//! said, fit for a snapshot.
//! It never hands out what it said with a secret in it, unless that was asked for.

use std::process::{Command, Stdio};

use super::{
    planted::nothing_planted_in,
    raw::{Line, Peer, SECRET, no_secret_in},
};

/// What a command said and how it ended.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Said {
    /// What `check --live` says after the summary, what is on stderr, and the exit code.
    pub fn live(&self) -> String {
        let out = match self.stdout.strip_prefix("The configuration is good.\n\n") {
            Some(summary) => summary.split_once("\n\n").map_or("", |(_, live)| live),
            None => &self.stdout,
        };
        Self { stdout: out.to_owned(), stderr: self.stderr.clone(), code: self.code }.all()
    }

    /// All of it.
    pub fn all(&self) -> String {
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            text.push_str("--- stderr\n");
            text.push_str(&self.stderr);
        }
        format!("{text}--- exit {}", self.code)
    }

    /// A text that differs from run to run gets a name.
    pub fn naming(mut self, text: &str, name: &str) -> Self {
        self.stdout = self.stdout.replace(text, name);
        self.stderr = self.stderr.replace(text, name);
        self
    }

    /// What comes after `before` on its line gets a name.
    pub fn naming_after(mut self, before: &str, name: &str) -> Self {
        let named = |text: &str| {
            let line = |line: &str| match line.split_once(before) {
                Some((head, _)) => format!("{head}{before}{name}\n"),
                None => format!("{line}\n"),
            };
            text.lines().map(line).collect::<String>()
        };
        (self.stdout, self.stderr) = (named(&self.stdout), named(&self.stderr));
        self
    }
}

/// Runs `genesys-proxy ARGUMENTS --config FILE`; no output may hold the secret or a token.
pub fn run(arguments: &[&str], toml: &str) -> Said {
    let said = run_openly(arguments, toml);
    for text in [&said.stdout, &said.stderr] {
        no_secret_in(text);
        nothing_planted_in(text);
    }
    said
}

/// The same, for what was asked to show a token.
pub fn run_openly(arguments: &[&str], toml: &str) -> Said {
    let credentials = [("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", SECRET)];
    run_knowing(&credentials, arguments, toml)
}

/// The same with these variables and no others; what it says is for the test to look through.
pub fn run_knowing(variables: &[(&str, &str)], arguments: &[&str], toml: &str) -> Said {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    // Whatever should end and does not is killed.
    let output = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_genesys-proxy")])
        .args(arguments)
        .arg("--config")
        .arg(file.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().unwrap(),
    }
    .naming(file.path().to_str().unwrap(), "proxy.toml")
}

/// A scripted login and a scripted API.
pub struct Scene {
    pub login: Peer,
    pub api: Peer,
}

impl Scene {
    pub fn new(
        login: impl Fn(&mut Line) + Send + Sync + 'static,
        api: impl Fn(&mut Line) + Send + Sync + 'static,
    ) -> Self {
        Self { login: Peer::start(login), api: Peer::start(api) }
    }

    /// The configuration for it, with more settings, one `section.key = value` a line.
    pub fn toml(&self, settings: &str) -> String {
        format!(
            "upstream.api_url = \"{}\"\noauth.token_url = \"{}/oauth/token\"\n{settings}",
            self.api.url(),
            self.login.url()
        )
    }

    /// `check --live`
    pub fn check(&self, settings: &str) -> String {
        self.named(run(&["check", "--live"], &self.toml(settings))).live()
    }

    /// With both addresses named.
    pub fn named(&self, said: Said) -> Said {
        said.naming(&self.login.address.to_string(), "LOGIN")
            .naming(&self.api.address.to_string(), "API")
    }
}

/// Answers every request like this.
pub fn answers(status: &str, fields: &str, body: &str) -> impl Fn(&mut Line) + use<> {
    let answer = answer(status, fields, body);
    move |line| {
        while line.request().is_some() {
            line.send(&answer);
        }
    }
}

/// Answers `/api/v2/tokens/me` with the first and everything else with the second.
pub fn api(me: Vec<u8>, other: Vec<u8>) -> impl Fn(&mut Line) {
    move |line| {
        while let Some(request) = line.request() {
            line.send(if request.target == "/api/v2/tokens/me" { &me } else { &other });
        }
    }
}

pub fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n\
         {body}",
        body.len()
    )
    .into_bytes()
}
