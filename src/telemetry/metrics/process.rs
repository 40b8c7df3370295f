//! What is counted of the whole process, whichever organisation it is for.
//! It never tells callers apart.

use prometheus_client::{
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

/// A part of the one page.
#[derive(Debug, Clone)]
pub struct ProcessMetrics {
    connections: Gauge,
    buffered: Gauge,
}

/// An open connection of a caller's, until it is dropped.
#[derive(Debug)]
pub struct Connection(Gauge);

impl ProcessMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (connections, buffered) = <(Gauge, Gauge)>::default();
        let text = "Callers' connections that are open, tunnels included";
        registry.register("connections_open", text, connections.clone());
        let text = "Memory for copies of request bodies, of replay.memory_total";
        registry.register("replay_buffered_bytes", text, buffered.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version this is", version);
        Self { connections, buffered }
    }

    /// A caller has connected.
    pub fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// What copies of bodies take now.
    pub fn buffered(&self, bytes: usize) {
        self.buffered.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
