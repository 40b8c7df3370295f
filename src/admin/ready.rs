//! `/readyz`: whether calls may come here, and what does not work, in words.
//! It never takes the whole gateway away because of one of several organisations, or of the identity
//! provider: every replica would go, and the callers of the others with them.

use std::sync::Arc;

use crate::{
    gateway::Shared,
    store::{Health, Link},
    token::pool::Login,
};

/// The organisation at the top.
pub(super) const FIRST: &str = "default";

/// Whether the audit log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// As it should be, or there is none.
    Good,
    /// It cannot be, and calls go on.
    Failing,
    /// It cannot be, and calls are refused.
    Refusing,
}

/// What counts.
#[derive(Debug)]
struct Facts<'a> {
    draining: bool,
    organisations: Vec<(&'a str, Login)>,
    record: Record,
    keys_away: bool,
    /// Why the store cannot be used.
    store_away: Option<String>,
}

/// Whether calls may come here, and what does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readiness {
    /// They may.
    pub(super) ready: bool,
    /// In words; empty: everything works.
    pub(super) reasons: Vec<String>,
}

impl Readiness {
    /// The status and the line of `/readyz`.
    pub(super) fn told(&self) -> (u16, String) {
        let wrong = self.reasons.join("; ");
        match (self.ready, wrong.is_empty()) {
            (true, true) => (200, "ready".to_owned()),
            (true, false) => (200, format!("ready, but {wrong}")),
            (false, _) => (503, wrong),
        }
    }
}

/// How it is now.
pub(super) fn ready(all: &[Arc<Shared>], store: Option<&Link>, draining: bool) -> Readiness {
    let organisations =
        all.iter().map(|shared| (shared.name.as_deref().unwrap_or(FIRST), shared.tokens.login()));
    let record = match all.first().and_then(|shared| shared.audit.as_ref()) {
        Some(audit) if audit.failing() && audit.refuses() => Record::Refusing,
        Some(audit) if audit.failing() => Record::Failing,
        Some(_) | None => Record::Good,
    };
    judge(&Facts {
        draining,
        organisations: organisations.collect(),
        record,
        keys_away: all.iter().any(|shared| shared.callers.keys_away()),
        store_away: store.and_then(away),
    })
}

/// Why it cannot be used; nothing is known of it at the start.
fn away(store: &Link) -> Option<String> {
    match &*store.health().borrow() {
        Health::Connecting | Health::Up => None,
        Health::Down(why) => Some(why.clone()),
    }
}

fn judge(facts: &Facts<'_>) -> Readiness {
    let Facts { draining, organisations, record, keys_away, store_away } = facts;
    if *draining {
        return Readiness { ready: false, reasons: vec!["draining".to_owned()] };
    }
    let some = |which: Login| organisations.iter().any(|(_, login)| *login == which);
    // At the start each organisation's first answer is worth waiting for.
    let usable = some(Login::Ready) && !some(Login::Beginning) && *record != Record::Refusing;
    let without = organisations.iter().filter(|(_, login)| *login != Login::Ready);
    let without: Vec<&str> = without.map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    if !without.is_empty() {
        wrong.push(match organisations.len() {
            1 => "no valid token".to_owned(),
            _ => format!("no valid token: {}", without.join(", ")),
        });
    }
    if *record != Record::Good {
        wrong.push("the audit log cannot be written".to_owned());
    }
    if *keys_away {
        wrong.push("the keys of jwt.jwks_url cannot be fetched".to_owned());
    }
    let store = store_away.as_ref().map(|why| format!("the store is away: {why}"));
    Readiness { ready: usable, reasons: wrong.into_iter().chain(store).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(organisations: &[(&str, Login)], record: Record, keys_away: bool) -> String {
        let organisations = organisations.to_vec();
        let store_away = None;
        let facts = Facts { draining: false, organisations, record, keys_away, store_away };
        let (status, line) = judge(&facts).told();
        format!("{status} {line}")
    }

    #[test]
    fn one_organisation_without_a_token_is_named_and_does_not_take_the_others_away() {
        use Login::{Beginning, Failing, Ready};
        let good = |logins: &[(&str, Login)]| told(logins, Record::Good, false);
        assert_eq!(good(&[("default", Ready)]), "200 ready");
        assert_eq!(good(&[("default", Failing)]), "503 no valid token");
        assert_eq!(good(&[("default", Ready), ("eu", Ready)]), "200 ready");
        let one = [("default", Failing), ("eu", Ready)];
        assert_eq!(good(&one), "200 ready, but no valid token: default");
        let none = [("default", Failing), ("eu", Failing)];
        assert_eq!(good(&none), "503 no valid token: default, eu");
        let soon = [("default", Ready), ("eu", Beginning), ("uk", Failing)];
        assert_eq!(good(&soon), "503 no valid token: eu, uk");
    }

    #[test]
    fn all_that_is_wrong_is_told_and_only_what_stops_every_call_makes_unready() {
        let one = [("default", Login::Ready)];
        let keys = "200 ready, but the keys of jwt.jwks_url cannot be fetched";
        assert_eq!(told(&one, Record::Good, true), keys);
        let both = "200 ready, but the audit log cannot be written; the keys of jwt.jwks_url cannot be \
                    fetched";
        assert_eq!(told(&one, Record::Failing, true), both);
        assert_eq!(told(&one, Record::Refusing, false), "503 the audit log cannot be written");
        let draining = Facts {
            draining: true,
            organisations: one.to_vec(),
            record: Record::Good,
            keys_away: false,
            store_away: None,
        };
        assert_eq!(judge(&draining).told(), (503, "draining".to_owned()));
        let away = Facts { draining: false, store_away: Some("h:1: slow".to_owned()), ..draining };
        assert_eq!(
            judge(&away).told(),
            (200, "ready, but the store is away: h:1: slow".to_owned())
        );
    }
}
