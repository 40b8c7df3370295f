//! Every metric on one page, for `/metrics` on the admin listener.
//! It never has a label whose values a caller chooses.

mod budget;
mod labels;
mod process;
mod replicas;
mod requests;
mod store;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use self::labels::{CheckOutcome, MintOutcome, OfOrganisation, OfToken, SavedBy};
use self::labels::{Mint, OfClient, OfReason, OfSecret, OfState, Saved, TokenOf, Verification};
use self::replicas::ReplicaMetrics;
pub use self::store::{CommandOutcome, StoreMetrics};
use self::{budget::BudgetMetrics, requests::Requests};
pub use self::{
    process::{Connection, ProcessMetrics},
    requests::{Count, Tally},
};
use super::callers::Names;
use crate::decide::{access::Rule, lanes::Usage, retry::Reason};

/// All of them, as one organisation counts in them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    org: OfOrganisation,
    mints: Family<Mint, Counter>,
    verifications: Family<Verification, Counter>,
    expires_in: Family<TokenOf, Gauge<f64, AtomicU64>>,
    generation: Family<TokenOf, Gauge<i64, AtomicI64>>,
    live_secret: Family<OfSecret, Gauge<i64, AtomicI64>>,
    skew: Family<OfClient, Gauge<i64, AtomicI64>>,
    retries: Family<OfReason, Counter>,
    retries_refused: Family<OfReason, Counter>,
    saved: Family<Saved, Counter>,
    kept_answers: Family<OfOrganisation, Gauge>,
    kept_bytes: Family<OfOrganisation, Gauge>,
    waiting: Family<OfOrganisation, Gauge>,
    in_flight: Family<OfOrganisation, Gauge>,
    promises: Family<OfState, Gauge>,
    connections_refused: Family<OfReason, Counter>,
    handshakes_failed: Counter,
    audit_failing: Gauge,
    audit_lost: Gauge,
    audit_left_out: Gauge,
    audit_free_places: Gauge,
    tls_reload_failing: Gauge,
    tls_not_after: Gauge,
    /// What is counted of the store.
    pub store: StoreMetrics,
    /// What is counted of the whole process.
    pub process: ProcessMetrics,
    replicas: ReplicaMetrics,
    budget: BudgetMetrics,
    requests: Requests,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("genesys_proxy");
        let mints = Family::default();
        let verifications = Family::default();
        let expires_in = Family::default();
        let generation = Family::default();
        let live_secret = Family::default();
        let skew = Family::default();
        let retries = Family::default();
        let retries_refused = Family::default();
        let text = "Token requests by how they ended";
        registry.register("token_mints", text, mints.clone());
        let text = "Checks of tokens by what they found";
        registry.register("token_verifications", text, verifications.clone());
        let text = "Until the token in use expires; 0 when there is none";
        registry.register("token_expires_in_seconds", text, expires_in.clone());
        let text = "How many tokens there have been in this place, the one in use included";
        registry.register("token_generation", text, generation.clone());
        let text =
            "1 for the client secret that was accepted last, client_secret or next_client_secret";
        registry.register("client_secret_live", text, live_secret.clone());
        let text = "By how much this machine's clock is ahead of the token endpoint's";
        registry.register("clock_skew_seconds", text, skew.clone());
        let text = "Calls that were sent again, by why";
        registry.register("retries", text, retries.clone());
        let text = "Calls that were not sent again because retry.budget was used up, by why";
        registry.register("retries_refused", text, retries_refused.clone());
        let (waiting, in_flight) = <(Family<_, Gauge>, Family<_, Gauge>)>::default();
        let promises: Family<OfState, Gauge> = Family::default();
        registry.register("calls_waiting", "Calls that wait for their turn", waiting.clone());
        registry.register("calls_in_flight", "Calls until their last byte", in_flight.clone());
        let text = "Calls that were told when to come back, by what became of them";
        registry.register("promises", text, promises.clone());
        let (connections_refused, handshakes_failed): (Family<_, Counter>, Counter) =
            Default::default();
        let text = "Callers' connections closed at once, by why";
        registry.register("connections_refused", text, connections_refused.clone());
        let text = "TLS handshakes of callers that did not succeed";
        registry.register("tls_handshakes_failed", text, handshakes_failed.clone());
        let (saved, kept_answers, kept_bytes) = Default::default();
        let text = "Calls answered without a call of their own";
        registry.register("saved_calls", text, Family::clone(&saved));
        registry.register("kept_answers", "Answers kept by [saving]", Family::clone(&kept_answers));
        registry.register(
            "kept_answers_bytes",
            "Memory of kept answers",
            Family::clone(&kept_bytes),
        );
        let (audit_failing, audit_lost): (Gauge, Gauge) = Default::default();
        let text = "1 while the audit log cannot be written";
        registry.register("audit_failing", text, audit_failing.clone());
        let text = "Calls since the start that have no line in the audit log";
        registry.register("audit_lost_calls", text, audit_lost.clone());
        let (audit_left_out, audit_free_places): (Gauge, Gauge) = Default::default();
        let text = "Calls since the start that the audit log only counts";
        registry.register("audit_left_out_calls", text, audit_left_out.clone());
        let text = "How many calls more the audit log has room for";
        registry.register("audit_free_places", text, audit_free_places.clone());
        let (tls_reload_failing, tls_not_after): (Gauge, Gauge) = Default::default();
        let text = "1 while the files of [tls] cannot be used and older ones are";
        registry.register("tls_reload_failing", text, tls_reload_failing.clone());
        let text = "When the certificate that callers are shown ends, in Unix time";
        registry.register("tls_certificate_not_after_seconds", text, tls_not_after.clone());
        let store = StoreMetrics::new(&mut registry);
        let replicas = ReplicaMetrics::new(&mut registry);
        let process = ProcessMetrics::new(&mut registry);
        let budget = BudgetMetrics::new(&mut registry);
        let requests = Requests::new(&mut registry);
        Self {
            registry: Arc::new(registry),
            org: OfOrganisation::default(),
            mints,
            verifications,
            expires_in,
            generation,
            live_secret,
            skew,
            retries,
            retries_refused,
            saved,
            kept_answers,
            kept_bytes,
            waiting,
            in_flight,
            promises,
            connections_refused,
            handshakes_failed,
            audit_failing,
            audit_lost,
            audit_left_out,
            audit_free_places,
            tls_reload_failing,
            tls_not_after,
            store,
            process,
            replicas,
            budget,
            requests,
        }
    }
}

