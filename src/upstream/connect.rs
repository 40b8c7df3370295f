//! One connection to an origin: TCP (or CONNECT through a proxy), then TLS.
//! It never pools, and never speaks HTTP beyond the CONNECT.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use super::{pool::Dial, read_ahead::ReadAhead, tcp::Tcp};
use crate::config::{Http2, Origin, OutboundProxy, Scheme};

/// What the two ends agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// Why there is no connection. Nothing of a request was sent. Told to everybody who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// `upstream.connect_timeout` went by.
    #[error("connecting took longer than upstream.connect_timeout")]
    Timeout,
    /// DNS, TCP, or the outbound proxy.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Handshake or certificate.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The HTTP handshake failed.
    #[error("HTTP handshake failed: {0}")]
    Http(String),
}

/// How to dial; shared by the pools of a worker.
#[derive(Clone)]
pub struct Connector {
    tcp: Tcp,
    proxy: Option<Tunnel<Tcp>>,
    tls: TlsConnector,
    tls_http1: TlsConnector,
    http2: Http2,
    timeout: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("http2", &self.http2).finish_non_exhaustive()
    }
}

impl Connector {
    /// `tls` without ALPN: it is set here, by `http2`.
    pub fn new(
        tls: &ClientConfig,
        http2: Http2,
        proxy: Option<&OutboundProxy>,
        timeout: Duration,
    ) -> Self {
        let tcp = Tcp::new();
        let with_alpn = |protocols: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(tls))
        };
        Self {
            proxy: proxy.map(|proxy| tunnel(proxy, tcp.clone())),
            tcp,
            tls: match http2 {
                Http2::Auto => with_alpn(&[b"h2", b"http/1.1"]),
                Http2::Never => with_alpn(&[b"http/1.1"]),
                Http2::Always => with_alpn(&[b"h2"]),
            },
            tls_http1: with_alpn(&[b"http/1.1"]),
            http2,
            timeout,
        }
    }

    async fn connect(
        &self,
        origin: &Origin,
        http1: bool,
    ) -> Result<(Stream, Protocol), ConnectError> {
        let tcp = self.tcp(origin).await?;
        if origin.scheme == Scheme::Http {
            let http2 = self.http2 == Http2::Always && !http1;
            let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            return Ok((Stream::Plain(tcp), protocol));
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        let tls = if http1 { &self.tls_http1 } else { &self.tls };
        let stream = tls.connect(name, ReadAhead::new(tcp)).await;
        let stream = stream.map_err(|error| ConnectError::Tls(error.to_string()))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ if self.http2 == Http2::Always && !http1 => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((Stream::Tls(Box::new(stream)), protocol))
    }

    async fn tcp(&self, origin: &Origin) -> Result<TcpStream, ConnectError> {
        match &self.proxy {
            // A proxy is for the way out; plain http is loopback only and stays inside.
            Some(proxy) if origin.scheme == Scheme::Https => {
                let uri: Uri = origin
                    .to_string()
                    .parse()
                    .map_err(|error| ConnectError::Unreachable(format!("{origin}: {error}")))?;
                let stream = proxy.clone().call(uri).await.map_err(|error| deepest(&error))?;
                Ok(stream.into_inner())
            }
            _ => {
                let connected = self.tcp.connect(&origin.host, origin.port).await;
                connected.map_err(|error| deepest(&error))
            }
        }
    }
}

impl Dial for Connector {
    type Stream = Stream;

    async fn dial(&self, origin: &Origin, http1: bool) -> Result<(Stream, Protocol), ConnectError> {
        let connecting = self.connect(origin, http1);
        timeout(self.timeout, connecting).await.unwrap_or(Err(ConnectError::Timeout))
    }
}

fn tunnel(proxy: &OutboundProxy, tcp: Tcp) -> Tunnel<Tcp> {
    let uri = proxy.origin.to_string().parse().unwrap_or_else(|_| Uri::from_static("/"));
    let tunnel = Tunnel::new(uri, tcp);
    let Some((user, password)) = &proxy.credentials else { return tunnel };
    let encoded = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    match HeaderValue::try_from(format!("Basic {encoded}")) {
        Ok(mut value) => {
            value.set_sensitive(true);
            tunnel.with_auth(value)
        }
        Err(_) => tunnel,
    }
}

/// The last source says what happened; the ones above repeat "error trying to connect".
fn deepest(error: &(dyn std::error::Error + 'static)) -> ConnectError {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    ConnectError::Unreachable(deepest.to_string())
}

/// Plain or TLS, without a vtable on every read.
#[derive(Debug)]
pub enum Stream {
    /// Loopback only.
    Plain(TcpStream),
    /// Everything else.
    Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
