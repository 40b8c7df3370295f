//! The simulator seen from the same process: what tests and `demo` hold on to.
//! It must never offer what `/_sim/` does not, but for waiting.

use std::{net::SocketAddr, sync::Arc};

use super::{
    faults::{Faults, FaultsPatch},
    options::Client,
    report::{Counters, Snapshot},
    world::World,
};

/// A cheap, clonable view of a simulator.
#[derive(Debug, Clone)]
pub struct Handle {
    world: Arc<World>,
}

impl Handle {
    pub(super) const fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// Where login, API and apps listen.
    pub fn addr(&self) -> SocketAddr {
        self.world.addr
    }

    /// Where downloads are redirected to.
    pub fn storage_addr(&self) -> SocketAddr {
        self.world.storage
    }

    /// The counts.
    pub fn counters(&self) -> Counters {
        self.world.counters()
    }

    /// Everything seen so far.
    pub fn snapshot(&self) -> Snapshot {
        self.world.snapshot(usize::MAX)
    }

    /// Fingerprints of the tokens that calls carried, in the order of their first sight.
    pub fn tokens_seen(&self) -> Vec<String> {
        self.world.snapshot(0).tokens_seen.into_iter().map(|seen| seen.fingerprint).collect()
    }

    /// Waits until the counts are as wanted; a test needs no sleep.
    pub async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        self.world.until(reached).await;
    }

    /// Changes the faults, lets go what a `hold` kept, and returns what is in force.
    pub fn faults(&self, patch: FaultsPatch) -> Faults {
        self.world.patch(patch)
    }

    /// Revokes every token; returns how many were alive.
    pub fn revoke(&self) -> usize {
        self.world.with(|state, now| state.tokens.revoke_all(now))
    }

    /// Another program calls so often with each token that lives; returns how many of its calls
    /// fit the tokens' limits.
    pub fn outsider(&self, calls: u16) -> u32 {
        self.world.with(|state, now| state.tokens.outsider(calls, now))
    }

    /// Adds a client, or replaces its secret.
    pub fn client(&self, client: Client) {
        self.world.with(|state, _| {
            state.clients.retain(|known| known.id != client.id);
            state.clients.push(client);
        });
    }

    /// Back to the start: no tokens, no faults, nothing seen.
    pub fn reset(&self) {
        self.world.reset();
    }
}
