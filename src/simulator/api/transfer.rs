//! Files in and out: uploads to the apps host, downloads from the host of signed URLs.
//! It must never serve a download itself: it says where the file is.

use std::collections::BTreeMap;

use http::{Method, StatusCode, header};
use serde_json::json;

use super::{
    super::{
        answer::{self, Problem, with},
        journey::Call,
        random::uuid_of,
        received::query,
        storage::signature,
    },
    Outcome, only, reading,
};

/// `/uploads/v2/contactlist` and `/uploads/v2/scripter`: says what arrived.
pub(super) fn upload(call: &Call, kind: &str) -> Outcome {
    only(call, &[Method::POST])?;
    let typed = call.head.headers().contains_key(header::CONTENT_TYPE);
    if call.body.bytes == 0 || !typed {
        return Err(Problem::bad_request("An upload has a Content-Type and a body."));
    }
    let id = uuid_of(&format!("{kind}/{}", call.body.sha256));
    let received = BTreeMap::from([
        ("id", json!(id)),
        ("correlationId", json!(id)),
        ("bytes", json!(call.body.bytes)),
        ("sha256", json!(call.body.sha256)),
    ]);
    Ok(answer::json(StatusCode::OK, &received))
}

/// `/api/v2/downloads/{id}`: 303 to a signed URL, or with `issueRedirect=false` the URL itself.
pub(super) fn download(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    let storage = call.site.world.storage;
    let url = format!("http://{storage}/files/{id}?X-Amz-Signature={}", signature(id));
    if query(&call.head, "issueRedirect").as_deref() == Some("false") {
        return Ok(answer::json(StatusCode::OK, &json!({"url": url})));
    }
    Ok(with(answer::empty(StatusCode::SEE_OTHER), header::LOCATION, &url))
}
