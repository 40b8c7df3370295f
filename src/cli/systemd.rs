//! What systemd is told (`sd_notify(3)`): that the gateway is ready, that it stops, that its workers move.
//! It never says anything where nobody asked to be told (`NOTIFY_SOCKET`).

use std::{convert::Infallible, future::pending, time::Duration};

use sd_notify::NotifyState;

use crate::server::pulse::Pulse;

/// Callers can connect.
pub(super) fn ready(place: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {place}"))]);
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
    // Half of it, as systemd recommends: one that is late is not taken for dead.
    let half = (patience / 2).max(Duration::from_millis(1));
    loop {
        // Before the first look, too: workers that have just begun have not moved yet.
        tokio::time::sleep(half).await;
        match pulse.still() {
            None => tell(&[NotifyState::Watchdog]),
            Some(worker) => {
                tracing::error!(worker, "a worker does not move: systemd's watchdog is not told");
            }
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told (NOTIFY_SOCKET)");
    }
}
