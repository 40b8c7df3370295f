//! An answer that began before its request had ended: both go on side by side, so that neither a
//! caller that sends everything before it reads, nor an upstream that does, waits for ever.
//! It never holds more than one piece of the answer that nobody has taken.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http_body::Frame;
use secrecy::zeroize::Zeroizing;
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    sync::mpsc,
    time::timeout,
};

use super::{Body, BodyError, Connection, upload::Upload};
use crate::upstream::replay::{Attempt, AttemptError};

/// How long the request may stand still: nobody waits for it, and upstream may never read it.
const STILL: Duration = Duration::from_secs(60);

/// An answer's body, and the rest of its request's.
#[derive(Debug)]
pub struct Both<S, B = Attempt> {
    pub(super) body: Body<S>,
    pub(super) upload: Upload<B>,
}

impl<S, B> Both<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes, Error = AttemptError> + Unpin,
{
    /// How long the answer is, if that was said.
    pub fn length(&self) -> Option<u64> {
        self.body.rest.length()
    }

    /// Carries both to their ends, or until nobody takes the answer. The connection, if the next request may use it.
    pub async fn carry(
        self,
        frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
    ) -> Option<Box<Connection<S>>> {
        let Self { body: Body { connection, rest, persists, .. }, mut upload } = self;
        let Connection { stream, mut out, read, expect, closed } = *connection;
        let (reader, mut writer) = split(stream);
        let halved = Connection { stream: reader, out: Zeroizing::default(), read, expect, closed };
        let mut body = Body::new(Box::new(halved), rest, persists);
        let up = async {
            // A request that breaks off, or stands still, does not take its answer with it.
            let sent = loop {
                let before = upload.sent();
                let sending = poll_fn(|cx| upload.poll(&mut writer, &mut out, cx));
                match timeout(STILL, sending).await {
                    Ok(sent) => break sent.is_ok(),
                    Err(_) if upload.sent() > before => {}
                    Err(_) => break false,
                }
            };
            Ok(sent && !upload.unheard())
        };
        let down = async {
            while !body.ended() {
                let place = frames.reserve().await.map_err(drop)?;
                let frame = tokio::select! {
                    frame = poll_fn(|cx| body.poll_frame(cx)) => frame,
                    () = frames.closed() => return Err(()),
                };
                match frame {
                    None => break,
                    Some(Ok(frame)) => place.send(Ok(frame)),
                    Some(Err(error)) => {
                        place.send(Err(error));
                        return Err(());
                    }
                }
            }
            // Told at once that it has ended, however long the request goes on.
            drop(frames);
            Ok(())
        };
        let (heard, ()) = tokio::try_join!(up, down).ok()?;
        body.persists &= heard;
        let Connection { stream, read, expect, closed, .. } = *body.finish()?;
        Some(Box::new(Connection { stream: stream.unsplit(writer), out, read, expect, closed }))
    }
}
