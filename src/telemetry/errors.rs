//! The last answers that were errors, for whoever looks at `/api/status`.
//! It never holds a query, a body or a whole path, and is touched by no call that went well.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    access_log::{Record, text},
    callers::Name,
    printable::push_printable,
};
use crate::decide::{callers::Principal, path};

/// So many are kept.
const MOST: usize = 50;
/// Of strangers who were refused: whoever knocks all night does not hide what happened to callers.
const OF_STRANGERS: usize = 10;
/// As in access lines.
const LONGEST_METHOD: usize = 32;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// When it ended, RFC 3339.
    pub at: String,
    /// `None`: the organisation at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// As the access log names it.
    pub caller: String,
    /// The method.
    pub method: String,
    /// The path family: ids are `*`.
    pub path: String,
    /// What the caller got.
    pub status: u16,
    /// The gateway's own error; `None`: it is upstream's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Ours.
    pub request_id: String,
    /// Upstream's, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// To whom it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// One with a name, or one that was let in.
    Callers,
    /// One that was refused and has none.
    Strangers,
}

impl Whose {
    pub(super) fn of(record: &Record) -> Self {
        match record.principal {
            Principal::Address(_) | Principal::User(_) | Principal::Unknown if record.refused => {
                Self::Strangers
            }
            Principal::Named(_)
            | Principal::Address(_)
            | Principal::User(_)
            | Principal::Unknown => Self::Callers,
        }
    }
}

/// The last ones of all organisations.
#[derive(Debug, Default)]
pub struct Errors(Mutex<VecDeque<(Whose, ErrorAnswer)>>);

impl ErrorAnswer {
    /// What a call ended in, if that is worth telling. A caller that left got no answer.
    pub(super) fn of(record: &Record, (org, caller): (Option<&str>, Name<'_>)) -> Option<Self> {
        let status = record.status?.as_u16();
        if record.code.is_none() && !is_telling(status) {
            return None;
        }
        let mut path = Vec::new();
        push_printable(&mut path, path::family(record.uri.path()));
        let path = String::from_utf8(path).unwrap_or_default();
        Some(Self {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            org: org.map(str::to_owned),
            caller: caller.to_string(),
            method: record.method.as_str().chars().take(LONGEST_METHOD).collect(),
            path,
            status,
            code: record.code.map(str::to_owned),
            request_id: text(Some(&record.request_id)).to_owned(),
            correlation_id: record.correlation_id.as_ref().map(|id| text(Some(id)).to_owned()),
        })
    }
}

/// Upstream's answers that an operator wants to hear of. What is wrong with single calls (400, 404) is
/// their callers' business.
pub fn is_telling(status: u16) -> bool {
    matches!(status, 401 | 429) || status >= 500
}

impl Errors {
    /// One more; the oldest goes when there is no room.
    pub(super) fn note(&self, whose: Whose, answer: ErrorAnswer) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let strangers = all.iter().filter(|(of, _)| *of == Whose::Strangers).count();
        let goes = if whose == Whose::Strangers && strangers >= OF_STRANGERS {
            all.iter().position(|(of, _)| *of == Whose::Strangers)
        } else {
            (all.len() >= MOST).then_some(0)
        };
        goes.and_then(|at| all.remove(at));
        all.push_back((whose, answer));
    }

    /// The latest first.
    pub fn last(&self) -> Vec<ErrorAnswer> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().map(|(_, answer)| answer.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderValue, Method, StatusCode};

    use super::*;
    use crate::{
        config::LogFormat,
        decide::callers::Principal,
        telemetry::{
            access_log::{AccessLog, Observers},
            callers::Names,
        },
    };

    fn ended(errors: &Arc<Errors>, path: &str, number: usize, end: impl FnOnce(&mut Record)) {
        let names = Names::new(["billing".to_owned()]);
        let kept = Some(Arc::clone(errors));
        let log = AccessLog::new(
            LogFormat::Text,
            None,
            names,
            (None, None),
            Observers { errors: kept, ..Observers::default() },
        );
        let (uri, id) = (path.parse().unwrap(), HeaderValue::from(number));
        let mut record = Record::begin(&log, Principal::Named(0), Method::GET, uri, id);
        end(&mut record);
    }

    fn with_status(status: u16) -> impl FnOnce(&mut Record) {
        move |record| record.status = StatusCode::from_u16(status).ok()
    }

    #[test]
    fn the_last_fifty_are_kept_the_latest_first() {
        let errors = Arc::<Errors>::default();
        (0..MOST + 7).for_each(|number| ended(&errors, "/a", number, with_status(503)));
        let last = errors.last();
        let ids: Vec<usize> = last.iter().map(|one| one.request_id.parse().unwrap()).collect();
        assert_eq!(ids, (7..MOST + 7).rev().collect::<Vec<_>>());
    }

    #[test]
    fn strangers_who_knock_all_night_hide_nothing_of_the_callers() {
        let errors = Arc::<Errors>::default();
        let stranger = |record: &mut Record| {
            record.principal = Principal::Unknown;
            (record.status, record.refused) = (Some(StatusCode::UNAUTHORIZED), true);
        };
        ended(&errors, "/a", 1, with_status(503));
        (2..1_000).for_each(|number| ended(&errors, "/a", number, stranger));
        ended(&errors, "/a", 1_000, with_status(503));
        let last = errors.last();
        assert_eq!(last.len(), 2 + OF_STRANGERS);
        let ids: Vec<_> = last.iter().map(|one| one.request_id.as_str()).collect();
        assert_eq!((ids[0], ids[1], ids[OF_STRANGERS + 1]), ("1000", "999", "1"));
    }

    #[test]
    fn an_answer_is_told_of_by_its_family_and_not_by_its_query_or_ids() {
        let errors = Arc::<Errors>::default();
        ended(&errors, "/api/v2/users/0f0f0f0f-1234?name=secret", 1, with_status(429));
        // Of a long one the family has little.
        ended(&errors, &"/long".repeat(1_000), 2, with_status(500));
        let last = errors.last();
        assert_eq!((&*last[1].caller, &*last[1].path), ("billing", "/api/v2/users/*"));
        assert_eq!((last[1].status, last[1].code.as_deref()), (429, None));
        assert!(last[0].path.len() < 100, "{last:?}");
    }

    #[test]
    fn a_token_a_limit_or_a_server_in_trouble_is_told_of_and_a_caller_s_own_mistake_is_not() {
        let errors = Arc::<Errors>::default();
        for status in [200, 302, 400, 401, 403, 404, 429, 500, 503] {
            ended(&errors, "/a", 0, with_status(status));
        }
        // The caller has left.
        ended(&errors, "/a", 0, |_| {});
        ended(&errors, "/a", 0, |record| {
            record.status = Some(StatusCode::FORBIDDEN);
            record.code = Some("proxy.denied");
        });
        let told: Vec<u16> = errors.last().iter().map(|one| one.status).collect();
        assert_eq!(told, [403, 503, 500, 429, 401]);
        assert_eq!(errors.last()[0].code.as_deref(), Some("proxy.denied"));
    }
}
