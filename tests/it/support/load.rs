//! Many callers at once, bodies that come when the test says so, and digests.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use genesys_proxy::simulator::{Counters, Record};
use http_body_util::channel::{Channel, Sender};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{World, gateway::PATIENCE, planted::nothing_planted_in};

/// An answer as a caller has read it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        let own = |value: &http::HeaderValue| value.as_bytes().starts_with(b"genesys-proxy; error");
        if headers.get_all("proxy-status").iter().any(own) {
            nothing_planted_in(&format!("{headers:?}\n{body}"));
        }
        Self { status, headers, body }
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends all of `requests` at once; their answers in the order of the requests.
pub async fn at_once(requests: impl IntoIterator<Item = reqwest::RequestBuilder>) -> Vec<Answer> {
    let mut callers = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        callers.spawn(async move { (number, Answer::of(request.send().await.unwrap()).await) });
    }
    let mut answers = callers.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Calls that keep coming, whatever becomes of those before.
pub struct Traffic {
    calls: JoinSet<Vec<Answer>>,
    end: CancellationToken,
}

impl Traffic {
    /// Fifty GETs of this address a second.
    pub fn of(url: String) -> Self {
        let (mut calls, end) = (JoinSet::new(), CancellationToken::new());
        let ended = end.clone();
        calls.spawn(async move {
            let caller = super::world::client();
            let mut callers = JoinSet::new();
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            while ended.run_until_cancelled(pace.tick()).await.is_some() {
                let request = caller.get(&url);
                callers.spawn(async move { Answer::of(request.send().await.unwrap()).await });
            }
            callers.join_all().await
        });
        Self { calls, end }
    }

    /// No more calls. Every one so far was answered with 200; how many there were.
    pub async fn end(self) -> u64 {
        self.end.cancel();
        let answers: Vec<_> = self.calls.join_all().await.into_iter().flatten().collect();
        assert_all(&answers, 200);
        u64::try_from(answers.len()).unwrap()
    }
}

/// Every answer has this status, or the test says which had not.
pub fn assert_all(answers: &[Answer], status: u16) {
    let wrong: Vec<_> = answers.iter().filter(|answer| answer.status != status).collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), answers.len(), wrong.first());
}

/// Genesys's own shape of a 429, with the gateway's code; its Retry-After.
pub fn assert_limited(answer: &Answer, code: &str) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    let body = answer.json();
    let message = body["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("Retry the request in [{seconds}] seconds")), "{message}");
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(429)));
    assert_eq!(body["contextId"], answer.header("x-request-id"));
    assert_eq!((&body["details"], &body["errors"]), (&json!([]), &json!([])));
    assert!(answer.header("proxy-status").contains(code), "{answer:?}");
    seconds
}

/// Bytes that differ from those of every other seed.
pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    dice.fill(&mut bytes);
    bytes.into()
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A chunked body that the test feeds.
pub fn fed() -> (Sender<Bytes, std::io::Error>, reqwest::Body) {
    let (sender, body) = Channel::new(1);
    (sender, reqwest::Body::wrap(body))
}

impl World {
    /// A request through the gateway, not sent yet.
    pub fn request(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.gateway.url(path))
    }

    /// Sends a request and reads the answer to its end.
    pub async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// What the simulator saw of calls to this target, oldest first.
    pub fn records(&self, target: &str) -> Vec<Record> {
        let mut records = self.genesys.snapshot().records;
        records.retain(|record| record.target.starts_with(target));
        records
    }

    /// Waits until the simulator's counts are as wanted; says what they are when that never comes.
    pub async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        let reached = self.genesys.until(reached);
        let came = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(came, "it never came: {:?}", self.genesys.counters());
    }

    /// Sets faults as `POST /_sim/faults` does.
    pub fn faults(&self, patch: serde_json::Value) {
        self.genesys.faults(serde_json::from_value(patch).unwrap());
    }
}
