//! How a worker's listeners let callers in.
//! It never lets in more than there are places for, and never sends away whom the kernel has let in.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{FIRST_WORD, Inside};
use crate::{
    gateway::{Caller, Place, identify::Connected},
    server::{connection, door::Door, listen::Listener, places::Seat, tls},
    telemetry::seldom::Seldom,
};

/// After an accept that failed for want of descriptors or memory: give them time to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Of all workers and listeners: they all want for the same.
static CANNOT_ACCEPT: Seldom = Seldom::new();

/// When a drain no longer waits for a first word.
async fn last_call(stop_accepting: CancellationToken) {
    stop_accepting.cancelled().await;
    sleep(FIRST_WORD).await;
}

impl Inside {
    pub(super) async fn accept(self: Arc<Self>, listener: Listener, door: Door) -> io::Result<()> {
        match listener {
            // Who stands in its line is the next gateway's.
            Listener::Inherited(listener) => {
                let listener = TcpListener::from_std(listener)?;
                self.let_in(&listener, &door).await;
            }
            Listener::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                self.let_in(&listener, &door).await;
                // Who has connected already is not sent away: the kernel said yes in our name.
                let listener = listener.into_std()?;
                while let Ok((stream, peer)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let Some(seat) = self.places.seat(peer.ip()) else { continue };
                    let Some(place) = seat.place_now() else { continue };
                    self.begin(TcpStream::from_std(stream)?, peer, place, &door);
                }
            }
            Listener::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                while let Some(accepted) = self.next(listener.accept()).await {
                    let Ok((stream, _)) = accepted else { continue };
                    let user = Connected::on(&stream);
                    let Some(place) = self.place(self.places.anywhere()).await else { continue };
                    self.serve(stream, Caller::new(place, user), &door);
                }
                let listener = listener.into_std()?;
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let stream = UnixStream::from_std(stream)?;
                    let user = Connected::on(&stream);
                    let Some(place) = self.places.anywhere().place_now() else { continue };
                    self.serve(stream, Caller::new(place, user), &door);
                }
            }
        }
        Ok(())
    }

    /// Until the drain begins.
    async fn let_in(self: &Arc<Self>, listener: &TcpListener, door: &Door) {
        while let Some(accepted) = self.next(listener.accept()).await {
            let Ok((stream, peer)) = accepted else { continue };
            let Some(seat) = self.places.seat(peer.ip()) else { continue };
            // A refusal costs latency, not correctness.
            let _ = stream.set_nodelay(true);
            let Some(place) = self.place(seat).await else { continue };
            self.begin(stream, peer, place, door);
        }
    }

    /// The next connection, or `None` when the drain begins.
    async fn next<T>(&self, accept: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let accepted = self.stop_accepting.run_until_cancelled(accept).await?;
        if let Err(error) = &accepted {
            let caller_left = matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            );
            if !caller_left {
                if let Some(left_out) = CANNOT_ACCEPT.say(Instant::now()) {
                    let what = "cannot accept: waiting for descriptors or memory";
                    tracing::warn!(%error, left_out, "{what}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
        Some(accepted)
    }

    /// The excess over `access.max_connections` waits here, and further ones in the kernel's backlog.
    async fn place(&self, seat: Seat) -> Option<Place> {
        tokio::select! {
            // First: who was accepted at the moment when the drain began, and finds room, is not sent away.
            biased;
            place = seat.place() => place,
            () = self.stop_accepting.cancelled() => None,
        }
    }

    /// Serves a TCP connection in its own task, its handshake included.
    fn begin(&self, stream: TcpStream, peer: SocketAddr, place: Place, door: &Door) {
        let Some(edge) = &self.edge else {
            self.serve(stream, Caller::new(place, Connected::at(peer.ip())), door);
            return;
        };
        let (edge, door) = (Arc::clone(edge), door.clone());
        let line = self.handshakes.line(peer.ip());
        let ticker = Arc::clone(&self.ticker);
        let last_call = last_call(self.stop_accepting.clone());
        self.connections.spawn(async move {
            let shared = Arc::clone(&door.owner().shared);
            let patience = shared.config.access.header_timeout;
            let handshake = edge.accept(stream, patience, &line);
            let stream = tokio::select! {
                ended = handshake => match ended {
                    Ok(stream) => stream,
                    Err(none) => {
                        shared.metrics.handshake_failed();
                        none.tell(peer);
                        return;
                    }
                },
                () = last_call => return,
            };
            let connected = Connected::showing(peer.ip(), tls::names(&stream));
            connection::serve(stream, door, ticker, Caller::new(place, connected)).await;
        });
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        caller: Caller,
        door: &Door,
    ) {
        let serve = connection::serve(stream, door.clone(), Arc::clone(&self.ticker), caller);
        self.connections.spawn(serve);
    }
}
