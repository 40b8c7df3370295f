//! What is counted of the budget that replicas share.
//! It never names a replica: how many there are is enough, and their names do not last.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{OfOrganisation, labels::OfNumber};

/// A part of the one page.
#[derive(Debug, Clone)]
pub struct ReplicaMetrics {
    replicas: Family<OfOrganisation, Gauge>,
    shares: Family<OfNumber, Gauge>,
}

impl ReplicaMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (replicas, shares) = <(Family<_, Gauge>, Family<_, Gauge>)>::default();
        let text = "Replicas that share the budget, this one included";
        registry.register("replicas", text, replicas.clone());
        let text = "Calls in a window that are this replica's of a token's limit";
        registry.register("budget_share", text, shares.clone());
        Self { replicas, shares }
    }

    /// As many as are known now, and for each token what is this one's.
    pub(super) fn are(&self, org: &OfOrganisation, replicas: usize, shares: &[u64]) {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.replicas.get_or_create(org).set(whole(replicas as u64));
        for (token, share) in (0..).zip(shares) {
            let of = OfNumber { org: org.clone(), token };
            self.shares.get_or_create(&of).set(whole(*share));
        }
    }
}
