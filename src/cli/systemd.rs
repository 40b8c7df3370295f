//! What systemd is told (`sd_notify(3)`): that the gateway is ready, that it stops, that its workers move.
//! It never says anything where nobody asked to be told (`NOTIFY_SOCKET`).

use std::{convert::Infallible, future::pending};

use sd_notify::NotifyState;

use crate::{server::pulse::Pulse, upstream::deadline::TICK};

/// Callers can connect.
pub(super) fn ready(place: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {place}"))]);
}

/// The configuration is being read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd cannot be told of a reload: no clock"),
    }
}

/// A drain has begun.
pub(super) fn stopping() {
    let status = NotifyState::Status("draining: requests that have begun end first");
    tell(&[NotifyState::Stopping, status]);
}

/// Says that all is well as often as the unit asks for (`WatchdogSec=`), while it is. Does not end.
pub(super) async fn watch(mut pulse: Pulse) -> Infallible {
    // Without a watchdog the workers' pulse is nobody's business.
    let Some(patience) = sd_notify::watchdog_enabled() else { return pending().await };
    // A quarter of it: one that was late at a look has two more. Workers beat at each tick.
    let pause = (patience / 4).max(2 * TICK);
    if pause > patience / 2 {
        tracing::warn!(?patience, "WatchdogSec= is short for a look at the workers: 4 s will do");
    }
    let mut before = None;
    loop {
        // Before the first look, too: workers that have just begun have not moved yet.
        tokio::time::sleep(pause).await;
        let still = pulse.still();
        match still {
            None => tell(&[NotifyState::Watchdog]),
            Some(worker) if before == still => {
                tracing::error!(worker, "a worker does not move: systemd's watchdog is not told");
            }
            Some(_) => {}
        }
        before = still;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told (NOTIFY_SOCKET)");
    }
}
