//! A look at everything that runs, put into a [`Status`].
//! It never waits, and shows callers by the names that logs have for them.

use std::cmp::Reverse;

use tokio::time::Instant;

use super::{
    ready::{self, FIRST},
    routes::Answers,
    status::{
        Audit, Budget, Log, Organisation, Queue, Retries, Share, Status, Store, StoreState, Token,
        TokenState, Waiting,
    },
};
use crate::{
    gateway::Shared,
    store::{Health, Link},
    telemetry::level,
    token::{self, Seen},
};

/// Callers that are named; all without a name may wait at once.
const NAMED: usize = 20;

impl Answers {
    /// As it is now.
    pub(super) fn status(&self) -> Status {
        let draining = self.draining.is_cancelled();
        let readiness = ready::ready(&self.all, self.store.as_deref(), draining);
        let audit = self.all.first().and_then(|shared| shared.audit.as_ref());
        let organisations = self.all.iter().enumerate();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            ready: readiness.ready,
            reasons: readiness.reasons,
            draining,
            connections: self.all.first().map_or(0, |first| first.metrics.process.open()),
            log: level::shown()
                .map(|shown| Log { level: shown.current, configured: shown.configured }),
            store: self.store.as_deref().map(store),
            audit: audit.map(|audit| Audit { failing: audit.failing(), lost: audit.lost() }),
            organisations: organisations
                .map(|(number, shared)| {
                    let [callers, families] = self.history.busiest(number, shared);
                    let history = self.history.of(number);
                    let now = organisation(shared, Instant::now());
                    Organisation { callers, families, history, ..now }
                })
                .collect(),
            errors: self.errors.last(),
        }
    }
}

fn store(link: &Link) -> Store {
    match &*link.health().borrow() {
        Health::Connecting => Store { state: StoreState::Connecting, why: None },
        Health::Up => Store { state: StoreState::Up, why: None },
        Health::Down(why) => Store { state: StoreState::Down, why: Some(why.clone()) },
    }
}

fn organisation(shared: &Shared, now: Instant) -> Organisation {
    let admission = &shared.admission;
    let [api, apps] = shared.retries.left();
    let together = admission.is_shared();
    Organisation {
        name: shared.name.as_deref().unwrap_or(FIRST).to_owned(),
        tokens: shared.tokens.all().map(|one| token(one.seen(now), now, together)).collect(),
        budget: budget(shared, now),
        queue: queue(shared),
        in_flight: admission.in_flight() as u64,
        retries: Retries { api, apps },
        replicas: together.then(|| admission.replicas() as u64),
        paused: admission
            .paused()
            .into_iter()
            .map(|who| shared.callers.name(who).to_string())
            .collect(),
        callers: Vec::new(),
        families: Vec::new(),
        history: Vec::new(),
    }
}

fn token(Seen { client, number, generation, token }: Seen, now: Instant, together: bool) -> Token {
    let usable = token.as_deref();
    Token {
        client,
        number,
        generation,
        state: usable.map_or(TokenState::None, |_| TokenState::Valid),
        fingerprint: usable.map(|token| token.fingerprint.clone()),
        expires_in_s: usable.map(|token| token.left(now).as_secs()),
        life_s: usable.map(|token| token.life().as_secs()),
        share: usable.filter(|_| together).map(|token| match token.share {
            token::Share::Private | token::Share::Unheard => Share::Private,
            token::Share::Published(_) => Share::Published,
            token::Share::Adopted(_) => Share::Adopted,
        }),
    }
}

fn budget(shared: &Shared, now: Instant) -> Budget {
    let spending = shared.admission.spending(now);
    // What is left of a second is one: then it is over.
    let seconds = |until| Instant::from_std(until).saturating_duration_since(now).as_secs() + 1;
    Budget {
        limit: spending.limit,
        window_s: shared.config.rate_limit.window.as_secs(),
        allowed: spending.allowed,
        used: spending.used,
        paused_until_s: spending.paused_until.map(seconds),
    }
}

fn queue(shared: &Shared) -> Queue {
    let mut crowd = shared.admission.crowd();
    crowd.sort_by_key(|(principal, calls)| (Reverse(*calls), *principal));
    let total = |part: &[(_, usize)]| part.iter().map(|(_, calls)| *calls as u64).sum();
    let (named, others) = crowd.split_at(crowd.len().min(NAMED));
    Queue {
        waiting: total(&crowd),
        max_queue: shared.config.rate_limit.max_queue as u64,
        callers: named
            .iter()
            .map(|(principal, calls)| Waiting {
                name: shared.callers.name(*principal).to_string(),
                waiting: *calls as u64,
            })
            .collect(),
        others: total(others),
    }
}
