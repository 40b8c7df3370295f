//! The files of `[tls]`, looked at now and then: what is new and good is shown from then on.
//! It never takes away what works: of what is bad it warns, at once and as long as it stays bad.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{Bytes, Edge, TlsSetup, not_after, parse, read, warn};
use crate::{
    config::{ListenTls, Shown, Unusable},
    telemetry::metrics::Metrics,
};

/// A look at files costs next to nothing, and who has just changed them watches the log.
const EVERY: Duration = Duration::from_secs(2);
/// Changed files count when they read the same again after this: a writer may be half-way, and the
/// certificate and its key are two.
const SETTLES_IN: Duration = Duration::from_millis(100);
/// What is wrong is said again: whoever reads the log tomorrow was not there when it began.
const AGAIN: Duration = Duration::from_hours(1);

type Looked = Result<Bytes, Unusable>;

/// What was last judged.
pub struct Seen(Looked);

impl From<Bytes> for Seen {
    fn from(bytes: Bytes) -> Self {
        Self(Ok(bytes))
    }
}

/// Until it is dropped; `began` is what is shown now.
pub async fn watch(edge: Arc<Edge>, files: ListenTls, began: Seen, metrics: Metrics) {
    let files = Arc::new(files);
    let Seen(mut judged) = began;
    let shown = judged.as_ref().ok().and_then(|bytes| parse(bytes).ok());
    let mut state = State { edge, metrics, shown, wrong: None };
    state.measure();
    let mut again = Instant::now() + AGAIN;
    loop {
        if let Some(seen) = settled(&files, &judged).await {
            state.judge(&seen);
            judged = seen;
            again = Instant::now() + AGAIN;
        } else if again <= Instant::now() {
            state.remind();
            again += AGAIN;
        }
        sleep(EVERY).await;
    }
}

/// What is shown, and what is there instead.
struct State {
    edge: Arc<Edge>,
    metrics: Metrics,
    /// The last good one.
    shown: Option<Shown>,
    /// Why what is there now is not shown.
    wrong: Option<String>,
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

impl State {
    fn judge(&mut self, seen: &Looked) {
        let taken = seen.as_ref().map_err(|wrong| wrong.clone().into()).and_then(|bytes| {
            let shown = parse(bytes)?;
            self.edge.show(&shown)?;
            Ok::<_, TlsSetup>(shown)
        });
        match taken {
            Ok(shown) => {
                tracing::info!("[tls] changed: new connections are shown the new certificate");
                warn(&shown);
                (self.shown, self.wrong) = (Some(shown), None);
            }
            Err(error) => {
                tracing::warn!("[tls] changed: {error}; the last good one is used");
                self.wrong = Some(error.to_string());
            }
        }
        self.measure();
    }

    /// Says again what is wrong still, and what has ended by now.
    fn remind(&self) {
        if let Some(wrong) = &self.wrong {
            tracing::warn!("[tls] cannot be used still: {wrong}; the last good one is used");
        }
        if let Some(shown) = &self.shown {
            warn(shown);
        }
    }

    fn measure(&self) {
        self.metrics.tls_reload(self.wrong.is_some());
        if let Some(end) = self.shown.as_ref().and_then(|shown| not_after(&shown.pair)) {
            self.metrics.tls_not_after(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::telemetry::log::Heard;

    #[tokio::test(start_paused = true)]
    async fn files_that_cannot_be_used_are_warned_of_each_hour_until_they_can_and_shown_in_metrics()
    {
        let dir = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
        let pair = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(&cert, signed.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let files = ListenTls { cert, key: key.clone(), client_ca: None };
        let heard = Heard::here();
        let metrics = Metrics::default();
        let (edge, seen) = Edge::new(&files).unwrap();
        let is = |line: &str| metrics.render().lines().any(|of| of == line);
        let story = async {
            sleep(Duration::from_mins(1)).await;
            assert!(is("genesys_proxy_tls_reload_failing 0"));
            // rcgen's end of all days, 4096-01-01.
            assert!(is("genesys_proxy_tls_certificate_not_after_seconds 67090118400"));
            fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
            sleep(AGAIN * 3 + Duration::from_mins(1)).await;
            assert!(is("genesys_proxy_tls_reload_failing 1"));
            assert_eq!(heard.count("[tls] changed: "), 1);
            assert_eq!(heard.count("[tls] cannot be used still: "), 3);
            fs::write(&key, pair.serialize_pem()).unwrap();
            sleep(AGAIN * 2).await;
            assert!(is("genesys_proxy_tls_reload_failing 0"));
            assert_eq!(heard.count("[tls] cannot be used still: "), 3);
            assert_eq!(heard.count("new connections are shown"), 1);
        };
        tokio::select! {
            () = watch(edge, files, seen, metrics.clone()) => {}
            () = story => {}
        }
    }
}
