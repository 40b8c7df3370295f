//! What goes wrong on purpose, as it is set under `/_sim/faults`.
//! It must never act: `journey` and `oauth` do what a fault says.

use std::{collections::BTreeMap, fmt, str::FromStr};

use http::Method;
use serde::{Deserialize, Serialize};

/// Everything that is wrong at the moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// What login does.
    pub token: TokenFault,
    /// What API calls meet; the first that matches applies.
    pub api: Vec<ApiFault>,
    /// `expires_in` and life of new tokens in seconds, instead of the configured life.
    pub expire_in: Option<u64>,
    /// New tokens die after so many milliseconds, whatever `expires_in` says.
    pub dies_after_ms: Option<u64>,
}

/// A change of the faults: what is absent stays as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsPatch {
    /// Starts from no fault at all.
    pub clear: bool,
    /// What login does: a mode, or a mode with a number of times.
    pub token: Option<OneOrTimes>,
    /// Replaces the whole list; `[]` empties it.
    pub api: Option<Vec<ApiFault>>,
    /// See [`Faults::expire_in`]; 0 goes back to the configured life.
    pub expire_in: Option<u64>,
    /// See [`Faults::dies_after_ms`]; 0 switches it off.
    pub dies_after_ms: Option<u64>,
}

/// `"down"` or `{"mode": "down", "times": 2}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrTimes {
    /// A mode until it is changed.
    Mode(TokenMode),
    /// A mode with its details.
    Fault(TokenFault),
}

/// What login does instead of its work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenFault {
    /// What it does.
    pub mode: TokenMode,
    /// For how many requests; absent is until it is changed.
    pub times: Option<u32>,
    /// `Retry-After` of `throttled` and `status:N`, any text.
    pub retry_after: Option<String>,
}

impl From<TokenMode> for TokenFault {
    fn from(mode: TokenMode) -> Self {
        Self { mode, ..Self::default() }
    }
}

/// The ways a login can go; as text `ok`, `down`, `slow:MS`, `hold`, `html`, `empty_json`,
/// `garbage`, `throttled`, `invalid_client`, `status:N`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenMode {
    /// Works.
    #[default]
    Ok,
    /// Closes the connection without an answer.
    Down,
    /// Works after so many milliseconds.
    Slow(u64),
    /// Waits until the faults are next posted, then works.
    Hold,
    /// 200 with a web page.
    Html,
    /// 200 with `{}`.
    EmptyJson,
    /// 200 with something that is not JSON.
    Garbage,
    /// 400 "rate limit exceeded".
    Throttled,
    /// 401 `invalid_client`.
    InvalidClient,
    /// This status with a Genesys error body.
    Status(u16),
}

impl FromStr for TokenMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "unknown token mode {text:?}: use ok, down, slow:MS, hold, html, empty_json, \
                 garbage, throttled, invalid_client or status:N"
            )
        };
        Ok(match text.split_once(':') {
            Some(("slow", millis)) => Self::Slow(millis.trim().parse().map_err(|_| unknown())?),
            Some(("status", status)) => Self::Status(status.trim().parse().map_err(|_| unknown())?),
            Some(_) => return Err(unknown()),
            None => match text {
                "ok" => Self::Ok,
                "down" => Self::Down,
                "hold" => Self::Hold,
                "html" => Self::Html,
                "empty_json" => Self::EmptyJson,
                "garbage" => Self::Garbage,
                "throttled" => Self::Throttled,
                "invalid_client" => Self::InvalidClient,
                _ => return Err(unknown()),
            },
        })
    }
}

impl fmt::Display for TokenMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => out.write_str("ok"),
            Self::Down => out.write_str("down"),
            Self::Slow(millis) => write!(out, "slow:{millis}"),
            Self::Hold => out.write_str("hold"),
            Self::Html => out.write_str("html"),
            Self::EmptyJson => out.write_str("empty_json"),
            Self::Garbage => out.write_str("garbage"),
            Self::Throttled => out.write_str("throttled"),
            Self::InvalidClient => out.write_str("invalid_client"),
            Self::Status(status) => write!(out, "status:{status}"),
        }
    }
}

impl TryFrom<String> for TokenMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TokenMode> for String {
    fn from(mode: TokenMode) -> Self {
        mode.to_string()
    }
}

/// What calls of one kind meet. A fault with a `status` answers before the bearer is looked at
/// and counts nothing against the limit; without one, the call goes its usual way after the
/// delay, and only the answer is changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "switches are what reads best in JSON")]
pub struct ApiFault {
    /// `"METHODS PATH"`: METHODS a comma list, absent is all; PATH ends with `*` for a prefix.
    /// Empty is every call.
    #[serde(rename = "match")]
    pub matches: String,
    /// For how many calls; absent is until it is changed.
    pub times: Option<u32>,
    /// Answers this status with Genesys's error body.
    pub status: Option<u16>,
    /// `code` in that body instead of the usual one.
    pub code: Option<String>,
    /// `Retry-After` of the answer, any text.
    pub retry_after: Option<String>,
    /// Further headers of the answer; `{bearer}` in a value is the token that the call carried.
    pub headers: BTreeMap<String, String>,
    /// Body of the answer instead of Genesys's error body; needs `status`.
    pub body: Option<String>,
    /// Resets the connection (RST) instead of answering.
    pub reset: bool,
    /// Closes the connection (FIN) instead of answering.
    pub close: bool,
    /// Waits so long first.
    pub delay_ms: u64,
    /// Waits until the faults are next posted, then goes on.
    pub hold: bool,
    /// Breaks the connection after so many bytes of the answer's body.
    pub truncate: Option<u64>,
    /// Answers before the request's body is read, as some front ends do.
    pub early: bool,
}