impl Metrics {
    /// The same page, as another organisation counts in it.
    #[must_use]
    pub fn of_organisation(&self, name: &str) -> Self {
        Self { org: OfOrganisation(Some(name.into())), ..self.clone() }
    }

    /// A token request ended.
    pub fn minted(&self, of: &OfToken, outcome: MintOutcome) {
        let (org, OfToken { client, token }) = (self.org.clone(), of.clone());
        self.mints.get_or_create(&Mint { org, client, token, outcome }).inc();
    }

    /// A check of a token ended.
    pub fn verified(&self, of: &OfToken, outcome: CheckOutcome) {
        let (org, OfToken { client, token }) = (self.org.clone(), of.clone());
        self.verifications.get_or_create(&Verification { org, client, token, outcome }).inc();
    }

    /// A token as it is now.
    pub fn token(&self, of: &OfToken, expires_in: f64, generation: u64) {
        let (org, OfToken { client, token }) = (self.org.clone(), of.clone());
        let of = TokenOf { org, client, token };
        self.expires_in.get_or_create(&of).set(expires_in);
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        self.generation.get_or_create(&of).set(generation);
    }

    /// Which of its secrets a client logged in with last: `next` or not.
    pub fn live_secret(&self, client: &str, next: bool) {
        for (secret, live) in [("client_secret", !next), ("next_client_secret", next)] {
            let of = OfSecret { org: self.org.clone(), client: client.to_owned(), secret };
            self.live_secret.get_or_create(&of).set(live.into());
        }
    }

    /// Our clock against the token endpoint's.
    pub fn skew(&self, client: &str, seconds: i64) {
        let of = OfClient { org: self.org.clone(), client: client.to_owned() };
        self.skew.get_or_create(&of).set(seconds);
    }

    /// A call goes again.
    pub fn retried(&self, reason: Reason) {
        self.retries.get_or_create(&self.of_reason(reason.word())).inc();
    }

    /// A call would go again, and the budget has nothing left for it.
    pub fn retry_refused(&self, reason: Reason) {
        self.retries_refused.get_or_create(&self.of_reason(reason.word())).inc();
    }

    fn of_reason(&self, reason: &'static str) -> OfReason {
        OfReason { org: self.org.clone(), reason }
    }

    /// A call was answered without being sent.
    pub fn saved(&self, how: SavedBy) {
        self.saved.get_or_create(&Saved { org: self.org.clone(), how }).inc();
    }

    /// A caller's connection was closed at once.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&self.of_reason(reason)).inc();
    }

    /// A caller's TLS handshake did not succeed.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// The line now: calls waiting and in flight, and the promises made, claimed and broken.
    pub fn line(&self, calls: [usize; 2], promises: [(&'static str, u64); 3]) {
        for (gauge, count) in [&self.waiting, &self.in_flight].into_iter().zip(calls) {
            gauge.get_or_create(&self.org).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (state, count) in promises {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.promises.get_or_create(&OfState { org: self.org.clone(), state }).set(count);
        }
    }

    /// What one more worker counts its requests in.
    pub fn worker<'r>(&self, names: &Names, limited: impl Iterator<Item = &'r Rule>) -> Arc<Tally> {
        self.requests.worker(&self.org, names, limited)
    }

    /// Calls of each caller since the start; of those without a name together.
    pub fn callers(&self) -> Vec<Count> {
        self.requests.callers(&self.org)
    }

    /// Calls of each family of paths since the start.
    pub fn families(&self) -> Vec<Count> {
        self.requests.families(&self.org)
    }

    /// Each token's budget as it stands.
    pub fn budgets(&self, usages: &[Usage]) {
        self.budget.are(&self.org, usages);
    }

    /// Replicas that share the budget, and what is this one's of each token's.
    pub fn shared(&self, replicas: usize, shares: &[u64]) {
        self.replicas.are(&self.org, replicas, shares);
    }

    /// What is kept now.
    pub fn kept(&self, answers: usize, bytes: u64) {
        let answers = i64::try_from(answers).unwrap_or(i64::MAX);
        self.kept_answers.get_or_create(&self.org).set(answers);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.kept_bytes.get_or_create(&self.org).set(bytes);
    }

    /// How the audit log does: calls that it lacks, calls that it only counts, places for more.
    pub fn audit(&self, failing: bool, counts: [u64; 3]) {
        self.audit_failing.set(failing.into());
        let gauges = [&self.audit_lost, &self.audit_left_out, &self.audit_free_places];
        for (gauge, count) in gauges.into_iter().zip(counts) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether the files of `[tls]` can be used as they are now.
    pub fn tls_reload(&self, failing: bool) {
        self.tls_reload_failing.set(failing.into());
    }

    /// When the certificate that callers are shown ends, in Unix time.
    pub fn tls_not_after(&self, seconds: u64) {
        self.tls_not_after.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// The text format of `OpenMetrics`, which Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests;
