//! What `load` promises, from whole files and whole environments.
//! It never reads the real environment or a fixed path.

mod any;
mod audit;
mod callers;
mod claims;
mod left_out;
mod orgs;
mod rate_limit;
mod reference;
mod renew;
mod sources;
mod store;
mod tls;
mod wrong;

use std::fmt::Write as _;

use super::{Config, Problems, Sources, load};

/// A directory with files, an environment, and no flags.
struct World {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl World {
    /// Credentials in the environment, no file.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { dir: dir.path().to_owned(), ..Sources::default() };
        Self { dir, sources }
            .env("GENESYS_CLIENT_ID", "an-id")
            .env("GENESYS_CLIENT_SECRET", "hunter2")
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.sources.env.remove(name);
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn toml(self, text: &str) -> Self {
        self.file("proxy.toml", text)
    }

    fn load(&self) -> Result<Config, Problems> {
        load(&self.sources)
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(&self) -> Problems {
        self.load().expect_err("a problem")
    }

    /// `line: message | hint` of each problem.
    fn wrong(&self) -> String {
        let problems = self.problems();
        let mut all = String::new();
        for problem in &problems {
            let line = problem.line().map_or_else(|| "-".to_owned(), |line| line.to_string());
            let dir = self.dir.path().display().to_string();
            let hint = problem.help().unwrap_or("no hint");
            writeln!(all, "{line}: {problem}\n   {hint}").unwrap();
            all = all.replace(&dir, "DIR");
        }
        all
    }
}
