//! A configuration that has changed, by a signal or because its files have, put to use.
//! It never leaves a gateway between two: what is wrong with the new one is said, and the old one stays.

use std::{
    io::IsTerminal as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use super::systemd;
use crate::{
    config::{Config, Given, Problems, Sources, Variables, load_to_renew},
    server::Server,
    telemetry::level,
};

/// A look costs next to nothing, and whoever has just changed a file watches the log.
const EVERY: Duration = Duration::from_secs(2);
/// A changed file counts when it looks the same again after this: a writer may be half-way.
const SETTLES_IN: Duration = Duration::from_millis(100);

/// What all files together may take to be read: on a network they may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the gateway goes by, and where it was read.
pub(super) struct Reloading {
    /// Without variables: they are read again.
    sources: Sources,
    config: Config,
    given: Given,
    /// `proxy.toml`, `.env`, and files with callers' keys.
    watched: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    /// There was a `proxy.toml`.
    has_file: bool,
}

/// When a file was written, how large it is and which it is; `None`: it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Reloading {
    /// Of what was read from `sources`, whose variables are not kept.
    pub(super) fn new(sources: &Sources, config: Config, given: Given) -> Self {
        let sources = Sources { env: Variables::default(), ..sources.clone() };
        let watched = watched(&sources, &given);
        let stamps = stamps(&watched);
        let has_file = stamps.first().is_some_and(Option::is_some);
        Self { sources, config, given, watched, stamps, has_file }
    }

    /// Resolves when one of the files has been changed, whole.
    pub(super) async fn changed(&mut self) {
        loop {
            sleep(EVERY).await;
            let mut seen = stamps(&self.watched);
            if seen == self.stamps {
                continue;
            }
            loop {
                sleep(SETTLES_IN).await;
                let again = stamps(&self.watched);
                if again == seen {
                    break;
                }
                seen = again;
            }
            return;
        }
    }

    /// Reads all of it again, for a reason, and puts to use what can be.
    pub(super) async fn reload(&mut self, why: &'static str, server: &mut Server) {
        systemd::reloading();
        let taken = self.take(why, server).await;
        server.metrics().process.reloaded(taken);
        systemd::ready(&server.url());
    }

    /// Whether it was taken.
    async fn take(&mut self, why: &'static str, server: &mut Server) -> bool {
        // Before it is read: what changes meanwhile is a change yet.
        self.stamps = stamps(&self.watched);
        let there = self.stamps.first().is_some_and(Option::is_some);
        // Without `--config` a gateway needs no file. One that had one has lost it, and is not to forget
        // its callers for that.
        if self.has_file && !there {
            tracing::error!(why, "the configuration is gone: the former one stays in use");
            return false;
        }
        self.has_file = there;
        let sources = Sources { env: Sources::of_process().env, ..self.sources.clone() };
        // It reads files, which may be anywhere.
        let loaded = tokio::task::spawn_blocking(move || load_to_renew(&sources));
        let loaded = tokio::time::timeout(PATIENCE, loaded).await;
        match loaded {
            Ok(Ok(Ok(newer))) => self.turn(why, newer, server),
            Ok(Ok(Err(problems))) => {
                tell(&problems);
                tracing::error!(
                    why,
                    "the configuration is wrong and was not taken: the former one stays in use"
                );
                false
            }
            Ok(Err(error)) => {
                tracing::error!(why, %error, "the configuration could not be read again");
                false
            }
            Err(_) => {
                tracing::error!(why, "a file of the configuration does not end: nothing was taken");
                false
            }
        }
    }

    fn turn(&mut self, why: &str, (new, given): (Config, Given), server: &mut Server) -> bool {
        let changes = self.given.changes(&given, &self.config, &new);
        if changes.whole {
            let names = changes.waiting.join(", ");
            tracing::error!(
                why,
                waiting = names,
                "who can reach the gateway is to change, which takes a restart: nothing was taken"
            );
            return false;
        }
        let next = self.config.renewed(&new);
        if let Err(error) = server.renew(next.clone()) {
            tracing::error!(why, "nothing of the configuration was taken: {error}");
            return false;
        }
        if next.telemetry.log != self.config.telemetry.log
            && let Err(error) = level::configure(&next.telemetry.log)
        {
            tracing::error!(%error, "telemetry.log was not taken");
        }
        self.config = next;
        self.given.follow(given, &changes);
        self.watch(watched(&self.sources, &self.given));
        let names = changes.live.join(", ");
        tracing::info!(why, changed = names, "configuration read again, callers' keys included");
        if !changes.waiting.is_empty() {
            let names = changes.waiting.join(", ");
            tracing::warn!(waiting = names, "these changes take a restart, and have no effect yet");
        }
        true
    }

    /// These from now on; of those that were watched before, by how they looked then.
    fn watch(&mut self, files: Vec<PathBuf>) {
        let known = |file: &PathBuf| {
            let at = self.watched.iter().position(|known| known == file);
            at.and_then(|at| self.stamps.get(at).copied()).unwrap_or_else(|| stamp(file))
        };
        self.stamps = files.iter().map(known).collect();
        self.watched = files;
    }
}

/// As at the start.
fn tell(problems: &Problems) {
    eprint!("{}", problems.render(std::io::stderr().is_terminal()));
}

fn watched(sources: &Sources, given: &Given) -> Vec<PathBuf> {
    let keys = given.files().iter().map(PathBuf::as_path);
    sources.files().iter().map(PathBuf::as_path).chain(keys).map(Path::to_owned).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.modified().ok()?, seen.len(), seen.ino()))
}
