//! What an operator may do: renew or give up tokens, pause callers, drain, change what is logged.
//! It never does anything halfway: what is asked is understood whole, or refused.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};

use super::{ready::FIRST, routes::Answers};
use crate::{gateway::Shared, telemetry::level, token::Tokens};

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// `/api/tokens/refresh`
    Refresh,
    /// `/api/tokens/invalidate`
    Invalidate,
    /// `/api/callers/pause`
    Pause,
    /// `/api/callers/resume`
    Resume,
    /// `/api/drain`
    Drain,
    /// `/api/log`
    Log,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is so now; in words.
    Done(String),
    /// It has begun.
    Begun(String),
    /// The process is to end, as soon as this has been told.
    Ends,
    /// The body is not what is asked for.
    Misread(String),
    /// There is no such thing.
    Unknown(String),
}

/// Which tokens; all of an organisation's, if none is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTokens {
    org: Option<String>,
    token: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCaller {
    org: Option<String>,
    caller: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    /// `null` is an answer; that it is missing is none.
    #[serde(deserialize_with = "Option::deserialize")]
    level: Option<String>,
}

/// An empty body says as much as an empty object.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Outcome> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Outcome::Misread(format!("the body: {error}")))
}

impl Answers {
    /// Does what `peer` asks for.
    pub(super) fn act(&self, action: Action, peer: SocketAddr, body: &[u8]) -> Outcome {
        let done = match action {
            Action::Refresh | Action::Invalidate => self.renew(action, peer, body),
            Action::Pause | Action::Resume => self.hold(action, peer, body),
            Action::Drain => read(body).map(|Nothing {}| {
                tracing::info!(%peer, "admin: drain");
                Outcome::Ends
            }),
            Action::Log => log(peer, body),
        };
        done.unwrap_or_else(|refused| refused)
    }

    fn renew(&self, action: Action, peer: SocketAddr, body: &[u8]) -> Result<Outcome, Outcome> {
        let OfTokens { org, token } = read(body)?;
        let shared = self.organisation(org.as_deref())?;
        let name = shared.name.as_deref().unwrap_or(FIRST);
        let asked = |one: &&Arc<Tokens>| {
            token.is_none_or(|number| usize::try_from(number) == Ok(one.lane.number()))
        };
        let tokens: Vec<&Arc<Tokens>> = shared.tokens.all().filter(asked).collect();
        if let (true, Some(token)) = (tokens.is_empty(), token) {
            return Err(Outcome::Unknown(format!("`{name}` has no token {token}")));
        }
        for one in &tokens {
            let token = one.lane.number();
            if action == Action::Invalidate {
                tracing::info!(%peer, org = name, token, "admin: give up the token and renew it");
                one.invalidate();
            } else {
                tracing::info!(%peer, org = name, token, "admin: renew the token");
                one.refresh();
            }
        }
        let what = if action == Action::Invalidate { "given up, and renewed" } else { "renewed" };
        Ok(Outcome::Begun(format!("tokens that are being {what}: {}", tokens.len())))
    }

    fn hold(&self, action: Action, peer: SocketAddr, body: &[u8]) -> Result<Outcome, Outcome> {
        let OfCaller { org, caller } = read(body)?;
        let shared = self.organisation(org.as_deref())?;
        let name = shared.name.as_deref().unwrap_or(FIRST);
        let Some(principal) = shared.callers.named(&caller) else {
            let what = format!("`{name}` has no [[caller]] `{}`", caller.escape_debug());
            return Err(Outcome::Unknown(what));
        };
        let admission = &shared.admission;
        if action == Action::Pause {
            tracing::info!(%peer, org = name, caller, "admin: pause the caller");
            let sent_away = admission.pause(principal);
            let what = format!("paused; of its calls {sent_away} waited and were answered");
            return Ok(Outcome::Done(what));
        }
        tracing::info!(%peer, org = name, caller, "admin: resume the caller");
        let was = admission.resume(principal);
        Ok(Outcome::Done(if was { "resumed" } else { "it was not paused" }.to_owned()))
    }

    fn organisation(&self, name: Option<&str>) -> Result<&Arc<Shared>, Outcome> {
        let wanted = name.unwrap_or(FIRST);
        let is = |shared: &&Arc<Shared>| shared.name.as_deref().unwrap_or(FIRST) == wanted;
        let unknown = || Outcome::Unknown(format!("no organisation `{}`", wanted.escape_debug()));
        self.all.iter().find(is).ok_or_else(unknown)
    }
}

fn log(peer: SocketAddr, body: &[u8]) -> Result<Outcome, Outcome> {
    let Level { level } = read(body)?;
    let said = |filter: &str| tracing::info!(%peer, filter, "admin: change what is logged");
    let set = level::set(level.as_deref(), said);
    let filter =
        set.map_err(|hint| Outcome::Misread(format!("`level` is not a filter: {hint}")))?;
    Ok(Outcome::Done(format!("logged from now on: {filter}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: DeserializeOwned>(body: &str) -> String {
        match read::<T>(body.as_bytes()) {
            Err(Outcome::Misread(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{body} is taken"),
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_named_and_one_that_is_missing_too() {
        assert!(wrong::<OfTokens>(r#"{"tokn": 1}"#).contains("`tokn`"));
        assert!(wrong::<OfCaller>(r#"{"caller": "a", "all": true}"#).contains("`all`"));
        assert!(wrong::<OfCaller>("").contains("`caller`"));
        assert!(wrong::<Nothing>(r#"{"now": true}"#).contains("`now`"));
        assert!(wrong::<Level>("{}").contains("`level`"));
        for body in ["[", "{} {}", "\"all\"", "{\"org\": 1}"] {
            wrong::<OfTokens>(body);
        }
    }

    #[test]
    fn nothing_is_asked_for_by_an_empty_body_too_and_null_is_a_level() {
        assert!(read::<Nothing>(b" \n").is_ok() && read::<OfTokens>(b"{}").is_ok());
        let level = read::<Level>(br#"{"level": null}"#);
        assert!(level.is_ok_and(|level| level.level.is_none()));
    }
}