impl ApiFault {
    fn applies(&self, method: &Method, path: &str) -> bool {
        let (methods, pattern) = match self.matches.split_once(' ') {
            Some((methods, pattern)) => (Some(methods), pattern.trim()),
            None => (None, self.matches.as_str()),
        };
        let by_method =
            methods.is_none_or(|list| list.split(',').any(|name| name.trim() == method.as_str()));
        by_method
            && match pattern.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => pattern.is_empty() || path == pattern,
            }
    }
}

/// Counts one use; true when it was there to use.
fn spend(times: &mut Option<u32>) -> bool {
    match times {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None => true,
    }
}

impl Faults {
    /// What this API call meets; uses it up once.
    pub(super) fn meet(&mut self, method: &Method, path: &str) -> Option<ApiFault> {
        let mut matching = self.api.iter_mut().filter(|fault| fault.applies(method, path));
        matching.find_map(|fault| spend(&mut fault.times).then(|| fault.clone()))
    }

    /// What this login meets; uses it up once.
    pub(super) fn meet_login(&mut self) -> TokenFault {
        if spend(&mut self.token.times) { self.token.clone() } else { TokenFault::default() }
    }

    /// Changes what the patch names.
    pub(super) fn apply(&mut self, patch: FaultsPatch) {
        if patch.clear {
            *self = Self::default();
        }
        match patch.token {
            Some(OneOrTimes::Mode(mode)) => self.token = mode.into(),
            Some(OneOrTimes::Fault(fault)) => self.token = fault,
            None => {}
        }
        if let Some(api) = patch.api {
            self.api = api;
        }
        if let Some(seconds) = patch.expire_in {
            self.expire_in = (seconds > 0).then_some(seconds);
        }
        if let Some(millis) = patch.dies_after_ms {
            self.dies_after_ms = (millis > 0).then_some(millis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(text: &str) -> Faults {
        let mut faults = Faults::default();
        faults.apply(serde_json::from_str(text).unwrap());
        faults
    }

    #[test]
    fn a_fault_matches_methods_and_a_path_or_its_prefix() {
        let hits = |rule: &str, method: Method, path: &str| {
            ApiFault { matches: rule.to_owned(), ..ApiFault::default() }.applies(&method, path)
        };
        assert!(hits("", Method::GET, "/anything"));
        assert!(hits("GET /api/v2/users*", Method::GET, "/api/v2/users/7"));
        assert!(hits("GET,PUT /api/v2/users", Method::PUT, "/api/v2/users"));
        assert!(hits("/api/v2/users", Method::DELETE, "/api/v2/users"));
        assert!(!hits("GET /api/v2/users", Method::GET, "/api/v2/users/7"));
        assert!(!hits("GET /api/v2/users*", Method::POST, "/api/v2/users"));
    }

    #[test]
    fn a_fault_with_times_is_used_up_and_the_next_one_applies() {
        let mut faults = patched(r#"{"api": [{"status": 503, "times": 1}, {"status": 429}]}"#);
        let mut status = || faults.meet(&Method::GET, "/").and_then(|fault| fault.status);
        assert_eq!([status(), status(), status()], [Some(503), Some(429), Some(429)]);
    }

    #[test]
    fn a_login_fault_is_a_word_or_a_word_with_times() {
        assert_eq!(patched(r#"{"token": "slow:500"}"#).token, TokenMode::Slow(500).into());
        let mut faults = patched(r#"{"token": {"mode": "down", "times": 1}}"#);
        assert_eq!(faults.meet_login().mode, TokenMode::Down);
        assert_eq!(faults.meet_login().mode, TokenMode::Ok);
    }

    #[test]
    fn what_a_patch_does_not_name_stays() {
        let mut faults = patched(r#"{"token": "html", "expire_in": 5}"#);
        faults.apply(serde_json::from_str(r#"{"expire_in": 0}"#).unwrap());
        assert_eq!(faults, Faults { token: TokenMode::Html.into(), ..Faults::default() });
        faults.apply(serde_json::from_str(r#"{"clear": true}"#).unwrap());
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        for text in [r#"{"tokens": "down"}"#, r#"{"token": "dwon"}"#, r#"{"api": [{"sttus": 1}]}"#]
        {
            assert!(serde_json::from_str::<FaultsPatch>(text).is_err(), "{text}");
        }
    }
}
