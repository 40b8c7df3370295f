//! A stateful simulated Genesys Cloud: login, API, uploads, downloads, rate limits and faults.
//! It must never listen for anybody but this machine, and never answer what Genesys would not.
//!
//! A request's way: `listen` (a connection) → `journey` (the order of the steps) → `faults` →
//! `oauth` or `bearer` → `limits` → `api`. `control` and `report` are the operator's side, under
//! `/_sim/`; `storage` plays the host of signed URLs on a port of its own.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use genesys_proxy::simulator::{Options, Simulator};
//! let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), Options::default()).await?;
//! let genesys = simulator.handle();
//! println!("http://{}", simulator.addr());
//! simulator.serve(std::future::pending()).await;
//! assert_eq!(genesys.counters().mints, 0);
//! # Ok(())
//! # }
//! ```

mod answer;
mod api;
mod bearer;
mod body;
mod control;
mod faults;
mod handle;
mod in_force;
mod journey;
mod jwt;
mod limits;
mod listen;
mod oauth;
mod options;
mod random;
mod received;
mod report;
mod storage;
mod tokens;
mod wire;
mod world;

#[cfg(test)]
mod tests;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    api::{media_bytes, queue_ids, user_ids},
    faults::{ApiFault, Faults, FaultsPatch, TokenFault, TokenMode},
    handle::Handle,
    options::{Client, Options, TokenFormat},
    random::fingerprint,
    report::{Counters, MintRequest, Record, Seen, Snapshot},
};
use self::{
    listen::{Role, Stop, accept},
    world::World,
};

/// How long open connections get to finish once the simulator is told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// A simulated Genesys Cloud, bound to its ports and not yet serving.
#[derive(Debug)]
pub struct Simulator {
    genesys: TcpListener,
    storage: TcpListener,
    world: Arc<World>,
}

impl Simulator {
    /// Binds the login, API and apps port, and the download storage on a free port of the same
    /// address. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be bound, or when no signing key can
    /// be made.
    #[expect(clippy::unused_async, reason = "it has to be called within a runtime")]
    pub async fn bind(addr: SocketAddr, options: Options) -> io::Result<Self> {
        if !addr.ip().is_loopback() {
            let reason = format!("the simulator listens on loopback only, not on {addr}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let genesys = listen::bind(addr)?;
        let storage = listen::bind(SocketAddr::new(addr.ip(), 0))?;
        let world = World::new(options, genesys.local_addr()?, storage.local_addr()?)?;
        Ok(Self { genesys, storage, world: Arc::new(world) })
    }

    /// Where login, API and apps listen.
    pub fn addr(&self) -> SocketAddr {
        self.world.addr
    }

    /// A view of the simulator for the same process: counters, faults, revocation.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.world))
    }

    /// Serves until `stop` completes, lets open answers finish for up to a second, then cuts.
    /// Dropping the future cuts at once.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let tasks = TaskTracker::new();
        let signal = Stop { soon: CancellationToken::new(), now: CancellationToken::new() };
        let _soon = signal.soon.clone().drop_guard();
        let _now = signal.now.clone().drop_guard();
        for (listener, role) in [(self.genesys, Role::Genesys), (self.storage, Role::Storage)] {
            let world = Arc::clone(&self.world);
            tasks.spawn(accept(listener, role, world, tasks.clone(), signal.clone()));
        }
        stop.await;
        signal.soon.cancel();
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            signal.now.cancel();
            tasks.wait().await;
        }
    }
}
