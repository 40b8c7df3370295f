//! `/api/v2/upgrade`: leaves HTTP as a WebSocket handshake does, then returns every byte.
//! It must never outlive the simulator: a tunnel is tracked, and cut at its end.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{
    super::{
        answer::{self, Problem, with},
        journey::Call,
    },
    Outcome, only,
};

/// What RFC 6455 1.3 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 101 and an echo of raw bytes, or 426.
pub(super) fn answer(call: &Call) -> Outcome {
    only(call, &[Method::GET])?;
    let headers = call.head.headers();
    let asked = headers
        .get(header::UPGRADE)
        .is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let Some(upgrade) = call.head.extensions().get::<OnUpgrade>().filter(|_| asked).cloned() else {
        let answer = Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade.required",
            "Ask with Connection: upgrade and Upgrade: websocket.",
        )
        .answer(&call.id);
        return Ok(with(answer, header::UPGRADE, "websocket"));
    };
    let stop = call.site.stop.now.clone();
    call.site.tasks.spawn(async move {
        tokio::select! {
            () = echo(upgrade) => {}
            () = stop.cancelled() => {}
        }
    });
    let answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let answer = with(answer, header::CONNECTION, "upgrade");
    let answer = with(answer, header::UPGRADE, "websocket");
    Ok(match headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()) {
        Some(key) => with(answer, header::SEC_WEBSOCKET_ACCEPT, &accept(key)),
        None => answer,
    })
}

/// Either side may leave at any time; that ends the tunnel and is nobody's failure.
async fn echo(upgrade: OnUpgrade) {
    let Ok(tunnel) = upgrade.await else { return };
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(tunnel));
    if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
        tokio::io::AsyncWriteExt::shutdown(&mut writer).await.ok();
    }
}

/// `Sec-WebSocket-Accept` for a key.
fn accept(key: &str) -> String {
    let joined = format!("{key}{GUID}");
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_handshake_is_the_one_of_rfc_6455() {
        assert_eq!(super::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
