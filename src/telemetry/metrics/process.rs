//! What is counted of the whole process, whichever organisation it is for.
//! It never tells callers apart.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::Registry,
};

/// A part of the one page.
#[derive(Debug, Clone)]
pub struct ProcessMetrics {
    connections: Gauge,
    buffered: Gauge,
    reloads: Counter,
    reload_failing: Gauge,
    traces_delivered: Counter,
    traces_lost: Counter,
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
        let (reloads, reload_failing): (Counter, Gauge) = Default::default();
        let text = "Times that the configuration was read again and taken";
        registry.register("config_reloads", text, reloads.clone());
        let text =
            "1 while the configuration as it is now cannot be taken and a former one is in use";
        registry.register("config_reload_failing", text, reload_failing.clone());
        let (traces_delivered, traces_lost): (Counter, Counter) = Default::default();
        let text = "Calls whose spans a collector took";
        registry.register("traces_delivered", text, traces_delivered.clone());
        let text = "Calls whose spans no collector took: it was away, slow, or refused them";
        registry.register("traces_lost", text, traces_lost.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version this is", version);
        Self { connections, buffered, reloads, reload_failing, traces_delivered, traces_lost }
    }

    /// A caller has connected.
    pub fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// Callers' connections that are open.
    pub fn open(&self) -> u64 {
        u64::try_from(self.connections.get()).unwrap_or_default()
    }

    /// The configuration was read again. Whether it was taken.
    pub fn reloaded(&self, taken: bool) {
        if taken {
            self.reloads.inc();
        }
        self.reload_failing.set(i64::from(!taken));
    }

    /// A collector took the spans of so many calls.
    pub fn traces_delivered(&self, calls: usize) {
        self.traces_delivered.inc_by(u64::try_from(calls).unwrap_or(u64::MAX));
    }

    /// Nobody took the spans of so many calls.
    pub fn traces_lost(&self, calls: usize) {
        self.traces_lost.inc_by(u64::try_from(calls).unwrap_or(u64::MAX));
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
