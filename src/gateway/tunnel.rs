//! A connection after upstream's 101: bytes both ways, no HTTP.
//! It never opens without a 101, and never outlives a drain.

use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::forward::Answered;

/// Joins the caller's connection with upstream's once both have switched.
pub fn join(caller: OnUpgrade, answer: &mut Answered, tasks: &TaskTracker, cut: CancellationToken) {
    debug_assert_eq!(answer.parts.status, StatusCode::SWITCHING_PROTOCOLS);
    let Some(upstream) = answer.parts.extensions.remove::<OnUpgrade>() else { return };
    // hyper's graceful shutdown does not wait for tunnels: the tracker does (trap 3).
    tasks.spawn(async move {
        let both = async {
            let (caller, upstream) = tokio::try_join!(caller, upstream)?;
            let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
            let moved = copy_bidirectional(&mut caller, &mut upstream).await;
            tracing::debug!(?moved, "tunnel ended");
            Ok::<(), hyper::Error>(())
        };
        if let Some(Err(error)) = cut.run_until_cancelled(both).await {
            tracing::debug!(%error, "tunnel did not open");
        }
    });
}
