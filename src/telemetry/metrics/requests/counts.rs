//! What was counted of each caller and each family, for `/api/status`.
//! It never counts anything itself: it reads what the page of metrics does.

use super::{
    Counted, OfOrganisation, Requests,
    outcome::{Outcome, Told},
    page::UNNAMED,
};

/// Calls under one name since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// A caller's, or a family's.
    pub name: String,
    /// All of them.
    pub calls: u64,
    /// Those that were told 4xx or 5xx.
    pub errors: u64,
}

impl Requests {
    /// Of each caller that has called; those without a name together.
    pub(in super::super) fn callers(&self, org: &OfOrganisation) -> Vec<Count> {
        self.of(org).map(|counted| counted.callers()).unwrap_or_default()
    }

    /// Of each family that was called.
    pub(in super::super) fn families(&self, org: &OfOrganisation) -> Vec<Count> {
        self.of(org).map(|counted| counted.families()).unwrap_or_default()
    }
}

impl Counted {
    fn callers(&self) -> Vec<Count> {
        let named = self.names.all().enumerate().map(|(n, name)| (Some(n), name));
        let count = |(number, name): (Option<usize>, &str)| {
            Count::of(name, |told| {
                let ended = |outcome: Outcome| {
                    self.sum(|tally| {
                        let ends =
                            number.map_or(Some(&tally.unnamed), |number| tally.named(number));
                        ends?.get(outcome as usize)?.get(told as usize)
                    })
                };
                Outcome::ALL.into_iter().map(ended).sum()
            })
        };
        named.chain([(None, UNNAMED)]).filter_map(count).collect()
    }

    fn families(&self) -> Vec<Count> {
        let count = |(row, name): (super::families::Row, &str)| {
            Count::of(name, |told| self.sum(|tally| tally.by_family.get(row.0)?.get(told as usize)))
        };
        self.families.named().filter_map(count).collect()
    }
}

impl Count {
    /// `None`: there was no call.
    fn of(name: &str, told: impl Fn(Told) -> u64) -> Option<Self> {
        let mut count = Self { name: name.to_owned(), calls: 0, errors: 0 };
        for one in Told::ALL {
            let many = told(one);
            count.calls += many;
            count.errors += if one.is_error() { many } else { 0 };
        }
        (count.calls > 0).then_some(count)
    }
}
