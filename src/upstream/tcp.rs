//! One TCP connection to a name: asked of the resolver each time, so that a change of DNS is
//! followed, and raced over its addresses (RFC 8305), so that one of them that is dead costs 250 ms.
//! It never remembers an address, and never waits without the caller's deadline.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::sleep};
use tower_service::Service;

/// RFC 8305 section 5: the head start of an address before the next one.
const HEAD_START: Duration = Duration::from_millis(250);
/// A peer that is gone without a word is noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Future<T> = Pin<Box<dyn std::future::Future<Output = io::Result<T>> + Send>>;
type Lookup = dyn Fn(String, u16) -> Future<Vec<SocketAddr>> + Send + Sync;

/// Connects to names.
#[derive(Clone)]
pub struct Tcp {
    lookup: Arc<Lookup>,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").finish_non_exhaustive()
    }
}

impl Tcp {
    /// By the system's resolver: `/etc/hosts`, DNS, in its order (RFC 6724).
    pub fn new() -> Self {
        Self::resolving(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        })
    }

    /// By a resolver of one's own.
    pub fn resolving(
        lookup: impl Fn(String, u16) -> Future<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup) }
    }

    /// The first address that answers. `host` is a name or an address without brackets.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = (self.lookup)(host.to_owned(), port).await?;
        let stream = race(addresses, TcpStream::connect).await?;
        stream.set_nodelay(true)?;
        // What cannot be set is a loss, not an error.
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)).ok();
        Ok(stream)
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self::new()
    }
}

/// As the CONNECT tunnel of `hyper-util` wants it.
impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Future<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tcp = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            Ok(TokioIo::new(tcp.connect(host, uri.port_u16().unwrap_or(80)).await?))
        })
    }
}

/// The families by turns, the first one first (RFC 8305 section 4): one that leads nowhere must not
/// use up the time of the other.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(one.len() + other.len());
    loop {
        let (a, b) = (one.next(), other.next());
        if a.is_none() && b.is_none() {
            return ordered;
        }
        ordered.extend(a.into_iter().chain(b));
    }
}

/// The first that succeeds; each begins when the one before has failed or had its head start. When
/// all fail, the first one's reason. Who loses is dropped.
async fn race<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: std::future::Future<Output = io::Result<T>>,
{
    let mut waiting = alternating(addresses).into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut first_error = None;
    loop {
        if let Some(address) = waiting.next() {
            running.push(Box::pin(connect(address)));
        } else if running.is_empty() {
            return Err(first_error.unwrap_or_else(|| io::Error::other("the name has no address")));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            biased;
            ended = any(&mut running) => match ended {
                Ok(winner) => return Ok(winner),
                Err(error) => drop(first_error.get_or_insert(error)),
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
}

/// The outcome of the first that ends, which leaves.
async fn any<T>(running: &mut Vec<Pin<Box<impl std::future::Future<Output = T>>>>) -> T {
    poll_fn(|cx| {
        let ended = running.iter_mut().enumerate().find_map(|(at, future)| {
            match future.as_mut().poll(cx) {
                Poll::Ready(outcome) => Some((at, outcome)),
                Poll::Pending => None,
            }
        });
        match ended {
            Some((at, outcome)) => {
                drop(running.remove(at));
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{
        net::TcpListener,
        time::{Instant, timeout},
    };

    use super::*;

    fn address(number: u8) -> SocketAddr {
        match number {
            6 => ([0, 0, 0, 0, 0, 0, 0, 6], 1).into(),
            number => ([127, 0, 0, number], 1).into(),
        }
    }

    /// How an address behaves, by its last byte: 1 answers after 10 ms, 2 refuses at once, 3 never
    /// says anything, 4 answers after 400 ms, 5 resets at once, 6 is of IPv6 and says nothing.
    async fn scripted(address: SocketAddr) -> io::Result<SocketAddr> {
        let millis = match address.ip().to_string().as_bytes().last() {
            Some(b'1') => 10,
            Some(b'2') => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(b'4') => 400,
            Some(b'5') => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => pending().await,
        };
        sleep(Duration::from_millis(millis)).await;
        Ok(address)
    }

    async fn raced(script: &[u8]) -> (io::Result<u8>, u128) {
        let begin = Instant::now();
        let winner = race(script.iter().map(|number| address(*number)).collect(), scripted).await;
        let number = winner.map(|winner| match winner.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        });
        (number, begin.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_its_head_start_and_a_refusal_nothing() {
        for (script, winner, millis) in [
            (&[1, 3][..], 1, 10),
            (&[2, 2, 1], 1, 10),
            (&[3, 1], 1, 260),
            (&[3, 3, 3, 1], 1, 760),
            (&[3, 2, 1], 1, 260),
            // Slow is not dead: the later one wins only if it is first.
            (&[4, 3, 3], 4, 400),
            (&[4, 1], 1, 260),
            // Nor does a family that leads nowhere keep the other waiting.
            (&[6, 6, 6, 1], 1, 260),
        ] {
            let (won, took) = raced(script).await;
            assert_eq!((won.unwrap(), took), (winner, millis), "{script:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_answers_the_first_reason_is_told() {
        let (lost, took) = raced(&[2, 5]).await;
        assert_eq!((lost.unwrap_err().kind(), took), (io::ErrorKind::ConnectionRefused, 0));
        assert!(raced(&[]).await.0.unwrap_err().to_string().contains("no address"));
        let hangs = timeout(Duration::from_secs(5), raced(&[2, 3])).await;
        assert!(hangs.is_err(), "the caller's deadline ends it");
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let v4 = |number: u8| SocketAddr::from(([10, 0, 0, number], 443));
        let v6 = |number: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, number], 443));
        let resolved = vec![v6(1), v6(2), v6(3), v4(1)];
        assert_eq!(alternating(resolved), [v6(1), v4(1), v6(2), v6(3)]);
        let resolved = vec![v4(1), v4(2), v6(1), v6(2)];
        assert_eq!(alternating(resolved), [v4(1), v6(1), v4(2), v6(2)]);
        assert!(alternating(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn a_name_whose_first_address_refuses_is_connected_over_the_second() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = Tcp::resolving(|_, port| {
            Box::pin(async move {
                Ok(vec![([127, 0, 0, 9], port).into(), ([127, 0, 0, 1], port).into()])
            })
        });
        let stream = tcp.connect("api.example.com", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn the_resolver_is_asked_for_every_connection() {
        let (old, new) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let leads_to = Arc::new(Mutex::new(old.local_addr().unwrap()));
        let (answer, asked) = (Arc::clone(&leads_to), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let tcp = Tcp::resolving(move |host, port| {
            assert_eq!((host.as_str(), port), ("api.example.com", 443));
            count.fetch_add(1, Ordering::Relaxed);
            let address = *answer.lock().unwrap();
            Box::pin(async move { Ok(vec![address]) })
        });
        for listener in [&old, &old, &new] {
            *leads_to.lock().unwrap() = listener.local_addr().unwrap();
            let stream = tcp.connect("api.example.com", 443).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
