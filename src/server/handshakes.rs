//! TLS handshakes, one at a time and one for each round of a worker's loop, so that a crowd of them
//! cannot keep callers waiting who are connected.
//! It never holds one up for another's sake that waits for its caller: only steps take turns.
//!
//! A signature takes as long as tens of calls do. Left alone, tokio runs some sixty tasks that are
//! ready before it looks at the sockets again: handshakes all, if a stranger likes.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use tokio::{sync::Semaphore, task::yield_now};

/// Whose turn it is; one a worker.
#[derive(Debug)]
pub struct Handshakes(Semaphore);

impl Default for Handshakes {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Handshakes {
    /// Runs one, step by step, in turn with all others.
    pub async fn run<H: Future>(&self, handshake: H) -> H::Output {
        let mut handshake = pin!(handshake);
        loop {
            let turn = self.0.acquire().await;
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
            drop(turn);
            woken().await;
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
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tokio::{sync::Notify, time::timeout};
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn between_two_handshakes_everybody_else_has_a_turn() {
        let tasks = TaskTracker::new();
        let handshakes = Arc::<Handshakes>::default();
        let said = Arc::<Mutex<String>>::default();
        for _ in 0..100 {
            let (handshakes, said) = (Arc::clone(&handshakes), Arc::clone(&said));
            tasks.spawn(
                async move { handshakes.run(async { said.lock().unwrap().push('h') }).await },
            );
        }
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
    async fn one_that_waits_for_its_caller_holds_up_nobody_and_goes_on_when_it_is_heard() {
        let tasks = TaskTracker::new();
        let (handshakes, heard) = (Arc::<Handshakes>::default(), Arc::new(Notify::new()));
        let (first, ears) = (Arc::clone(&handshakes), Arc::clone(&heard));
        let slow = tasks.spawn(async move { first.run(ears.notified()).await });
        yield_now().await;
        for _ in 0..10 {
            handshakes.run(std::future::ready(())).await;
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
        let ears = Arc::clone(&heard);
        let handshake =
            tasks.spawn(async move { Handshakes::default().run(ears.notified()).await });
        tasks.spawn(speak(heard));
        timeout(Duration::from_secs(1), handshake).await.expect("it goes on").unwrap();
    }

    #[tokio::test]
    async fn one_that_is_given_up_gives_its_turn_back() {
        let handshakes = Handshakes::default();
        tokio::select! {
            biased;
            () = handshakes.run(std::future::pending()) => {}
            () = yield_now() => {}
        }
        handshakes.run(std::future::ready(())).await;
    }
}
