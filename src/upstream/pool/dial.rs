//! How a pool comes by a connection.
//! It never makes a dial that others wait for a part of one request.

use std::{fmt, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{Lease, Life, Parked, Pool, Shared, State, Ticket};
use crate::{
    config::Origin,
    upstream::{
        connect::{ConnectError, Protocol},
        http1::Connection,
    },
};

/// How a pool comes by a connection.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// What HTTP is spoken over.
    type Stream: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + 'static;

    /// A new one to `origin`. `http1` insists on HTTP/1.1, for upgrades.
    fn dial(
        &self,
        origin: &Origin,
        http1: bool,
    ) -> impl Future<Output = Result<(Self::Stream, Protocol), ConnectError>> + Send;
}

/// A dial in the background, until it has ended one way or the other.
struct Dialling<C: Dial>(Arc<Pool<C>>);

impl<C: Dial> Drop for Dialling<C> {
    fn drop(&mut self) {
        self.0.state().dialling -= 1;
        self.0.changed.notify_waiters();
    }
}

impl<C: Dial> Pool<C> {
    /// A connection for whoever comes first. Not part of a request: whoever leaves does not end
    /// the dial that others wait for.
    pub(super) fn dial_ahead(self: &Arc<Self>, state: &mut State<C::Stream>) {
        state.dialling += 1;
        let dialling = Dialling(Arc::clone(self));
        self.tasks.spawn(async move {
            let pool = &dialling.0;
            let dialled = async {
                match pool.open(false).await? {
                    Opened::Http1(connection, life) => {
                        let (since, fresh, served) = (life.born, true, false);
                        let parked = Parked { connection, life, since, fresh, served };
                        pool.state().parked.push(parked);
                    }
                    Opened::Http2(shared) => pool.state().shared.push(shared),
                }
                Ok(())
            };
            let dialled = dialled.await;
            pool.warm.dialled(dialled.as_ref().err());
            let now = Instant::now();
            let mut state = pool.state();
            if dialled.is_err() {
                state.tries.failed(now, fastrand::f64());
            }
            state.failed = dialled.err().map(|error| (now, error));
        });
    }

    pub(super) async fn dial(self: &Arc<Self>, http1: bool) -> Result<Lease<C>, ConnectError> {
        match self.open(http1).await? {
            Opened::Http1(connection, life) => {
                let ticket = Ticket { pool: Arc::clone(self), life, reused: false };
                Ok(Lease::Http1 { connection, ticket })
            }
            Opened::Http2(mut shared) => {
                let lease = shared.lease();
                self.state().shared.push(shared);
                Ok(lease)
            }
        }
    }

    async fn open(&self, http1: bool) -> Result<Opened<C::Stream>, ConnectError> {
        let (stream, protocol) = self.connector.dial(&self.origin, http1).await?;
        let life = Life::new(Instant::now(), fastrand::f64());
        let opened = match protocol {
            Protocol::Http1 => Opened::Http1(Connection::new(stream), life),
            Protocol::Http2 => {
                Opened::Http2(Shared::handshake(stream, life, &self.changed, &self.tasks).await?)
            }
        };
        if !http1 {
            self.state().speaks = Some(protocol);
        }
        Ok(opened)
    }
}

/// A connection that nobody has yet.
enum Opened<S> {
    Http1(Box<Connection<S>>, Life),
    Http2(Shared),
}
