//! The operator's side under `/_sim/`: faults, revocation, another program with the same tokens,
//! reset and the state, as JSON.
//! It must never be counted or recorded, or be in the way of the calls.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{self, Answer, Problem},
    faults::FaultsPatch,
    handle::Handle,
    options::Client,
    random, received,
    world::World,
};

/// The largest body that is read here.
const LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewClient {
    id: String,
    secret: String,
    public_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outsider {
    calls: u16,
}

/// Answers a request under `/_sim/`.
pub(super) async fn answer(world: &Arc<World>, request: Request<Incoming>) -> Answer {
    let handle = Handle::new(Arc::clone(world));
    let records = received::number(&request, "records", 100);
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LIMIT).collect().await else {
        return problem(&Problem::of(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let body = body.to_bytes();
    let path = head.uri.path().strip_prefix("/_sim/").unwrap_or_default();
    match (&head.method, path) {
        (&Method::GET, "state") => {
            let records = usize::try_from(records).unwrap_or(usize::MAX);
            answer::json(StatusCode::OK, &world.snapshot(records))
        }
        (&Method::GET, "faults") => {
            answer::json(StatusCode::OK, &world.with(|state, _| state.faults.faults().clone()))
        }
        (&Method::POST, "faults") => match parsed::<FaultsPatch>(&body) {
            Ok(change) => answer::json(StatusCode::OK, &handle.faults(change)),
            Err(refusal) => problem(&refusal),
        },
        (&Method::POST, "revoke") => {
            answer::json(StatusCode::OK, &json!({"revoked": handle.revoke()}))
        }
        (&Method::POST, "outsider") => match parsed::<Outsider>(&body) {
            Ok(Outsider { calls }) => {
                answer::json(StatusCode::OK, &json!({"accepted": handle.outsider(calls)}))
            }
            Err(refusal) => problem(&refusal),
        },
        (&Method::POST, "reset") => {
            handle.reset();
            answer::empty(StatusCode::NO_CONTENT)
        }
        (&Method::POST, "clients") => match parsed::<NewClient>(&body) {
            Ok(NewClient { id, secret, public_key }) => {
                handle.client(Client { public_key, ..Client::new(id, secret) });
                answer::empty(StatusCode::NO_CONTENT)
            }
            Err(refusal) => problem(&refusal),
        },
        _ => problem(&Problem::of(StatusCode::NOT_FOUND)),
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(body: &Bytes) -> Result<T, Problem> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(error.to_string()))
}

fn problem(problem: &Problem) -> Answer {
    problem.answer(&random::uuid())
}
