//! What a connection tells of who has opened it.
//! It never knows a caller: who it is, each organisation says for itself.

use std::net::IpAddr;

use tokio::net::UnixStream;

use crate::{config::CertName, decide::callers::Peer};

/// What a connection tells of who has opened it. Who that is, each organisation says for itself.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its own address or user; nobody else's word for it is taken.
    pub peer: Peer,
    /// The names in the certificate that it has proved to have.
    pub(super) certificate: Box<[CertName]>,
}

impl Connected {
    /// Over TCP.
    pub fn at(address: IpAddr) -> Self {
        Self::showing(address, Vec::new())
    }

    /// Over TLS, with a certificate that was verified.
    pub fn showing(address: IpAddr, names: Vec<CertName>) -> Self {
        Self { peer: Peer::Address(address.to_canonical()), certificate: names.into() }
    }

    /// On a unix socket: the user, if the system tells (`SO_PEERCRED`).
    pub fn on(socket: &UnixStream) -> Self {
        let user = socket.peer_cred().map_or(Peer::Unknown, |user| Peer::User(user.uid()));
        Self { peer: user, certificate: Box::default() }
    }

    /// Nobody knows who, for tests.
    #[cfg(test)]
    pub fn unknown() -> Self {
        Self { peer: Peer::Unknown, certificate: Box::default() }
    }
}
