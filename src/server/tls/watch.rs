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

/// What was last judged.
pub struct Seen(Looked);

impl From<Bytes> for Seen {
    fn from(bytes: Bytes) -> Self {
        Self(Ok(bytes))
    }
}

/// Until it is dropped; `began` is what is shown now.
pub async fn watch(edge: Arc<Edge>, files: ListenTls, began: Seen) {
    let files = Arc::new(files);
    let Seen(mut judged) = began;
    loop {
        if let Some(seen) = settled(&files, &judged).await {
            judge(&edge, &seen);
            judged = seen;
        }
        sleep(EVERY).await;
    }
}

/// What is there, if it is not what was judged, and stays so.
async fn settled(files: &Arc<ListenTls>, judged: &Looked) -> Option<Looked> {
    let seen = look(files).await?;
    if *judged == seen {
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

fn judge(edge: &Edge, seen: &Looked) {
    let taken = seen.as_ref().map_err(|wrong| wrong.clone().into()).and_then(|bytes| {
        let shown = parse(bytes)?;
        edge.show(&shown)?;
        Ok::<_, TlsSetup>(shown)
    });
    match taken {
        Ok(shown) => {
            tracing::info!("[tls] changed: new connections are shown the new certificate");
            warn(&shown);
        }
        Err(error) => tracing::warn!("[tls] changed: {error}; the last good one is used"),
    }
}
