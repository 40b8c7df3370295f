//! One try: a signed request goes out, an answer's head or the reason for none comes back.
//! It never judges the answer, and never tries again.

use std::{
    error::Error as _,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use http::{Request, Response, StatusCode, header::CONTENT_LENGTH, response::Parts};
use hyper::{body::Incoming, client::conn::TrySendError};

use crate::{
    decide::headers::{self, AnswerFraming, Told},
    upstream::{
        deadline::Deadlines,
        pool::{Lease, StreamCount, Ticket},
        replay::{Attempt, AttemptError, Replay},
    },
};

/// What the connection becomes after the answer's last byte.
#[derive(Debug)]
pub enum After {
    /// An HTTP/1.1 connection that may carry the next request.
    Park(hyper::client::conn::http1::SendRequest<Attempt>, Ticket),
    /// A stream that ends by itself.
    Stream(StreamCount),
    /// A connection that nobody may use again.
    Close,
}

impl After {
    /// The answer was read to its end.
    pub fn finish(self) {
        match self {
            Self::Park(sender, ticket) => ticket.park(sender),
            Self::Stream(stream) => drop(stream),
            Self::Close => {}
        }
    }
}

/// Upstream's answer, its body still to come. Boxed where it travels: it passes through many
/// hands.
#[derive(Debug)]
pub struct Answered {
    /// Status and fields, framing resolved, hop-by-hop fields gone.
    pub parts: Parts,
    /// What the fields said to us.
    pub told: Told,
    /// The body.
    pub body: Incoming,
    /// What happens to the connection afterwards.
    pub after: After,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
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

/// Sends `request` over `lease`. The clock runs while neither the upload nor the answer moves.
pub async fn forward(
    lease: Lease,
    request: Request<Attempt>,
    body: &Replay,
    patience: Patience<'_>,
) -> Result<Box<Answered>, Broken> {
    match lease {
        Lease::Http1 { mut sender, ticket } => {
            let sent = patience.within(body, sender.try_send_request(request)).await?;
            let answer = sent.map_err(|failed| broken(failed, ticket.reused))?;
            http1_answer(answer, sender, ticket)
        }
        Lease::Http2 { mut sender, stream } => {
            let sent = patience.within(body, sender.try_send_request(request)).await?;
            let answer = sent.map_err(|failed| broken(failed, stream.reused))?;
            let (mut parts, body) = answer.into_parts();
            let told = headers::strip_response(&mut parts.headers);
            Ok(Box::new(Answered { parts, told, body, after: After::Stream(stream) }))
        }
    }
}

impl Patience<'_> {
    async fn within<T>(self, body: &Replay, answer: impl Future<Output = T>) -> Result<T, Broken> {
        let mut answer = pin!(answer);
        let mut deadline = self.deadlines.after(self.timeout);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
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

fn http1_answer(
    answer: Response<Incoming>,
    sender: hyper::client::conn::http1::SendRequest<Attempt>,
    ticket: Ticket,
) -> Result<Box<Answered>, Broken> {
    let (mut parts, body) = answer.into_parts();
    let told = headers::strip_response(&mut parts.headers);
    let after = match told.framing {
        AnswerFraming::Plain if parts.status == StatusCode::SWITCHING_PROTOCOLS => After::Close,
        AnswerFraming::Plain => After::Park(sender, ticket),
        AnswerFraming::BothLengths => {
            headers::drop_all(&mut parts.headers, &CONTENT_LENGTH);
            After::Close
        }
        AnswerFraming::UnknownCoding => return Err(Broken::BadAnswer),
    };
    Ok(Box::new(Answered { parts, told, body, after }))
}

fn broken(mut failed: TrySendError<Request<Attempt>>, reused: bool) -> Broken {
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
    if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        Broken::BadAnswer
    } else {
        Broken::Cut { reused }
    }
}
