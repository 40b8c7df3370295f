//! Callers that the configuration names, and when their calls arrived.

use std::time::Duration;

use genesys_proxy::simulator::{Options, Record};
use http::Method;
use reqwest::RequestBuilder;
use tokio::task::JoinSet;

use super::{
    Answer, World, assert_all, at_once,
    load::{assert_limited, sha256},
};

/// A `[[caller]]` with a key of its own, on these terms.
pub fn caller(name: &str, terms: &str) -> String {
    let digest = sha256(key(name).as_bytes());
    format!("[[caller]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n{terms}\n")
}

pub fn key(name: &str) -> String {
    format!("tHe-kEy-of-{name}-0a1b2c3d")
}

/// A Genesys Cloud with this limit, counted over this many seconds.
pub fn limited(requests_per_minute: u32, window: u64) -> Options {
    let window = Duration::from_secs(window);
    Options { requests_per_minute, window, ..Options::default() }
}

/// `[rate_limit]` for it, with more of its keys, and the `[[caller]]`s after it.
pub fn rate_limit(requests_per_minute: u32, window: u64, more: &str) -> String {
    format!(
        "[rate_limit]\nrequests_per_minute = {requests_per_minute}\nwindow = \"{window}s\"\n{more}\n"
    )
}

/// Calls under way, each on a task of its own.
pub fn sent(requests: impl IntoIterator<Item = RequestBuilder>) -> JoinSet<Answer> {
    let mut calls = JoinSet::new();
    for request in requests {
        calls.spawn(async move { Answer::of(request.send().await.unwrap()).await });
    }
    calls
}

/// A busy machine takes longer with one call than with another: by less than this is shorter. On two cores
/// that had twice as much to do as they can, one more call than the limit came no sooner than 17 ms before
/// the window's end, 44 ms sooner than the gateways count. It is three times as much, and little enough to
/// see a window that a gateway counts shorter by a tenth.
pub fn nearly(window: Duration) -> Duration {
    window.saturating_sub(Duration::from_millis(150))
}

/// The most of these calls within any window of this length.
pub fn most_in(window: Duration, arrivals: &[Record]) -> usize {
    let length = u64::try_from(window.as_millis()).unwrap();
    let within = |from: u64| {
        arrivals.iter().filter(|call| call.at_ms >= from && call.at_ms < from + length).count()
    };
    arrivals.iter().map(|call| within(call.at_ms)).max().unwrap_or(0)
}

impl World {
    /// A GET by one of the configured callers.
    pub fn get_as(&self, name: &str, path: &str) -> RequestBuilder {
        self.request(Method::GET, path).header("x-api-key", key(name))
    }

    /// So many calls of nobody in particular, all served: what is left of the limit is not theirs.
    pub async fn use_up(&self, calls: u32) {
        let request = |_| self.request(Method::GET, "/api/v2/organizations/me");
        assert_all(&at_once((0..calls).map(request)).await, 200);
    }

    /// What the simulator saw of calls to this target, by when they arrived.
    pub fn arrivals(&self, target: &str) -> Vec<Record> {
        let mut records = self.records(target);
        records.sort_by_key(|record| record.at_ms);
        records
    }

    /// This call cannot be served now: it is told so by this code, with the seconds to wait.
    pub async fn refused(&self, request: RequestBuilder, code: &str) -> (Answer, u64) {
        let answer = self.answer(request.header("prefer", "wait=0")).await;
        let seconds = assert_limited(&answer, code);
        (answer, seconds)
    }
}
