//! What is logged, which an operator may change while the gateway runs.
//! It never outlives the process: the configuration says how the next one begins.
//!
//! It is the whole process's, as the subscriber is that it belongs to.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload::Handle};

use crate::config::log_filter;

static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    configured: Mutex<String>,
    current: Mutex<String>,
    handle: Handle<EnvFilter, Registry>,
}

/// What is logged, as a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `telemetry.log`
    pub configured: String,
    /// In use.
    pub current: String,
}

/// There is a log, with this filter.
pub(super) fn installed(filter: &str, handle: Handle<EnvFilter, Registry>) {
    let [configured, current] = [(); 2].map(|()| Mutex::new(filter.to_owned()));
    // The first one counts, as it does among subscribers.
    let _ = LEVEL.set(Level { configured, current, handle });
}

/// As it is; `None`: there is no log.
pub fn shown() -> Option<Shown> {
    let level = LEVEL.get()?;
    Some(Shown { configured: text(&level.configured), current: text(&level.current) })
}

fn text(of: &Mutex<String>) -> String {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// `telemetry.log` has changed: from now on this is configured, and logged.
///
/// # Errors
/// As for `set`.
pub fn configure(filter: &str) -> Result<(), String> {
    if let Some(level) = LEVEL.get() {
        filter.clone_into(&mut *level.configured.lock().unwrap_or_else(PoisonError::into_inner));
        set(None, |_| {})?;
    }
    Ok(())
}

/// From now on this is logged; `None`: what is configured. `before` runs when nothing stands in the
/// way any more: what it logs is still logged as before. Returns the filter in use.
///
/// # Errors
/// With a hint when it is no filter.
pub fn set(filter: Option<&str>, before: impl FnOnce(&str)) -> Result<String, String> {
    let level = LEVEL.get().ok_or_else(|| "there is no log".to_owned())?;
    let words = filter.map_or_else(|| Ok(text(&level.configured)), log_filter)?;
    let filter = EnvFilter::try_new(&words).map_err(|error| error.to_string())?;
    before(&words);
    level.handle.reload(filter).map_err(|error| error.to_string())?;
    level.current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&words);
    Ok(words)
}
