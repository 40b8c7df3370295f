//! Listening sockets that whoever started the gateway opened for it: systemd's socket units.
//! It never listens where the configuration does not say: a socket that is in no `listen` ends the start.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use listenfd::ListenFd;
use socket2::SockRef;

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

/// What was handed over and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Datagrams, a pipe, a file.
    #[error("what was handed over as number {0} (from 0) is no listening stream: {1}")]
    Kind(usize, io::Error),
    /// Whoever handed them over means another configuration.
    #[error(
        "a socket was handed over for {0}, which is in no `listen` and is not `admin`: write it \
         there, or take it out of the socket unit"
    )]
    Unnamed(String),
}

impl Inherited {
    /// Those that `LISTEN_FDS` tells of, unless they are another process's (`LISTEN_PID`).
    pub fn of_process() -> Result<Self, Unusable> {
        let mut all = ListenFd::from_env();
        let mut inherited = Self::default();
        for n in 0..all.len() {
            inherited.take(&mut all, n).map_err(|error| Unusable::Kind(n, error))?;
        }
        Ok(inherited)
    }

    fn take(&mut self, all: &mut ListenFd, n: usize) -> io::Result<()> {
        if let Ok(Some(tcp)) = all.take_tcp_listener(n) {
            listens(&SockRef::from(&tcp))?;
            self.tcp.push(tcp);
        } else if let Some(unix) = all.take_unix_listener(n)? {
            listens(&SockRef::from(&unix))?;
            self.unix.push(unix);
        }
        Ok(())
    }

    /// The one that listens there, which is taken.
    pub fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is = |tcp: &TcpListener| tcp.local_addr().is_ok_and(|its| its == address);
        let n = self.tcp.iter().position(is)?;
        Some(self.tcp.swap_remove(n))
    }

    /// The same for a unix socket.
    pub fn unix(&mut self, path: &Path) -> Option<UnixListener> {
        let is = |unix: &UnixListener| {
            unix.local_addr().is_ok_and(|its| its.as_pathname() == Some(path))
        };
        let n = self.unix.iter().position(is)?;
        Some(self.unix.swap_remove(n))
    }

    /// All have been taken.
    pub fn is_used_up(&self) -> Result<(), Unusable> {
        let unknown = |_| "an address that the system does not tell".to_owned();
        if let Some(tcp) = self.tcp.first() {
            let address = tcp.local_addr().map_or_else(unknown, |address| address.to_string());
            return Err(Unusable::Unnamed(address));
        }
        let Some(unix) = self.unix.first() else { return Ok(()) };
        let path = unix.local_addr().map_or_else(unknown, |address| shown(address.as_pathname()));
        Err(Unusable::Unnamed(path))
    }
}

/// One that is connected, or only bound, takes nobody.
fn listens(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? { Ok(()) } else { Err(io::Error::other("it does not listen")) }
}

/// As `listen` says it.
fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "an abstract name".to_owned(), |path| format!("unix:{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_where_it_listens_and_what_is_left_is_named() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let mut inherited = Inherited { tcp: vec![tcp], unix: vec![unix] };
        assert!(inherited.tcp("127.0.0.1:1".parse().unwrap()).is_none());
        assert!(inherited.unix(Path::new("/nowhere")).is_none());
        let left = inherited.is_used_up().unwrap_err().to_string();
        assert!(left.contains(&address.to_string()), "{left}");
        assert!(inherited.tcp(address).is_some() && inherited.tcp(address).is_none());
        let left = inherited.is_used_up().unwrap_err().to_string();
        assert!(left.contains(&format!("unix:{}", path.display())), "{left}");
        assert!(inherited.unix(&path).is_some());
        inherited.is_used_up().unwrap();
    }
}
