//! How a request ended, in the words of the access log, and what its caller was told.
//! It never has a word for each status: there are a few.

use http::StatusCode;

use crate::telemetry::access_log::{End, Record};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By upstream.
    Answered,
    /// By an answer to another call.
    Saved,
    /// By the gateway, which was asked for it: a login, a browser's preflight.
    Local,
    /// A rule refused it.
    Refused,
    /// The gateway could not do it.
    Failed,
    /// Its caller left, or upstream's body broke off.
    Cut,
}

impl Outcome {
    /// All of them, as they are numbered.
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::Saved, Self::Local, Self::Refused, Self::Failed, Self::Cut];

    /// Of a request that is over.
    pub fn of(record: &Record) -> Self {
        let Record { end, code, refused, saved, attempts, .. } = record;
        match (end, code, saved) {
            (End::Cut, _, _) => Self::Cut,
            (End::Complete, Some(_), _) if *refused => Self::Refused,
            (End::Complete, Some(_), _) => Self::Failed,
            (End::Complete, None, Some(_)) => Self::Saved,
            (End::Complete, None, None) if *attempts == 0 => Self::Local,
            (End::Complete, None, None) => Self::Answered,
        }
    }

    /// As the label says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Saved => "saved",
            Self::Local => "local",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cut => "cut",
        }
    }
}

/// What a caller was told, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// 101.
    Switched,
    /// 2xx.
    Good,
    /// 3xx.
    Elsewhere,
    /// 4xx, but for 429.
    Wrong,
    /// 429: what a gateway with a budget is asked about first.
    TooMany,
    /// 5xx.
    Trouble,
    /// Nothing: it left before; or a status that nobody has heard of.
    Nothing,
}

impl Told {
    /// 4xx or 5xx.
    pub fn is_error(self) -> bool {
        match self {
            Self::Wrong | Self::TooMany | Self::Trouble => true,
            Self::Switched | Self::Good | Self::Elsewhere | Self::Nothing => false,
        }
    }

    /// All of them, as they are numbered.
    pub const ALL: [Self; 7] = [
        Self::Switched,
        Self::Good,
        Self::Elsewhere,
        Self::Wrong,
        Self::TooMany,
        Self::Trouble,
        Self::Nothing,
    ];

    /// What a status tells.
    pub fn of(status: Option<StatusCode>) -> Self {
        match status.map_or(0, |status| status.as_u16()) {
            100..200 => Self::Switched,
            200..300 => Self::Good,
            300..400 => Self::Elsewhere,
            429 => Self::TooMany,
            400..500 => Self::Wrong,
            500..600 => Self::Trouble,
            0..100 | 600.. => Self::Nothing,
        }
    }

    /// As the label says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Switched => "1xx",
            Self::Good => "2xx",
            Self::Elsewhere => "3xx",
            Self::Wrong => "4xx",
            Self::TooMany => "429",
            Self::Trouble => "5xx",
            Self::Nothing => "none",
        }
    }
}
