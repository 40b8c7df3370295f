//! From what was written to a [`Config`]: each section and each rule one function.
//! It never stops at the first problem: a rule reports, and the next one is applied.

mod access;
mod audit;
mod callers;
mod clients;
mod jwt;
mod keys;
mod listen;
mod oauth;
mod orgs;
mod rate_limit;
mod replay;
mod retry;
mod saving;
mod store;
mod telemetry;
mod tls;
mod upstream;
mod vault;

pub use audit::read_audit_key;
#[cfg(test)]
pub(super) use callers::OF_A_CALLER;
pub use telemetry::filter as log_filter;

use std::{ops::RangeInclusive, time::Duration};

use self::callers::KnownBy;

use super::{
    Config, Listen, Mode,
    file::Key,
    read::{Checked, Reported, Settings},
};

/// No timer may be longer: nobody waits for more, and adding it to an instant must not overflow.
const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A life that is worth a login.
const MINUTE_TO_DAY: RangeInclusive<Duration> = Duration::from_mins(1)..=DAY;
/// Zero is an answer: "at once", "never".
const FROM_ZERO_TO_DAY: RangeInclusive<Duration> = Duration::ZERO..=DAY;
const FROM_ZERO_TO_HOUR: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
/// Zero would fail every request.
const ABOVE_ZERO: RangeInclusive<Duration> = MILLISECOND..=DAY;

/// The configuration, if nothing is wrong with it.
pub(super) fn config(settings: &mut Settings<'_>) -> Checked<Config> {
    // Each section is read before any is missed, so that every problem is found.
    let listen = listen::listen(settings);
    let admin = listen::admin(settings);
    let admin_key = keys::digest(settings, listen::ADMIN_KEY, "actions take one");
    let shutdown_linger =
        settings.duration(Key("", "shutdown_linger"), Duration::ZERO, &FROM_ZERO_TO_HOUR);
    let shutdown_timeout =
        settings.duration(Key("", "shutdown_timeout"), Duration::from_secs(30), &FROM_ZERO_TO_HOUR);
    if let (Ok(listen), Ok(admin)) = (&listen, &admin) {
        listen::apart(settings, listen, *admin);
    }
    let upstream = upstream::upstream(settings);
    let oauth = oauth::oauth(settings, upstream.as_ref().ok().map(|upstream| &upstream.login));
    let store = store::store(settings);
    let of_store = store.as_ref().ok().and_then(Option::as_ref);
    let vault = vault::vault(settings, oauth.as_ref().ok(), of_store);
    let replay = replay::replay(settings);
    let rate_limit = rate_limit::rate_limit(settings);
    let retry = retry::retry(settings);
    let saving = saving::saving(settings);
    let access = access::access(settings);
    let audit = audit::audit(settings);
    let telemetry = telemetry::telemetry(settings);
    let tls = tls::tls(settings);
    let jwt = jwt::jwt(settings);
    let known_by = KnownBy {
        claims: !matches!(jwt, Ok(None)),
        certificates: tls::asks_for_certificates(settings),
        open: !access::by_key(settings),
    };
    let callers = callers::callers(settings, known_by);
    if let (Ok(access), Ok(callers)) = (&access, &callers) {
        callers::reachable(settings, access.mode, callers);
    }
    let addresses = listen.as_deref().unwrap_or_default().iter().cloned();
    let admin_address = admin.as_ref().ok().copied().flatten().map(Listen::Tcp);
    let shared = orgs::Shared {
        mode: access.as_ref().map_or(Mode::Open, |access| access.mode),
        known_by,
        vault: vault.as_ref().ok().and_then(Option::as_ref),
        hosts: access.as_ref().map(|access| &*access.hosts).unwrap_or_default(),
        listen: addresses.chain(admin_address).collect(),
    };
    let organisations = orgs::organisations(settings, &shared);
    if let (Ok(Some(_)), Ok(callers), Ok(organisations)) = (&jwt, &callers, &organisations) {
        let others = organisations.iter().flat_map(|own| &own.callers);
        jwt::of_use(settings, callers.iter().chain(others));
    }
    if !settings.problems.is_empty() {
        return Err(Reported);
    }
    let mut config = Config {
        listen: listen?,
        admin: admin?,
        admin_key: admin_key?.map(|(key, _)| key),
        shutdown_linger: shutdown_linger?,
        shutdown_timeout: shutdown_timeout?,
        upstream: upstream?,
        oauth: oauth?,
        vault: vault?,
        replay: replay?,
        rate_limit: rate_limit?,
        retry: retry?,
        saving: saving?,
        access: access?,
        jwt: jwt?,
        audit: audit?,
        store: store?,
        telemetry: telemetry?,
        tls: tls?,
        callers: callers?,
        organisations: Vec::new(),
    };
    let organisations = organisations?.into_iter().map(|own| own.beside(&config));
    config.organisations = organisations.collect();
    Ok(config)
}
