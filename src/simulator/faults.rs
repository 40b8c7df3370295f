//! What goes wrong on purpose, word for word as it is set under `/_sim/faults`.
//! It must never decide whom a fault meets: `in_force` does.

use std::{collections::BTreeMap, fmt, str::FromStr};

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
    /// What login does.
    pub token: Option<TokenFault>,
    /// Replaces the whole list; `[]` empties it.
    pub api: Option<Vec<ApiFault>>,
    /// See [`Faults::expire_in`]; 0 goes back to the configured life.
    pub expire_in: Option<u64>,
    /// See [`Faults::dies_after_ms`]; 0 switches it off.
    pub dies_after_ms: Option<u64>,
}

/// What login does instead of its work; in JSON a mode, or an object with a mode.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct TokenFault {
    /// What it does.
    pub mode: TokenMode,
    /// For how many requests; absent is until it is changed.
    pub times: Option<u32>,
    /// `Retry-After` of the answer, any text.
    pub retry_after: Option<String>,
}

/// `"down"` or `{"mode": "down", "times": 2}`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "token: a mode, or {\"mode\", \"times\", \"retry_after\"}; modes are ok, down, \
                 slow:MS, hold, html, empty_json, garbage, throttled, invalid_client, status:N"
)]
enum Written {
    Word(TokenMode),
    Object(Details),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    mode: TokenMode,
    times: Option<u32>,
    retry_after: Option<String>,
}

impl From<Written> for TokenFault {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(mode) => mode.into(),
            Written::Object(Details { mode, times, retry_after }) => {
                Self { mode, times, retry_after }
            }
        }
    }
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
        let unknown = || format!("unknown token mode {text:?}");
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
    /// Meets only the calls beyond so many in a window of the configured length, as a limit on
    /// one endpoint does: without a `status` they get 429 and an honest Retry-After.
    pub limit: Option<u32>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_fault_is_a_word_or_an_object() {
        let read = |text| serde_json::from_str::<TokenFault>(text).unwrap();
        assert_eq!(read(r#""slow:500""#), TokenMode::Slow(500).into());
        let twice = TokenFault { times: Some(2), ..TokenMode::Down.into() };
        assert_eq!(read(r#"{"mode": "down", "times": 2}"#), twice);
        assert_eq!(read(&serde_json::to_string(&twice).unwrap()), twice);
    }

    #[test]
    fn every_mode_reads_back_as_it_is_written() {
        for text in [
            "ok",
            "down",
            "slow:7",
            "hold",
            "html",
            "empty_json",
            "garbage",
            "throttled",
            "invalid_client",
            "status:503",
        ] {
            assert_eq!(text.parse::<TokenMode>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        for text in [r#"{"tokens": "down"}"#, r#"{"token": "dwon"}"#, r#"{"api": [{"sttus": 1}]}"#]
        {
            assert!(serde_json::from_str::<FaultsPatch>(text).is_err(), "{text}");
        }
    }
}
