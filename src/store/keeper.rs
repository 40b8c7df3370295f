//! Keeps a link connected: connects, asks now and then whether all is well, and connects anew.
//! It never gives up, and never tries without a pause when a connection did not hold.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Link, Script,
    refusal::Trouble,
    scope,
    way::{Wire, slow},
};
use crate::decide::backoff::Backoff;

/// Between attempts to connect. After a fail-over, whoever is back waits for a lease for the others'
/// word before it takes more: within that all must be back.
pub(super) const BACKOFF: Backoff = Backoff {
    floor: Duration::from_millis(50),
    first: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};
/// Between two questions whether all is well.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// A connection that held for so long was a good one: the next is tried at once.
const STEADY: Duration = Duration::from_secs(5);

/// Writes, as what replicas do; it leaves nothing behind.
pub(super) const PROBE: &str = "return redis.call('SET', KEYS[1], '1', 'PX', 1000)";

impl Link {
    /// Until it is cancelled.
    pub(super) async fn keep(&self) {
        let probe = Script::new(PROBE);
        let mut failures = 0;
        loop {
            match self.connect(&probe).await {
                Ok(()) => {
                    let begun = Instant::now();
                    self.stay(&probe).await;
                    if begun.elapsed() >= STEADY {
                        failures = 0;
                        continue;
                    }
                }
                Err(trouble) => {
                    self.state.down(trouble.why());
                }
            }
            failures += 1;
            tokio::time::sleep(BACKOFF.delay(failures, fastrand::f64())).await;
        }
    }

    /// A new connection is used once it has answered.
    async fn connect(&self, probe: &Script) -> Result<(), Trouble> {
        let mut wire = self.way.open().await?;
        let told = self.ask(probe, &mut wire).await;
        match told {
            Err(trouble @ (Trouble::Lost(_) | Trouble::Denied(_))) => Err(trouble),
            told @ (Ok(())
            | Err(Trouble::Refused(_) | Trouble::Forbidden(_) | Trouble::Script(_))) => {
                self.opened(wire);
                self.settle(told);
                Ok(())
            }
        }
    }

    /// Until the connection is lost.
    async fn stay(&self, probe: &Script) {
        loop {
            tokio::select! {
                () = self.lost.notified() => {}
                () = tokio::time::sleep(PULSE) => {}
            }
            let (number, Some(mut wire)) = self.wire() else { return };
            match self.ask(probe, &mut wire).await {
                Err(Trouble::Lost(why) | Trouble::Denied(why)) => {
                    self.lose(number, &why);
                }
                told @ (Ok(())
                | Err(Trouble::Refused(_) | Trouble::Forbidden(_) | Trouble::Script(_))) => {
                    self.settle(told);
                }
            }
        }
    }

    /// The connection is good; whether the store does what it is asked.
    fn settle(&self, told: Result<(), Trouble>) {
        match told {
            Ok(()) => self.state.up(),
            Err(trouble) => {
                self.state.refused(trouble.why(), None);
            }
        }
    }

    async fn ask(&self, probe: &Script, wire: &mut Wire) -> Result<(), Trouble> {
        let tag = self.tag();
        ask(probe, tag.as_deref().unwrap_or("probe"), wire, self.timeout).await
    }
}

/// Whether it does what replicas ask of it, where the keys with this tag are.
pub(super) async fn ask(
    probe: &Script,
    tag: &str,
    wire: &mut Wire,
    timeout: Duration,
) -> Result<(), Trouble> {
    let key = scope::name(tag, "probe");
    match tokio::time::timeout(timeout, probe.run(wire, &[&key], &[])).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::of(&error)),
        Err(_) => Err(Trouble::Lost(slow(timeout))),
    }
}
