//! What `/api/status` says: the gateway writes it, `genesys-proxy status` reads it.
//! It never holds a token, a secret or a query. `openapi.json` describes every field of it.

use serde::{Deserialize, Serialize};

pub use crate::telemetry::errors::ErrorAnswer;

/// The whole process. Fields that are not known, or do not apply, are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Since when it runs, in seconds.
    pub uptime_s: u64,
    /// As `/readyz` says it.
    pub ready: bool,
    /// What does not work, as `/readyz` says it.
    pub reasons: Vec<String>,
    /// It ends as soon as its calls have.
    pub draining: bool,
    /// Of callers, that are open.
    #[serde(default)]
    pub connections: u64,
    /// What is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// `[store]`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// `[audit]`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The one at the top, then the others.
    pub organisations: Vec<Organisation>,
    /// The last answers that were errors, the latest first: fifty, of strangers who were refused ten.
    pub errors: Vec<ErrorAnswer>,
}

/// What is logged, as filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// In use.
    pub level: String,
    /// `telemetry.log`
    pub configured: String,
}

/// What replicas share things by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Whether it can be used.
    pub state: StoreState,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Whether the store can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// It is the first attempt.
    Connecting,
    /// It does what it is asked.
    Up,
    /// It cannot be.
    Down,
}

/// The record of all calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// It cannot be written.
    pub failing: bool,
    /// Calls since the start that have no line in it.
    pub lost: u64,
}

/// One organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// `default` is the one at the top.
    pub name: String,
    /// In the order of their numbers.
    pub tokens: Vec<Token>,
    /// Of all tokens together.
    pub budget: Budget,
    /// Who waits for a turn.
    pub queue: Queue,
    /// Calls admitted whose last byte has not left.
    pub in_flight: u64,
    /// Retries that are paid for.
    pub retries: Retries,
    /// Gateways that share the budget, this one included; with `[store]` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
    /// Callers whose calls are not let through here.
    #[serde(default)]
    pub paused: Vec<String>,
    /// Who calls most, in the last minute and then since the start: twenty; all without a name as one.
    #[serde(default)]
    pub callers: Vec<Calls>,
    /// What is called most, by the families of the paths: twenty.
    #[serde(default)]
    pub families: Vec<Calls>,
    /// Budget and queue every five seconds of the last ten minutes, the oldest first.
    pub history: Vec<Sample>,
}

/// One place for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The id of its client.
    pub client: String,
    /// Counted over all clients.
    pub number: u32,
    /// How many there have been in this place.
    pub generation: u64,
    /// Whether there is one now.
    pub state: TokenState,
    /// The first digits of its SHA-256: tells tokens apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What is left of its life, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
    /// Its life, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_s: Option<u64>,
    /// Who has it; with `[store]` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

/// Whether calls can be signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// They can.
    Valid,
    /// There is none.
    None,
}

/// Who has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// This gateway alone, as far as it knows.
    Private,
    /// All replicas, from this one.
    Published,
    /// All replicas, from another one.
    Adopted,
}

/// How fast calls may leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Calls in a window, as configured; none: no limit of the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The window, in seconds.
    pub window_s: u64,
    /// Of the limit, what this gateway may send in a window now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// Calls that count in it at this moment.
    pub used: u64,
    /// Nothing leaves for so many seconds: Genesys Cloud asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until_s: Option<u64>,
}

/// The line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Calls that wait.
    pub waiting: u64,
    /// How many may.
    pub max_queue: u64,
    /// Whose they are: the twenty with the most.
    pub callers: Vec<Waiting>,
    /// Calls of all others.
    pub others: u64,
}

/// One caller's part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// As the access log names it.
    pub name: String,
    /// Its calls that wait.
    pub waiting: u64,
}

/// Calls of one caller, or of one family of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// As the metrics name it.
    pub name: String,
    /// That ended in the last minute, to five seconds.
    pub last_minute: u64,
    /// Since the start.
    pub calls: u64,
    /// Of those since the start, 4xx and 5xx.
    pub errors: u64,
}

/// What pays for retries, in whole retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Of calls to the API.
    pub api: u64,
    /// Of uploads.
    pub apps: u64,
}

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Unix time, in seconds.
    pub at: u64,
    /// As in [`Budget`].
    pub used: u64,
    /// As in [`Budget`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// As in [`Queue`].
    pub waiting: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// All that there can be.
    fn whole() -> Status {
        let some = || Some("some".to_owned());
        let text = || "some".to_owned();
        Status {
            version: text(),
            uptime_s: 1,
            ready: true,
            reasons: vec![text()],
            draining: false,
            connections: 1,
            log: Some(Log { level: text(), configured: text() }),
            store: Some(Store { state: StoreState::Down, why: some() }),
            audit: Some(Audit { failing: false, lost: 0 }),
            organisations: vec![Organisation {
                name: text(),
                tokens: vec![Token {
                    client: text(),
                    number: 0,
                    generation: 1,
                    state: TokenState::Valid,
                    fingerprint: some(),
                    expires_in_s: Some(1),
                    life_s: Some(1),
                    share: Some(Share::Private),
                }],
                budget: Budget {
                    limit: Some(1),
                    window_s: 60,
                    allowed: Some(1),
                    used: 0,
                    paused_until_s: Some(1),
                },
                queue: Queue {
                    waiting: 0,
                    max_queue: 1,
                    callers: vec![Waiting { name: text(), waiting: 1 }],
                    others: 0,
                },
                in_flight: 0,
                retries: Retries { api: 0, apps: 0 },
                replicas: Some(1),
                paused: vec![text()],
                callers: vec![Calls { name: text(), last_minute: 0, calls: 1, errors: 0 }],
                families: vec![Calls { name: text(), last_minute: 0, calls: 1, errors: 0 }],
                history: vec![Sample { at: 0, used: 0, allowed: Some(1), waiting: 0 }],
            }],
            errors: vec![ErrorAnswer {
                at: text(),
                org: some(),
                caller: text(),
                method: text(),
                path: text(),
                status: 500,
                code: some(),
                request_id: text(),
                correlation_id: some(),
            }],
        }
    }

    fn keys(object: &Value) -> BTreeSet<&String> {
        object.as_object().expect("an object").keys().collect()
    }

    /// `schema`, found under its name if it only names another.
    fn meant<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
        match schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
            Some(path) => document.pointer(path).expect("a schema of that name"),
            None => schema,
        }
    }

    fn described(document: &Value, schema: &Value, value: &Value, checked: &mut usize) {
        let schema = meant(document, schema);
        match value {
            Value::Object(fields) => {
                assert_eq!(keys(&schema["properties"]), keys(value));
                for (name, field) in fields {
                    described(document, &schema["properties"][name], field, checked);
                }
                *checked += 1;
            }
            Value::Array(entries) => {
                described(document, &schema["items"], &entries[0], checked);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                assert!(schema["type"].is_string(), "{schema}");
            }
        }
    }

    #[test]
    fn each_field_is_described_and_nothing_else_is() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut checked = 0;
        let status = &document["components"]["schemas"]["Status"];
        described(&document, status, &serde_json::to_value(whole()).unwrap(), &mut checked);
        assert_eq!(checked, 14, "objects");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = serde_json::to_string(&whole()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), whole());
    }
}
