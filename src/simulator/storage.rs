//! The host that signed URLs point to: it gives files to whoever has the URL.
//! It must never need, or want, an Authorization header; one that comes is counted as a leak.

use http::{Request, StatusCode, header};

use super::{
    answer::{self, Answer, with},
    body,
    random::sha256,
    world::World,
};

/// The signature that makes a URL of this file good.
pub(super) fn signature(id: &str) -> String {
    sha256(format!("signed/{id}").as_bytes())
}

/// Answers a download.
pub(super) fn answer<B>(world: &World, request: &Request<B>) -> Answer {
    let leaked = request.headers().contains_key(header::AUTHORIZATION);
    world.with(|state, _| {
        state.report.counters.downloads += 1;
        state.report.counters.downloads_with_authorization += u64::from(leaked);
    });
    let id = request.uri().path().trim_start_matches("/files/");
    let signed = super::received::query(request, "X-Amz-Signature");
    if signed != Some(signature(id)) {
        let denied = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessDenied</Code>\
                      <Message>Access Denied</Message></Error>";
        let mut answer = answer::content("application/xml", body::full(denied));
        *answer.status_mut() = StatusCode::FORBIDDEN;
        return answer;
    }
    let answer = answer::content("text/csv", body::full(format!("id,name\n{id},export\n")));
    with(answer, header::CONTENT_DISPOSITION, "attachment; filename=\"export.csv\"")
}
