//! What is counted of each request: by caller, family, status and how it ended.
//! It never has a label that a caller makes up: how many lines there may be is known at the start.

mod counts;
mod families;
mod histogram;
mod outcome;
mod page;
mod tally;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use self::families::Families;
pub use self::{counts::Count, tally::Tally};
use super::OfOrganisation;
use crate::{decide::access::Rule, telemetry::callers::Names};

/// A part of the one page: what all workers counted, summed when somebody looks.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<Vec<Counted>>>);

/// One organisation's.
#[derive(Debug, Clone)]
struct Counted {
    org: OfOrganisation,
    names: Names,
    families: Arc<Families>,
    /// A worker's each.
    tallies: Vec<Arc<Tally>>,
}

impl Requests {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests = Self::default();
        registry.register_collector(Box::new(requests.clone()));
        requests
    }

    /// What one more worker counts in. Families that `limited` speaks of have names from the start.
    pub(super) fn worker<'r>(
        &self,
        org: &OfOrganisation,
        names: &Names,
        limited: impl Iterator<Item = &'r Rule>,
    ) -> Arc<Tally> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|counted| counted.org == *org).unwrap_or_else(|| {
            let families = Families::new(limited.map(Rule::to_string));
            let (org, names) = (org.clone(), names.clone());
            all.push(Counted { org, names, families: Arc::new(families), tallies: Vec::new() });
            all.len() - 1
        });
        let counted = all.get_mut(at).expect("it was found, or put there");
        let tally = Arc::new(Tally::new(Arc::clone(&counted.families)));
        counted.tallies.push(Arc::clone(&tally));
        tally
    }
}

impl Requests {
    /// A copy: whoever reads does not make a starting worker wait.
    fn of(&self, org: &OfOrganisation) -> Option<Counted> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|counted| counted.org == *org).cloned()
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A copy: whoever reads the page does not make a starting worker wait.
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page::write(&all, &mut encoder)
    }
}

#[cfg(test)]
mod tests;
