//! Who waits for a provider's keys, and the one that fetches them.
//! It never keeps anybody beyond its deadline, nor anything of who has gone.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::decide::keys::{Fetches, Turn};

/// Who may wait at once: each holds a request, and whoever makes tokens up can wait.
const WAIT_AT_ONCE: usize = 256;
/// How long one may. A fetch takes no longer.
const WAIT: Duration = Duration::from_secs(5);

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The keys were fetched after one asked for them.
    Anew,
    /// They were not, or before that.
    Not,
    /// Too many wait already.
    Crowd,
}

/// The fetches of one provider's keys.
#[derive(Debug)]
pub struct Fetching {
    fetches: watch::Sender<Fetches>,
    waiting: Semaphore,
}

impl Default for Fetching {
    fn default() -> Self {
        Self { fetches: watch::Sender::default(), waiting: Semaphore::new(WAIT_AT_ONCE) }
    }
}

impl Fetching {
    /// Waits for a fetch, unless the last one has ended a moment ago.
    pub async fn wait(&self) -> Fetched {
        let Ok(_place) = self.waiting.try_acquire() else { return Fetched::Crowd };
        let mut fetches = self.fetches.subscribe();
        let mut turn = Turn::Pause;
        self.fetches.send_if_modified(|fetches| {
            turn = fetches.ask(Instant::now().into_std());
            matches!(turn, Turn::Begin(_))
        });
        let (number, anew) = match turn {
            Turn::Begin(number) => (number, true),
            Turn::Join(number) => (number, false),
            Turn::Pause => return Fetched::Not,
        };
        let ended = fetches.wait_for(|fetches| fetches.result(number).is_some());
        let answered = match timeout(WAIT, ended).await {
            Ok(Ok(fetches)) => fetches.result(number) == Some(true),
            Ok(Err(_)) | Err(_) => false,
        };
        if answered && anew { Fetched::Anew } else { Fetched::Not }
    }

    /// Fetches at once, when somebody asks, and when `nap` is over after the last fetch; what
    /// `fetch` gives is whether there were keys. Does not end.
    pub async fn keep<F>(&self, fetch: impl Fn() -> F, nap: impl Fn(bool) -> Duration)
    where
        F: Future<Output = bool>,
    {
        let mut asked = self.fetches.subscribe();
        loop {
            self.fetches.send_modify(|fetches| {
                fetches.begin();
            });
            let answered = fetch().await;
            let now = Instant::now();
            self.fetches.send_modify(|fetches| fetches.end(now.into_std(), answered));
            // Either way the next one begins.
            let _ = timeout_at(now + nap(answered), asked.wait_for(Fetches::under_way)).await;
        }
    }
}

#[cfg(test)]
mod tests;
