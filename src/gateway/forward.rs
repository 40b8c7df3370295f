//! One try: a signed request goes out, an answer's head or the reason for none comes back.
//! It never judges the answer, and never tries again.

use std::{
    error::Error as _,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Request;
use hyper::client::conn::TrySendError;

use super::{credential::Signed, interim::Before};
use crate::decide::answer::Head;
use crate::upstream::{
    answer::Answered,
    connect::ConnectError,
    deadline::Deadlines,
    http1::Failed,
    replay::{Attempt, AttemptError, Replay},
};

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// There is no connection to send it on.
    NoConnection(ConnectError),
    /// Nothing of the request reached upstream, or it was refused unprocessed.
    Unsent,
    /// The connection broke; the request may have arrived.
    Cut {
        /// The connection had carried requests before.
        reused: bool,
    },
    /// No head within `upstream.response_timeout`.
    Timeout,
    /// A head that cannot be passed on safely.
    BadAnswer,
    /// The caller's body ended the try.
    Caller,
}

/// How long a try may stand still.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// The worker's deadlines.
    pub deadlines: &'a Arc<Deadlines>,
    /// `upstream.response_timeout`.
    pub timeout: Duration,
}

/// Sends it. The clock runs while neither the upload nor the answer moves. What upstream says before
/// its answer goes to `interim`.
pub async fn forward(
    signed: Signed,
    interim: Option<Before<'_>>,
    body: &Replay,
    patience: Patience<'_>,
) -> Result<Box<Answered>, Broken> {
    match signed {
        Signed::Http1(mut exchange, ticket) => {
            let mut say = |head: &Head| {
                if let Some(interim) = &interim {
                    interim.push(head.status, &head.fields);
                }
            };
            let polled = patience.within(body, |cx| exchange.poll_answer(cx, &mut say)).await?;
            match polled {
                Ok(head) => Ok(Box::new(Answered::http1(head, *exchange, ticket))),
                Err(failed) => Err(broken_http1(&failed, ticket.reused)),
            }
        }
        Signed::Http2(request, mut sender, stream) => {
            let mut sent = Box::pin(sender.try_send_request(*request));
            match patience.within(body, |cx| sent.as_mut().poll(cx)).await? {
                Ok(answer) => Ok(Box::new(Answered::http2(answer, stream))),
                Err(failed) => Err(broken_http2(failed, stream.reused)),
            }
        }
    }
}

impl Patience<'_> {
    /// Polls until there is an answer, or no hope of one. It takes no future: it would be moved
    /// whole.
    async fn within<T>(
        self,
        body: &Replay,
        mut answer: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Broken> {
        let mut deadline = self.deadlines.after(self.timeout);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer(cx) {
                return Poll::Ready(Ok(answer));
            }
            ready!(deadline.poll_passed(cx));
            // An upload that moved since is not an answer that is late.
            match body.still().and_then(|still| self.timeout.checked_sub(still)) {
                Some(left) if !left.is_zero() => {
                    deadline.restart(left);
                    deadline.poll_passed(cx).map(|()| Err(Broken::Timeout))
                }
                Some(_) | None => Poll::Ready(Err(Broken::Timeout)),
            }
        })
        .await
    }
}

fn broken_http1(failed: &Failed, reused: bool) -> Broken {
    tracing::debug!(error = %failed, reused, "upstream request failed");
    match failed {
        Failed::Unsent => Broken::Unsent,
        Failed::Cut(_) => Broken::Cut { reused },
        Failed::Refused(_) => Broken::BadAnswer,
        Failed::Caller(_) => Broken::Caller,
    }
}

fn broken_http2(mut failed: TrySendError<Request<Attempt>>, reused: bool) -> Broken {
    if failed.take_message().is_some() {
        return Broken::Unsent;
    }
    let error = failed.into_error();
    let mut source = error.source();
    while let Some(link) = source {
        if link.is::<AttemptError>() {
            return Broken::Caller;
        }
        if let Some(reset) = link.downcast_ref::<h2::Error>() {
            // RFC 9113 sections 6.8 and 8.7: not processed, safe to send again.
            let not_taken = reset.reason() == Some(h2::Reason::REFUSED_STREAM);
            if not_taken || (reset.is_go_away() && reset.is_remote()) {
                return Broken::Unsent;
            }
        }
        source = link.source();
    }
    tracing::debug!(%error, reused, "upstream request failed");
    Broken::Cut { reused }
}
