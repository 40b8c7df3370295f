//! What callers want of a limit here, for the other replicas' eyes.
//! It never tells who they are: the books make numbers of them.

use std::collections::BTreeMap;

use super::Books;
use crate::{
    decide::{
        callers::Principal,
        joint::wish::{self, Wish},
        turns::{Facts, LimitId},
    },
    gateway::admit::Admission,
};

/// What callers want of a limit here.
pub(super) fn wishes(
    id: LimitId,
    facts: &Facts,
    lately: &BTreeMap<Principal, u64>,
    admission: &Admission,
    books: &impl Books,
) -> Vec<Wish> {
    let wish = |principal: Principal, calls: u64, waiting: u64| Wish {
        caller: books.caller(principal),
        weight: admission.terms(principal).weight.get(),
        calls: wish::wanted(calls, waiting),
    };
    let waiting = |principal: &Principal| facts.waiting.get(principal).copied().unwrap_or(0);
    let sent: u64 = facts.report.sent.iter().map(|(_, calls)| calls).sum();
    let taken = sent + facts.report.inside;
    match id {
        LimitId::Lane(_) => {
            let unseen = facts.waiting.keys().filter(|who| !lately.contains_key(who));
            let all = lately.iter().map(|(who, calls)| (*who, *calls));
            let all = all.chain(unseen.map(|who| (*who, 0)));
            all.map(|(who, calls)| wish(who, calls, waiting(&who))).collect()
        }
        // Whose calls are in it is not counted: those who wait have had equal parts of it.
        LimitId::Rate(_) | LimitId::Crowd(_) if !facts.waiting.is_empty() => {
            let each = taken.div_ceil(facts.waiting.len() as u64);
            facts.waiting.iter().map(|(who, waits)| wish(*who, each, *waits)).collect()
        }
        LimitId::Rate(_) | LimitId::Crowd(_) => {
            vec![Wish {
                caller: books.callers_of(books.replica()),
                weight: 1,
                calls: wish::wanted(taken, 0),
            }]
        }
    }
}
