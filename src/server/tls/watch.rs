//! The files of `[tls]`, looked at now and then: what is new and good is shown from then on.
//! It never takes away what works: of what is bad it warns, once.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use super::{Bytes, Edge, TlsSetup, parse, read, warn};
use crate::config::{ListenTls, Unusable};

/// A look at files costs next to nothing, and who has just changed them watches the log.
const EVERY: Duration = Duration::from_secs(2);
/// Changed files count when they read the same again after this: a writer may be half-way, and the
/// certificate and its key are two.
const SETTLES_IN: Duration = Duration::from_millis(100);

type Looked = Result<Bytes, Unusable>;

/// Until it is dropped.
pub async fn watch(edge: Arc<Edge>, files: ListenTls) {
    let files = Arc::new(files);
    let mut judged = None;
    loop {
        let seen = settled(&files, judged.as_ref()).await;
        if let Some(seen) = seen {
            // The first look finds what the start found, or what has changed since.
            judge(&edge, &seen, judged.is_none());
            judged = Some(seen);
        }
        sleep(EVERY).await;
    }
}

/// What is there, if it is not what was judged, and stays so.
async fn settled(files: &Arc<ListenTls>, judged: Option<&Looked>) -> Option<Looked> {
    let seen = look(files).await?;
    if judged == Some(&seen) {
        return None;
    }
    sleep(SETTLES_IN).await;
    (look(files).await? == seen).then_some(seen)
}

/// Off this thread, one at a time: a file system that hangs holds one thread.
async fn look(files: &Arc<ListenTls>) -> Option<Looked> {
    let files = Arc::clone(files);
    spawn_blocking(move || read(&files)).await.ok()
}

fn judge(edge: &Edge, seen: &Looked, first: bool) {
    let taken = seen.as_ref().map_err(|wrong| wrong.clone().into()).and_then(|bytes| {
        let shown = parse(bytes)?;
        edge.show(&shown)?;
        Ok::<_, TlsSetup>(shown)
    });
    match taken {
        Ok(_) if first => {}
        Ok(shown) => {
            tracing::info!("[tls] changed: new connections are shown the new certificate");
            warn(&shown);
        }
        Err(error) => tracing::warn!("[tls] changed: {error}; the last good one is used"),
    }
}
