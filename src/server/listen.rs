//! Sockets that callers connect to, one a worker where the kernel can spread them.
//! It never accepts: workers do.

use std::{
    fs::Permissions,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{StartError, inherited::Inherited};
use crate::config::Listen;

/// Connections that may wait to be accepted. The kernel caps it (net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// Bytes of an answer that a socket takes ahead of its caller. The kernel's own bound is megabytes,
/// and all sockets of the machine share its memory: without it, some hundred callers that read
/// nothing slow down every connection there is. What is on its way does not count.
const AHEAD: u32 = 128 * 1024;

/// A listener of one worker, not yet registered with a runtime.
#[derive(Debug)]
pub enum Listener {
    /// Its own socket; the kernel spreads connections (`SO_REUSEPORT`).
    Tcp(TcpListener),
    /// A duplicate of the one socket that was handed over: whoever did keeps it open between two
    /// gateways, so that callers wait instead of being refused.
    Inherited(TcpListener),
    /// A duplicate of the one socket: unix sockets cannot be spread.
    Unix(UnixListener),
}

/// Every configured address, bound once, so that a port in use is noticed before anything starts.
#[derive(Debug)]
pub struct Bound(Vec<(usize, Listener)>);

impl Bound {
    /// Binds all that were not `inherited`, or says which one failed. `others` are the other
    /// organisations' own; the first one's number is 0.
    pub fn all<'l>(
        first: &'l [Listen],
        others: impl Iterator<Item = &'l [Listen]>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let mut bind = |listen: &Listen| match listen {
            Listen::Tcp(address) => match inherited.tcp(*address) {
                Some(ours) => ready(ours).map(Listener::Inherited),
                None => alone(*address).and_then(|()| tcp(*address)).map(Listener::Tcp),
            }
            .map_err(|source| StartError::Listen { address: address.to_string(), source }),
            Listen::Unix(path) => match inherited.unix(path) {
                // Who may connect, whoever made it has decided.
                Some(ours) => ours.set_nonblocking(true).map(|()| ours),
                None => unix(path),
            }
            .map(Listener::Unix)
            .map_err(|source| StartError::Listen {
                address: format!("unix:{}", path.display()),
                source,
            }),
        };
        let all = std::iter::once(first).chain(others).enumerate();
        all.flat_map(|(org, listen)| listen.iter().map(move |listen| (org, listen)))
            .map(|(org, listen)| Ok((org, bind(listen)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The TCP addresses, port 0 resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|(_, listener)| address(listener)).collect()
    }

    /// Those of one organisation.
    pub fn addresses_of(&self, org: usize) -> Vec<SocketAddr> {
        let own = self.0.iter().filter(|(of, _)| *of == org);
        own.filter_map(|(_, listener)| address(listener)).collect()
    }

    /// Another set of listeners for the same addresses.
    pub fn duplicate(&self) -> io::Result<Vec<(usize, Listener)>> {
        let again = |listener: &Listener| match listener {
            Listener::Tcp(first) => tcp(first.local_addr()?).map(Listener::Tcp),
            Listener::Inherited(first) => first.try_clone().map(Listener::Inherited),
            Listener::Unix(first) => first.try_clone().map(Listener::Unix),
        };
        self.0.iter().map(|(org, first)| Ok((*org, again(first)?))).collect()
    }

    /// The sockets themselves, for the last worker.
    pub fn into_inner(self) -> Vec<(usize, Listener)> {
        self.0
    }
}

fn address(listener: &Listener) -> Option<SocketAddr> {
    match listener {
        Listener::Tcp(tcp) | Listener::Inherited(tcp) => tcp.local_addr().ok(),
        Listener::Unix(_) => None,
    }
}

/// Nobody else listens there. `SO_REUSEPORT` would let a second gateway in, and the kernel would
/// give each of them half of the callers.
fn alone(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it. What cannot be set is a loss, not an error.
    socket.set_tcp_notsent_lowat(AHEAD).ok();
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One that was handed over, as ours are.
fn ready(listener: TcpListener) -> io::Result<TcpListener> {
    let socket = Socket::from(listener);
    socket.set_nonblocking(true)?;
    socket.set_tcp_notsent_lowat(AHEAD).ok();
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    // A socket that a killed process left behind is in the way; anything else is somebody's file.
    if let Ok(metadata) = path.symlink_metadata()
        && metadata.file_type().is_socket()
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Whoever connects uses our credentials: owner and group as the umask says, others never. Set
    // before `listen`, so that nobody slips in.
    let mode = path.metadata()?.permissions().mode() & 0o770;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(listen: &[Listen]) -> Result<Bound, StartError> {
        Bound::all(listen, std::iter::empty(), &mut Inherited::default())
    }

    #[test]
    fn port_zero_is_resolved_and_shared_by_all_workers() {
        let bound = all(&[Listen::Tcp("127.0.0.1:0".parse().unwrap())]).unwrap();
        let [address] = bound.addresses()[..] else { panic!() };
        let again = bound.duplicate().unwrap();
        let Some((0, Listener::Tcp(second))) = again.first() else { panic!() };
        assert_eq!(second.local_addr().unwrap(), address);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let listen = [Listen::Unix(dir.path().join("gateway.sock"))];
        drop(all(&listen).unwrap());
        let alive = all(&listen).unwrap();
        assert!(all(&listen).is_err());
        drop(alive);
    }
}
