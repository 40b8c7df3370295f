//! Notification channels: 20 for a client, the oldest gives way.
//! It must never carry a notification; the streaming host is not simulated.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::{
        answer::{self, Problem},
        journey::Call,
        random::uuid,
        tokens::Caller,
    },
    Outcome, only,
};

/// Channels of one client.
const LIMIT: usize = 20;
const DAY: Duration = Duration::from_hours(24);

/// The channels of every client.
#[derive(Debug, Default)]
pub(super) struct Channels(HashMap<String, VecDeque<Channel>>);

#[derive(Debug, Clone)]
struct Channel {
    id: String,
    expires: String,
    topics: Vec<Value>,
}

impl Channel {
    fn described(&self) -> Value {
        json!({
            "connectUri": format!("wss://streaming.mypurecloud.com/channels/{}", self.id),
            "id": self.id,
            "expires": self.expires,
        })
    }
}

/// What is at and below `/api/v2/notifications/channels`.
pub(super) fn route(call: &Call, caller: &Caller, rest: &[&str]) -> Outcome {
    match rest {
        [] => channels(call, caller),
        [id, "subscriptions"] => subscriptions(call, caller, id),
        _ => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}

fn channels(call: &Call, caller: &Caller) -> Outcome {
    only(call, &[Method::GET, Method::HEAD, Method::POST])?;
    let expires = call.site.world.timestamp(DAY);
    let body = call.site.world.with(|state, _| {
        let channels = state.api.channels.0.entry(caller.client.clone()).or_default();
        if call.head.method() != Method::POST {
            let entities: Vec<Value> = channels.iter().map(Channel::described).collect();
            return json!({"entities": entities});
        }
        if channels.len() == LIMIT {
            channels.pop_front();
        }
        let channel = Channel { id: uuid(), expires, topics: Vec::new() };
        let described = channel.described();
        channels.push_back(channel);
        described
    });
    Ok(answer::json(StatusCode::OK, &body))
}

fn subscriptions(call: &Call, caller: &Caller, id: &str) -> Outcome {
    only(call, &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])?;
    let method = call.head.method();
    let topics: Vec<Value> = match *method {
        Method::POST | Method::PUT => call.body.json()?,
        _ => Vec::new(),
    };
    if topics.len() > 1_000 {
        return Err(Problem::bad_request("A channel has at most 1000 topics."));
    }
    let topics = call.site.world.with(|state, _| {
        let channels = state.api.channels.0.get_mut(&caller.client)?;
        let channel = channels.iter_mut().find(|channel| channel.id == id)?;
        match *method {
            Method::PUT | Method::DELETE => channel.topics = topics,
            Method::POST => {
                channel.topics.extend(topics);
                channel.topics.truncate(1_000);
            }
            _ => {}
        }
        Some(channel.topics.clone())
    });
    match topics {
        Some(topics) => Ok(answer::json(StatusCode::OK, &json!({"entities": topics}))),
        None => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}
