//! What is counted of the store.
//! It never has a label for a key or a script: there is one line for all of them.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// How a command to the store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' words")]
pub enum CommandOutcome {
    /// It was answered.
    ok,
    /// It was refused, or there is no connection.
    error,
    /// No answer came in time.
    timeout,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Command {
    outcome: CommandOutcome,
}

/// A part of the one page.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    up: Gauge,
    commands: Family<Command, Counter>,
    seconds: Counter<f64, AtomicU64>,
}

impl StoreMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (up, commands, seconds) = Default::default();
        let text = "1 while the store can be used";
        registry.register("store_up", text, Gauge::clone(&up));
        let text = "Commands to the store by how they ended";
        registry.register("store_commands", text, Family::clone(&commands));
        let text = "What the commands to the store took together";
        registry.register("store_command_seconds", text, Counter::clone(&seconds));
        Self { up, commands, seconds }
    }

    /// Whether it can be used.
    pub fn up(&self, up: bool) {
        self.up.set(up.into());
    }

    /// A command ended.
    pub fn command(&self, outcome: CommandOutcome, took: Duration) {
        self.commands.get_or_create(&Command { outcome }).inc();
        self.seconds.inc_by(took.as_secs_f64());
    }
}
