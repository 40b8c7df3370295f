//! A configuration that has changed, by a signal or because its files have, put to use.
//! It never leaves a gateway between two: what is wrong with the new one is said, and the old one stays.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{serve::warn_of_admin_key, systemd};
use crate::{
    config::{Config, Given, Problems, Sources, Variables, load_to_renew},
    server::{Server, TakesRestart},
    telemetry::{colours, level},
};

/// A look costs next to nothing, and whoever has just changed a file watches the log.
const EVERY: Duration = Duration::from_secs(2);
/// A changed file counts when it looks the same again after this: a writer may be half-way.
const SETTLES_IN: Duration = Duration::from_secs(1);
/// How often one that was not taken is tried again: what it lacked may have come without a trace.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
/// How often it is read when it changes meanwhile.
const TRIES: usize = 5;
/// What all files together may take to be read: on a network they may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a configuration is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody asked for it.
    Hangup,
    /// A file has changed.
    Changed,
    /// The last time it was not taken. Who has heard why need not hear it again.
    Again,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Changed => "a file has changed",
            Self::Again => "another try",
        }
    }
}

/// Why it was not taken. The former one stays in use.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    /// Without `--config` a gateway needs no file. One that had one has lost it, and is not to forget its
    /// callers for that.
    #[error("{} is gone or empty: restart to go on without it", .0.display())]
    Gone(PathBuf),
    #[error("its files do not end, or cannot be looked at")]
    Hangs,
    #[error("its files change all the time")]
    Moving,
    #[error("{}", .0.render(false))]
    Wrong(Problems),
    #[error("who can reach the gateway is to change, which takes a restart: {0}")]
    Whole(String),
    #[error("{0}")]
    Restart(#[from] TakesRestart),
}

impl Untaken {
    fn tell(&self, why: Why) {
        let why = why.words();
        match self {
            Self::Wrong(problems) => {
                // As at the start.
                eprint!("{}", problems.render(colours::wanted(&std::io::stderr())));
                tracing::error!(
                    why,
                    "the configuration is wrong and was not taken: the former one stays in use"
                );
            }
            Self::Gone(_) | Self::Hangs | Self::Moving | Self::Whole(_) | Self::Restart(_) => {
                tracing::error!(
                    why,
                    "nothing of the configuration was taken, the former one stays in use: {self}"
                );
            }
        }
    }
}

/// What the gateway goes by, and where it was read.
pub(super) struct Reloading {
    /// Without variables: they are read again.
    sources: Sources,
    config: Config,
    given: Given,
    /// `proxy.toml`, `.env`, and files with keys.
    watched: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    /// Those of `sources` that had something in them.
    there: Vec<PathBuf>,
    /// What was said of one that was not taken.
    untaken: Option<String>,
    /// One look at a time: it may never end.
    one: Arc<Semaphore>,
}

