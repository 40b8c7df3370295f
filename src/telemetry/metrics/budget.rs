//! What is shown of each token's budget.
//! It never counts by itself: what it shows is what decides when a call may leave.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{OfOrganisation, labels::OfNumber};
use crate::decide::lanes::Usage;

/// A part of the one page.
#[derive(Debug, Clone)]
pub struct BudgetMetrics {
    allowed: Family<OfNumber, Gauge>,
    used: Family<OfNumber, Gauge>,
    paused: Family<OfNumber, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl BudgetMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (allowed, used, paused) = Default::default();
        let text = "Calls that may leave in a window under a token";
        registry.register("budget_allowed", text, Family::clone(&allowed));
        let text = "Of these, what is taken or used";
        registry.register("budget_used", text, Family::clone(&used));
        let text = "Until calls leave under a token again that upstream limited; 0 while they do";
        registry.register("budget_paused_seconds", text, Family::clone(&paused));
        Self { allowed, used, paused }
    }

    /// Each token's, in order. Without a limit there is nothing to be told of it.
    pub(super) fn are(&self, org: &OfOrganisation, usages: &[Usage]) {
        for (token, usage) in (0..).zip(usages) {
            let of = OfNumber { org: org.clone(), token };
            if let Some(allowed) = usage.allowed {
                self.allowed.get_or_create(&of).set(allowed.into());
                let used = i64::try_from(usage.used).unwrap_or(i64::MAX);
                self.used.get_or_create(&of).set(used);
            }
            self.paused.get_or_create(&of).set(usage.paused.as_secs_f64());
        }
    }
}
