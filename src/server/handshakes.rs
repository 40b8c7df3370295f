//! TLS handshakes, one at a time and one for each round of a worker's loop, so that a crowd of them
//! cannot keep callers waiting who are connected; and the addresses in turn, so that a crowd from one
//! keeps itself waiting.
//! It never holds one up for another's sake that waits for its caller: only steps take turns.
//!
//! A signature takes as long as tens of calls do. Left alone, tokio runs some sixty tasks that are
//! ready before it looks at the sockets again: handshakes all, if a stranger likes.

use std::{
    collections::HashMap,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use tokio::{sync::Semaphore, task::yield_now};

use crate::decide::callers::Principal;

/// Whose turn it is; one a worker.
#[derive(Debug)]
pub struct Handshakes {
    turn: Semaphore,
    /// Of each address one waits for its turn, the others for that one.
    lines: Mutex<HashMap<Principal, Arc<Semaphore>>>,
}

/// The handshakes from one address.
#[derive(Debug)]
pub struct Line {
    all: Arc<Handshakes>,
    address: Principal,
    first: Arc<Semaphore>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), lines: Mutex::default() }
    }
}

impl Handshakes {
    /// For one who connects from `peer`.
    pub fn line(self: &Arc<Self>, peer: IpAddr) -> Line {
        let address = Principal::at(peer);
        let line = || Arc::new(Semaphore::new(1));
        let first = Arc::clone(self.lines().entry(address).or_insert_with(line));
        Line { all: Arc::clone(self), address, first }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Principal, Arc<Semaphore>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Runs one, step by step, in turn with all others.
    pub async fn run<H: Future>(&self, handshake: H) -> H::Output {
        let mut handshake = pin!(handshake);
        loop {
            let first = self.first.acquire().await;
            let turn = self.all.turn.acquire().await;
            if let Poll::Ready(done) = step(handshake.as_mut()).await {
                // Everybody else has been looked at before the turn is the next one's.
                yield_now().await;
                return done;
            }
            yield_now().await;
            // What woke it meanwhile is lost among what ends the yield.
            if let Poll::Ready(done) = step(handshake.as_mut()).await {
                return done;
            }
            drop((turn, first));
            woken().await;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.all.lines();
        // The map's and this one.
        if Arc::strong_count(&self.first) <= 2 {
            lines.remove(&self.address);
        }
    }
}

/// One poll.
async fn step<H: Future>(mut handshake: Pin<&mut H>) -> Poll<H::Output> {
    poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await
}

/// Until whatever has the waker of this task's last poll uses it.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::Notify, time::timeout};
    use tokio_util::task::TaskTracker;

    use super::*;

    fn line(handshakes: &Arc<Handshakes>, address: &str) -> Line {
        handshakes.line(address.parse().unwrap())
    }

    /// A crowd of handshakes that say `h`, and one from another address behind them that says `o`.
    fn said(handshakes: &Arc<Handshakes>, tasks: &TaskTracker) -> Arc<Mutex<String>> {
        let said = Arc::<Mutex<String>>::default();
        let crowd = std::iter::repeat_n(("10.0.0.1", 'h'), 100);
        for (address, letter) in crowd.chain([("10.0.0.2", 'o')]) {
            let (line, said) = (line(handshakes, address), Arc::clone(&said));
            tasks.spawn(async move {
                line.run(async { said.lock().unwrap().push(letter) }).await;
            });
        }
        said
    }

    #[tokio::test]
    async fn between_two_handshakes_everybody_else_has_a_turn() {
        let tasks = TaskTracker::new();
        let said = said(&Arc::default(), &tasks);
        let others = Arc::clone(&said);
        let calls = tasks.spawn(async move {
            while others.lock().unwrap().matches('h').count() < 100 {
                others.lock().unwrap().push('c');
                yield_now().await;
            }
        });
        calls.await.unwrap();
        let said = said.lock().unwrap();
        assert!(!said.contains("hh"), "{said}");
    }

    #[tokio::test]
    async fn a_crowd_from_one_address_keeps_nobody_waiting_at_another() {
        let (handshakes, tasks) = (Arc::default(), TaskTracker::new());
        let said = said(&handshakes, &tasks);
        tasks.close();
        tasks.wait().await;
        let said = said.lock().unwrap();
        assert_eq!(said.len(), 101);
        assert!(said.find('o').unwrap() < 3, "{said}");
        assert!(handshakes.lines().is_empty(), "who has gone is forgotten");
    }

    #[tokio::test]
    async fn one_that_waits_for_its_caller_holds_up_nobody_and_goes_on_when_it_is_heard() {
        let tasks = TaskTracker::new();
        let (handshakes, heard) = (Arc::default(), Arc::new(Notify::new()));
        let (slow, ears) = (line(&handshakes, "::1"), Arc::clone(&heard));
        let slow = tasks.spawn(async move { slow.run(ears.notified()).await });
        yield_now().await;
        for _ in 0..10 {
            line(&handshakes, "::1").run(std::future::ready(())).await;
        }
        assert!(!slow.is_finished());
        heard.notify_one();
        slow.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_while_the_others_have_their_turn_is_not_lost() {
        let tasks = TaskTracker::new();
        let heard = Arc::new(Notify::new());
        let speak = |heard: Arc<Notify>| async move {
            yield_now().await;
            heard.notify_waiters();
        };
        // One of them runs when the yield has ended, and the handshake has not gone on yet.
        tasks.spawn(speak(Arc::clone(&heard)));
        let (line, ears) = (line(&Arc::default(), "::1"), Arc::clone(&heard));
        let handshake = tasks.spawn(async move { line.run(ears.notified()).await });
        tasks.spawn(speak(heard));
        timeout(Duration::from_secs(1), handshake).await.expect("it goes on").unwrap();
    }

    #[tokio::test]
    async fn one_that_is_given_up_gives_its_turn_back() {
        let line = line(&Arc::default(), "::1");
        tokio::select! {
            biased;
            () = line.run(std::future::pending()) => {}
            () = yield_now() => {}
        }
        line.run(std::future::ready(())).await;
    }
}
