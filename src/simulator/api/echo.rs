//! `/api/v2/echo`: tells the caller what arrived, for any method and below any path.
//! It must never leave anything out but the bearer's value.

use http::{StatusCode, header};
use serde_json::{Value, json};

use super::super::{
    answer::{self, Answer},
    journey::Call,
    random::fingerprint,
    received,
};

/// Head, length and digest of the request.
pub(super) fn answer(call: &Call) -> Answer {
    let token = received::bearer(&call.head).map(fingerprint);
    let headers: Vec<Value> = call
        .head
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = if *name == header::AUTHORIZATION {
                format!("Bearer <{}>", token.as_deref().unwrap_or_default()).into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            json!([name.as_str(), value])
        })
        .collect();
    let echo = json!({
        "method": call.head.method().as_str(),
        "target": call.head.uri().to_string(),
        "version": format!("{:?}", call.head.version()),
        "headers": headers,
        "bodyBytes": call.body.bytes,
        "bodySha256": call.body.sha256,
    });
    answer::json(StatusCode::OK, &echo)
}
