//! What upstream's answers say about limits, told to the lines.
//! It never holds up more than the answer speaks of.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant as StdInstant, SystemTime},
};

use http::Method;
use tokio::time::Instant;

use super::{Admission, Permit};
use crate::{
    decide::{
        path,
        queue::promises::Count,
        quota::Heard,
        turns::{Limited, Refusal},
    },
    telemetry::metrics::Metrics,
};

impl Admission {
    /// For the metrics page.
    pub fn measure(&self, metrics: &Metrics) {
        let Count { made, claimed, broken } = self.state().promises();
        let promises = [("made", made), ("claimed", claimed), ("broken", broken)];
        metrics.line([self.waiting(), self.in_flight()], promises);
        let usages = self.state().lanes().usages(Instant::now().into_std());
        metrics.budgets(&usages);
        if self.joint.get().is_some() {
            let shares = self.state().shares(Instant::now().into_std());
            metrics.shared(self.replicas(), &shares);
        }
    }

    /// Upstream answered 429 to this call: what it speaks of is held up until then, and who cannot
    /// wait so long is told so now.
    pub fn limited(&self, permit: &Permit, (method, path): (&Method, &str), until: StdInstant) {
        let now = Instant::now().into_std();
        let family = path::family(path);
        let refusal = Refusal {
            spot: permit.spot(),
            gates: permit.gates(),
            family: family.key(method),
            until,
        };
        let limited = self.state().limited(refusal, now);
        let seconds = until.saturating_duration_since(now).as_secs() + 1;
        let pause = humantime::format_duration(Duration::from_secs(seconds));
        let token = permit.spot().lane.number();
        match limited {
            Limited::Family(None) => {
                tracing::info!(token, %pause, "429 for {method} {family}: only these calls wait");
            }
            Limited::Family(Some(left)) => tracing::warn!(
                token,
                %pause,
                limit = left,
                "429 for {method} {family}, again, below our own count: they have a limit of their \
                 own, or somebody else uses this client's; they keep to what is left of it, and try \
                 for more later"
            ),
            Limited::Token(None) => {
                tracing::info!(token, %pause, "429 for the token: calls wait");
            }
            Limited::Token(Some(left)) => tracing::warn!(
                token,
                %pause,
                limit = left,
                "429 below our own count: somebody else uses this client's limit; calls keep to \
                 what is left of it, and try for more later"
            ),
            Limited::Nothing => {}
        }
        self.wake.notify_one();
    }

    /// Upstream answered something else: a limit that is suspected does not hold for this call.
    pub fn passed(&self, permit: &Permit) {
        let gates = permit.gates();
        if !self.suspicious.load(Ordering::Relaxed) && gates.is_empty() {
            return;
        }
        let Some(left) = permit.left() else { return };
        let (by, now) = ((gates, permit.spot().lane), Instant::now().into_std());
        if self.state().passed(by, left.at.into_std(), now) {
            self.wake.notify_one();
        }
    }

    /// What the answer to this call said of a quota.
    pub fn told(&self, permit: &Permit, (method, path): (&Method, &str), heard: &Heard) {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Some(quota) = heard.quota(unix.as_secs()) else { return };
        let Some(left) = permit.left().filter(|left| left.number > 0) else { return };
        let family = path::family(path).key(method);
        let now = Instant::now().into_std();
        self.state().told((permit.spot(), family), &quota, left.number, now);
    }
}
