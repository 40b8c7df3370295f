//! Conversation details: the synchronous query, and the job that is polled until it is done.
//! It must never finish a job by the clock: the number of polls decides, so tests need no sleep.

use std::{collections::VecDeque, time::Duration};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        answer::{self, Problem, also},
        journey::Call,
        random::{uuid, uuid_of},
        received::{number, query},
    },
    Outcome, only, reading,
};

/// Conversations that every query finds.
const HITS: u64 = 1_000;
/// Jobs remembered.
const KEPT: usize = 1_000;
const DAY: Duration = Duration::from_hours(24);

/// The asynchronous queries.
#[derive(Debug, Default)]
pub(super) struct Jobs(VecDeque<Job>);

#[derive(Debug)]
struct Job {
    id: String,
    polls: u32,
    submitted: String,
}

impl Job {
    /// Two polls see it on its way, later ones see it done.
    const fn state(&self) -> &'static str {
        match self.polls {
            0 | 1 => "QUEUED",
            2 => "PENDING",
            3.. => "FULFILLED",
        }
    }
}

#[derive(Deserialize)]
struct Query {
    interval: Option<String>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Paging {
    page_size: u64,
    page_number: u64,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page_size: 25, page_number: 1 }
    }
}

/// What is below `/api/v2/analytics/conversations/details`.
pub(super) fn route(call: &Call, rest: &[&str]) -> Outcome {
    match rest {
        ["query"] => details(call),
        ["jobs"] => submit(call),
        ["jobs", id] => poll(call, id),
        ["jobs", id, "results"] => results(call, id),
        _ => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}

/// The query in the body, which must name an interval.
fn asked(call: &Call) -> Result<Query, Problem> {
    only(call, &[Method::POST])?;
    let query: Query = call.body.json()?;
    match &query.interval {
        Some(interval) if interval.contains('/') => Ok(query),
        Some(_) | None => {
            Err(Problem::bad_request("interval must be an ISO-8601 interval: start/end"))
        }
    }
}

fn details(call: &Call) -> Outcome {
    let Paging { page_size, page_number } = asked(call)?.paging;
    if !(1..=100).contains(&page_size) || page_number == 0 {
        return Err(Problem::bad_request("pageSize must be between 1 and 100"));
    }
    let first = (page_number - 1).saturating_mul(page_size).min(HITS);
    let page: Vec<Value> = (first..(first + page_size).min(HITS)).map(conversation).collect();
    Ok(answer::json(StatusCode::OK, &json!({"conversations": page, "totalHits": HITS})))
}

fn submit(call: &Call) -> Outcome {
    asked(call)?;
    let job = Job { id: uuid(), polls: 0, submitted: call.site.world.timestamp(Duration::ZERO) };
    let body = json!({"jobId": job.id});
    call.site.world.with(|state, _| {
        let jobs = &mut state.api.jobs.0;
        if jobs.len() == KEPT {
            jobs.pop_front();
        }
        jobs.push_back(job);
    });
    Ok(answer::json(StatusCode::ACCEPTED, &body))
}

fn poll(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    let (state, submitted) = call
        .site
        .world
        .with(|state, _| {
            let job = state.api.jobs.0.iter_mut().find(|job| job.id == id)?;
            job.polls += 1;
            Some((job.state(), job.submitted.clone()))
        })
        .ok_or_else(|| Problem::of(StatusCode::NOT_FOUND))?;
    let mut status = json!({
        "state": state,
        "submissionDate": submitted,
        "expirationDate": call.site.world.timestamp(DAY),
    });
    if state == "FULFILLED" {
        status = also(status, "completionDate", call.site.world.timestamp(Duration::ZERO));
    }
    Ok(answer::json(StatusCode::OK, &status))
}

fn results(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    let state = call
        .site
        .world
        .with(|state, _| state.api.jobs.0.iter().find(|job| job.id == id).map(Job::state))
        .ok_or_else(|| Problem::of(StatusCode::NOT_FOUND))?;
    if state != "FULFILLED" {
        return Err(Problem::bad_request(format!("The job is {state}, it has no results yet.")));
    }
    let first: u64 = match query(&call.head, "cursor") {
        Some(cursor) => {
            cursor.parse().map_err(|_| Problem::bad_request("The cursor is not one of ours."))?
        }
        None => 0,
    };
    let end = first.saturating_add(number(&call.head, "pageSize", 400).max(1)).min(HITS);
    let page: Vec<Value> = (first..end).map(conversation).collect();
    let mut body = json!({
        "conversations": page,
        "dataAvailabilityDate": call.site.world.timestamp(Duration::ZERO),
    });
    if end < HITS {
        body = also(body, "cursor", end.to_string());
    }
    Ok(answer::json(StatusCode::OK, &body))
}

/// A voice call of a bit over three minutes, one every ten minutes of one week.
fn conversation(index: u64) -> Value {
    let start = Duration::from_secs(1_717_372_800 + index * 600);
    let time = |seconds: u64| {
        let at = std::time::SystemTime::UNIX_EPOCH + start + Duration::from_secs(seconds);
        humantime::format_rfc3339_millis(at).to_string()
    };
    let named = |part: &str| uuid_of(&format!("conversation/{index}/{part}"));
    let segment = |from, to, kind| {
        json!({
            "segmentStart": time(from),
            "segmentEnd": time(to),
            "segmentType": kind,
            "queueId": uuid_of(&format!("queue/{}", index % 75)),
            "conference": false,
        })
    };
    let participant = |purpose: &str, segments: Vec<Value>| {
        json!({
            "participantId": named(purpose),
            "purpose": purpose,
            "sessions": [{
                "sessionId": named(&format!("{purpose}/session")),
                "mediaType": "voice",
                "direction": "inbound",
                "segments": segments,
            }],
        })
    };
    let segments = vec![segment(20, 180, "interact"), segment(180, 200, "wrapup")];
    let user = uuid_of(&format!("user/{}", index % 132));
    let agent = also(participant("agent", segments), "userId", user);
    json!({
        "conversationId": named("id"),
        "conversationStart": time(0),
        "conversationEnd": time(200),
        "originatingDirection": "inbound",
        "divisionIds": [uuid_of("division/home")],
        "mediaStatsMinConversationMos": 4.8,
        "participants": [participant("customer", vec![segment(0, 180, "interact")]), agent],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_done_at_its_third_poll() {
        let state = |polls| Job { id: String::new(), polls, submitted: String::new() }.state();
        assert_eq!([1, 2, 3, 4].map(state), ["QUEUED", "PENDING", "FULFILLED", "FULFILLED"]);
    }

    #[test]
    fn conversations_never_change() {
        assert_eq!(conversation(0)["conversationStart"], "2024-06-03T00:00:00.000Z");
        assert_eq!(conversation(3), conversation(3));
        assert_eq!(conversation(3)["participants"][1]["userId"], uuid_of("user/3"));
    }
}
