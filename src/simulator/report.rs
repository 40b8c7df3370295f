//! What the simulator saw, for tests and for `/_sim/state`.
//! It must never hold a token, a header's value or a body, and never grow without bound.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// The newest requests and logins kept.
const RING: usize = 10_000;
/// Different tokens told apart in `tokens_seen`.
const SEEN: usize = 10_000;

/// Running counts. A call is a request for anything but login and `/_sim/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Logins that got a token.
    pub mints: u64,
    /// Logins that are over, whatever came of them.
    pub mint_attempts: u64,
    /// Logins refused with "rate limit exceeded".
    pub throttled: u64,
    /// Calls that are over: answered, cut, or left by the client.
    pub requests: u64,
    /// Calls refused with 429 by the token's limit; faults not included.
    pub rate_limited: u64,
    /// Calls refused with 401 for want of a good token; faults not included.
    pub unauthorized: u64,
    /// The most calls of any one token within any sliding window, refused ones included.
    pub most_in_window: u32,
    /// Files fetched from the storage host.
    pub downloads: u64,
    /// Those that came with an Authorization header, which must never leave Genesys.
    pub downloads_with_authorization: u64,
    /// Connections accepted on the login and API port.
    pub connections: u64,
    /// Requests arrived whose answer has not ended.
    pub in_flight: u64,
    /// The most of them at once.
    pub most_in_flight: u64,
    /// Requests that a `hold` fault keeps waiting now.
    pub held: u64,
    /// The most of them at once.
    pub most_held: u64,
    /// Bytes of request bodies received so far.
    pub body_bytes: u64,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintRequest {
    /// Milliseconds from the simulator's start to the request's arrival.
    pub at_ms: u64,
    /// The client id it named, when it named one.
    pub client: Option<String>,
    /// The answer's status; 0 when there was none: cut, or the client left.
    pub status: u16,
}

/// How often a token was seen on calls, good or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The token's fingerprint.
    pub fingerprint: String,
    /// Calls that carried it.
    pub requests: u64,
}

/// One request, login included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds from the simulator's start to the request's arrival.
    pub at_ms: u64,
    /// Method.
    pub method: String,
    /// The target as it was sent, at most 1,024 characters.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The answer's status; 0 when there was none: cut, or the client left.
    pub status: u16,
    /// Bytes of the request's body.
    pub body_bytes: u64,
    /// SHA-256 of them in hex; empty when the body was not read to its end.
    pub body_sha256: String,
    /// Names of the request's headers, at most 100.
    pub headers: Vec<String>,
    /// The bearer's fingerprint.
    pub token: Option<String>,
    /// `ININ-Correlation-Id` of the answer.
    pub correlation_id: String,
}

/// Everything at one moment: the body of `GET /_sim/state`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The counts.
    #[serde(flatten)]
    pub counters: Counters,
    /// Calls by the answer's status.
    pub requests_by_status: BTreeMap<u16, u64>,
    /// Fingerprints of the tokens issued, in order.
    pub tokens_issued: Vec<String>,
    /// Tokens that calls carried, in the order of their first sight.
    pub tokens_seen: Vec<Seen>,
    /// The newest logins, oldest first.
    pub mint_requests: Vec<MintRequest>,
    /// The newest requests, oldest first.
    pub records: Vec<Record>,
}

/// The growing record behind a [`Snapshot`].
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) counters: Counters,
    by_status: BTreeMap<u16, u64>,
    seen: Vec<Seen>,
    places: HashMap<String, usize>,
    mints: VecDeque<MintRequest>,
    records: VecDeque<Record>,
}

impl Report {
    /// A call came with this token.
    pub(super) fn saw(&mut self, fingerprint: &str) {
        if let Some(seen) = self.places.get(fingerprint).and_then(|at| self.seen.get_mut(*at)) {
            seen.requests += 1;
        } else if self.seen.len() < SEEN {
            self.places.insert(fingerprint.to_owned(), self.seen.len());
            self.seen.push(Seen { fingerprint: fingerprint.to_owned(), requests: 1 });
        }
    }

    /// A call has its answer.
    pub(super) fn called(&mut self, record: Record) {
        self.counters.requests += 1;
        *self.by_status.entry(record.status).or_default() += 1;
        self.keep(record);
    }

    /// A login has its answer.
    pub(super) fn logged_in(&mut self, mint: MintRequest, record: Record) {
        self.counters.mint_attempts += 1;
        push(&mut self.mints, mint);
        self.keep(record);
    }

    fn keep(&mut self, record: Record) {
        push(&mut self.records, record);
    }

    /// A request arrived.
    pub(super) fn entered(&mut self) {
        self.counters.in_flight += 1;
        self.counters.most_in_flight = self.counters.most_in_flight.max(self.counters.in_flight);
    }

    /// Forgets everything but what is going on.
    pub(super) fn reset(&mut self) {
        let Counters { in_flight, held, .. } = self.counters;
        let counters = Counters { in_flight, held, ..Counters::default() };
        *self = Self { counters, ..Self::default() };
    }

    /// Everything, with the newest `records` requests.
    pub(super) fn snapshot(&self, records: usize) -> Snapshot {
        let skip = self.records.len().saturating_sub(records);
        Snapshot {
            counters: self.counters,
            requests_by_status: self.by_status.clone(),
            tokens_issued: Vec::new(),
            tokens_seen: self.seen.clone(),
            mint_requests: self.mints.iter().cloned().collect(),
            records: self.records.iter().skip(skip).cloned().collect(),
        }
    }
}

fn push<T>(ring: &mut VecDeque<T>, item: T) {
    if ring.len() == RING {
        ring.pop_front();
    }
    ring.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_ms: u64) -> Record {
        Record {
            at_ms,
            method: "GET".to_owned(),
            target: "/".to_owned(),
            version: "HTTP/1.1".to_owned(),
            status: 200,
            body_bytes: 0,
            body_sha256: String::new(),
            headers: Vec::new(),
            token: None,
            correlation_id: String::new(),
        }
    }

    #[test]
    fn the_record_is_bounded_and_keeps_the_newest() {
        let mut report = Report::default();
        (0..RING as u64 + 5).for_each(|at| report.called(record(at)));
        let snapshot = report.snapshot(usize::MAX);
        assert_eq!(snapshot.records.len(), RING);
        assert_eq!(snapshot.records[0].at_ms, 5);
        assert_eq!(snapshot.requests_by_status, [(200, RING as u64 + 5)].into());
        assert_eq!(report.snapshot(2).records[1].at_ms, RING as u64 + 4);
    }

    #[test]
    fn tokens_are_told_apart_in_the_order_they_came() {
        let mut report = Report::default();
        for token in ["old", "new", "old"] {
            report.saw(token);
        }
        let seen = report.snapshot(0).tokens_seen;
        let seen: Vec<_> = seen.iter().map(|seen| (&*seen.fingerprint, seen.requests)).collect();
        assert_eq!(seen, [("old", 2), ("new", 1)]);
    }

    #[test]
    fn a_reset_does_not_forget_what_is_in_flight() {
        let mut report = Report::default();
        report.entered();
        report.saw("old");
        report.reset();
        assert_eq!(report.counters, Counters { in_flight: 1, ..Counters::default() });
    }

    #[test]
    fn the_state_reads_back_as_it_was_written() {
        let mut report = Report::default();
        report.called(record(1));
        let snapshot = report.snapshot(1);
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
    }
}
