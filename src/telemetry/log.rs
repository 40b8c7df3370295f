//! Events on stderr, for people or for machines.
//! It never writes to stdout: that is for data.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::{
    colours, level,
    output::{self, Output},
};
use crate::config::{LogFormat, Telemetry};

/// Installs the process's log; what it hands back takes access lines and flushes both. Of a second
/// call in one process events take no notice.
///
/// # Errors
/// When the system refuses the writing thread.
pub fn init(telemetry: &Telemetry) -> std::io::Result<Output> {
    let output = output::start(telemetry.format)?;
    let filter = EnvFilter::try_new(&telemetry.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = output.clone();
    let events = fmt::layer().with_writer(move || lines.clone());
    let installed = match telemetry.format {
        LogFormat::Text => registry
            .with(events.with_target(false).with_ansi(colours::wanted(&std::io::stderr())))
            .try_init(),
        LogFormat::Json => registry.with(events.json().flatten_event(true)).try_init(),
    };
    match installed {
        Ok(()) => level::installed(&telemetry.log, handle),
        Err(error) => tracing::debug!(%error, "the log was already installed"),
    }
    Ok(output)
}

/// What this thread says while it lasts, for tests.
#[cfg(test)]
pub struct Heard {
    lines: Lines,
    _guard: tracing::subscriber::DefaultGuard,
}

#[cfg(test)]
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Heard {
    /// From here on.
    pub fn here() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = fmt().with_ansi(false).with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(subscriber.finish());
        Self { lines, _guard: guard }
    }

    /// How often this was said.
    pub fn count(&self, what: &str) -> usize {
        let lines = self.lines.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&lines).matches(what).count()
    }
}