/// When a file was written, how large it is and which it is; `None`: it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Reloading {
    /// Of what was read from `sources`, whose variables are not kept.
    pub(super) fn new(sources: &Sources, config: Config, given: Given) -> Self {
        let sources = Sources { env: Variables::default(), ..sources.clone() };
        let watched = watched(&sources, &given);
        let stamps = stamps(&watched);
        let there = there(&sources);
        let one = Arc::new(Semaphore::new(1));
        Self { sources, config, given, watched, stamps, there, untaken: None, one }
    }

    /// Resolves when it is to be read again. May be dropped at any time.
    pub(super) async fn changed(&self) -> Why {
        let again = Instant::now() + AGAIN_AFTER;
        loop {
            sleep(EVERY).await;
            match self.look(&self.watched).await {
                None => {}
                Some(seen) if seen == self.stamps && self.untaken.is_none() => {}
                Some(seen) if seen == self.stamps && Instant::now() < again => {}
                Some(seen) if seen == self.stamps => return Why::Again,
                Some(seen) => {
                    sleep(SETTLES_IN).await;
                    if self.look(&self.watched).await == Some(seen) {
                        return Why::Changed;
                    }
                }
            }
        }
    }

    /// Reads all of it again, for a reason, and puts to use what can be. May be dropped while it reads.
    pub(super) async fn reload(&mut self, why: Why, server: &mut Server) {
        let news = why != Why::Again;
        if news {
            systemd::reloading();
        }
        match self.take(why, server).await {
            Ok(()) => {
                self.untaken = None;
                server.metrics().process.reloaded(true);
            }
            Err(untaken) => {
                let said = untaken.to_string();
                if news || self.untaken.as_ref() != Some(&said) {
                    untaken.tell(why);
                }
                self.untaken = Some(said);
                server.metrics().process.reloaded(false);
            }
        }
        if news {
            systemd::ready(&server.url());
        }
    }

    async fn take(&mut self, why: Why, server: &mut Server) -> Result<(), Untaken> {
        let mut files = self.watched.clone();
        for _ in 0..TRIES {
            // Before it is read: what changes meanwhile is a change yet.
            self.stamps = self.look(&files).await.ok_or(Untaken::Hangs)?;
            self.watched.clone_from(&files);
            let sources = Sources { env: Sources::of_process().env, ..self.sources.clone() };
            let (there, loaded) = self
                .off(move || (there(&sources), load_to_renew(&sources)))
                .await
                .ok_or(Untaken::Hangs)?;
            if let Some(gone) = self.there.iter().find(|file| !there.contains(file)) {
                return Err(Untaken::Gone(gone.clone()));
            }
            if self.look(&files).await.as_ref() != Some(&self.stamps) {
                sleep(SETTLES_IN).await;
                continue;
            }
            let (new, given) = loaded.map_err(Untaken::Wrong)?;
            let named = watched(&self.sources, &given);
            if named != files {
                // Other files have keys now: they are to be the same before and after, too.
                files = named;
                continue;
            }
            self.there = there;
            return self.turn(why, (new, given), server);
        }
        Err(Untaken::Moving)
    }

    fn turn(
        &mut self,
        why: Why,
        (new, given): (Config, Given),
        server: &mut Server,
    ) -> Result<(), Untaken> {
        let changes = self.given.changes(&given, &self.config, &new);
        if changes.whole {
            return Err(Untaken::Whole(changes.waiting.join(", ")));
        }
        let next = self.config.renewed(&new);
        server.renew(next.clone())?;
        if next.telemetry.log != self.config.telemetry.log
            && let Err(error) = level::configure(&next.telemetry.log)
        {
            tracing::error!(%error, "telemetry.log was not taken");
        }
        if self.config.admin_key.is_none() {
            warn_of_admin_key(&next);
        }
        self.config = next;
        self.given.follow(given, &changes);
        let (why, names) = (why.words(), changes.live.join(", "));
        tracing::info!(why, changed = names, "configuration read again, callers' keys included");
        if !changes.waiting.is_empty() {
            let waiting = changes.waiting.join(", ");
            tracing::warn!(waiting, "these changes take a restart, and have no effect yet");
        }
        Ok(())
    }

    /// How files look; `None`: where they are does not answer.
    async fn look(&self, files: &[PathBuf]) -> Option<Vec<Stamp>> {
        let files = files.to_vec();
        self.off(move || stamps(&files)).await
    }

    /// Does it where it holds up nobody. What hangs is not begun a second time.
    async fn off<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let done = async {
            let one = Arc::clone(&self.one).acquire_owned().await.ok()?;
            let work = move || {
                let done = work();
                drop(one);
                done
            };
            spawn_blocking(work).await.ok()
        };
        timeout(PATIENCE, done).await.ok()?
    }
}

fn watched(sources: &Sources, given: &Given) -> Vec<PathBuf> {
    let keys = given.files().iter().map(PathBuf::as_path);
    sources.files().iter().map(PathBuf::as_path).chain(keys).map(Path::to_owned).collect()
}

fn there(sources: &Sources) -> Vec<PathBuf> {
    let some = |file: &PathBuf| stamp(file).is_some_and(|(_, length, _)| length > 0);
    sources.files().into_iter().filter(some).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.modified().ok()?, seen.len(), seen.ino()))
}
