//! The rest of an answer whose call goes on: thrown away, or kept in case that there is no other.
//! It never reads for longer, or more, than a connection is worth.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::upstream::answer::{Answered, Body};

/// An error answer larger than this is not worth reading to save its connection.
const MAX_DRAIN: usize = 64 * 1024;
/// Nor is one that takes longer.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(250);

/// Reads a small answer to its end, so that its connection can be used again.
pub(super) async fn discard(answer: Box<Answered>) {
    let mut body = answer.body;
    if body.worth_reading() {
        // One that takes longer is cut, and its connection with it.
        let _ = read(&mut body, &mut |_| ()).await;
    }
}

/// An answer that was to be kept.
pub(super) enum Rest {
    /// All of it is here.
    Whole(Box<Answered>),
    /// It is too large, or too slow. What was read of it comes first.
    Coming(Box<Answered>),
    /// It was cut.
    Cut,
}

/// Reads a small answer to its end, so that it can be held back. Unread it would keep a connection
/// from others for as long as its call waits; over HTTP/2, a part of the one that all share.
pub(super) async fn keep(answer: Box<Answered>) -> Rest {
    let Answered { parts, told, mut body } = *answer;
    let mut begun = Vec::new();
    let whole = read(&mut body, &mut |data| begun.extend_from_slice(data)).await;
    // Without what the vector has to spare.
    let body = body.after(begun.into_boxed_slice().into());
    let answer = Box::new(Answered { parts, told, body });
    match whole {
        Some(Ok(())) => Rest::Whole(answer),
        None => Rest::Coming(answer),
        Some(Err(())) => Rest::Cut,
    }
}

/// Reads to the end. `None`: it is not near enough. Trailers may be left out (RFC 9110 section
/// 6.5.1).
async fn read(body: &mut Body, take: &mut impl FnMut(&[u8])) -> Option<Result<(), ()>> {
    let all = async {
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Some(Err(())) };
            if let Some(data) = frame.data_ref() {
                take(data);
                seen += data.len();
            }
            if seen > MAX_DRAIN {
                return None;
            }
        }
        Some(Ok(()))
    };
    timeout(MAX_DRAIN_TIME, all).await.ok().flatten()
}
