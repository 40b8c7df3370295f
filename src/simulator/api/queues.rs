//! Routing queues.
//! It must never change a queue: they are the same in every run.

use std::sync::LazyLock;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        answer::{self, Problem},
        journey::Call,
        random::uuid_of,
    },
    Outcome,
    page::page,
    people::division,
    reading,
};

static QUEUES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..75).map(|index| uuid_of(&format!("queue/{index}"))).collect());

/// The ids of all queues, in the order in which they are listed.
pub fn queue_ids() -> Vec<String> {
    QUEUES.clone()
}

fn entity(index: u64) -> Value {
    let at = usize::try_from(index).unwrap_or_default();
    let id = QUEUES.get(at).cloned().unwrap_or_default();
    json!({
        "id": id,
        "name": format!("Queue {:02}", index + 1),
        "division": division(),
        "description": "A queue of the simulated organisation",
        "dateCreated": "2024-01-15T09:00:00.000Z",
        "dateModified": "2024-06-01T12:30:00.000Z",
        "modifiedBy": uuid_of("user/0"),
        "createdBy": uuid_of("user/0"),
        "memberCount": index % 40,
        "userMemberCount": index % 40,
        "joinedMemberCount": index % 20,
        "mediaSettings": {
            "call": {
                "enableAutoAnswer": false,
                "alertingTimeoutSeconds": 30,
                "serviceLevel": {"percentage": 0.8, "durationMs": 20_000},
            },
        },
        "skillEvaluationMethod": "ALL",
        "acwSettings": {"wrapupPrompt": "OPTIONAL"},
        "autoAnswerOnly": true,
        "enableTranscription": false,
        "enableManualAssignment": false,
        "callingPartyName": "",
        "selfUri": format!("/api/v2/routing/queues/{id}"),
    })
}

/// `/api/v2/routing/queues`
pub(super) fn list(call: &Call) -> Outcome {
    reading(call)?;
    page(call, QUEUES.len() as u64, entity)
}

/// `/api/v2/routing/queues/{id}`
pub(super) fn one(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    match QUEUES.iter().position(|known| known == id) {
        Some(index) => Ok(answer::json(StatusCode::OK, &entity(index as u64))),
        None => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_never_change() {
        assert_eq!(queue_ids().len(), 75);
        assert_eq!(entity(6)["name"], "Queue 07");
        assert_eq!(entity(6)["id"], uuid_of("queue/6"));
    }
}
