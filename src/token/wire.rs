//! How the authorization server and the API are spoken to, besides traffic.
//! It never follows a redirect, reads proxy variables, repeats itself, or reads an answer without end.

use std::time::Duration;

use secrecy::{ExposeSecret, zeroize::Zeroizing};
use url::Url;

use super::{
    answer::MAX_ANSWER,
    error::{Kind, MintError},
    issuer::Login,
};
use crate::{
    config::{Origin, OutboundProxy},
    telemetry::causes::innermost,
};

/// How connections are made, to the authorization server and to the API.
#[derive(Debug, Clone)]
pub struct Network<'n> {
    /// TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// For `https` only.
    pub proxy: Option<&'n OutboundProxy>,
    /// The roots that upstream is verified with.
    pub tls: rustls::ClientConfig,
    /// Where `/api/v2/tokens/me` is.
    pub api: &'n Origin,
}

impl Login {
    /// The whole body, up to `most` bytes.
    pub(super) async fn body(
        &self,
        response: &mut reqwest::Response,
        url: &Url,
        most: usize,
    ) -> Result<Zeroizing<Vec<u8>>, MintError> {
        // A token's answer never outgrows it: what a vector leaves behind is not zeroed.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                    let why = format!("the answer of {} is larger than {most} bytes", host(url));
                    return Err(MintError::new(Kind::BadAnswer, why));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() => return Err(self.unreachable(url, &error)),
                Err(error) => {
                    let (host, cause) = (host(url), innermost(&error));
                    let why = format!("the answer of {host} was cut before its end: {cause}");
                    return Err(MintError::new(Kind::BadAnswer, why));
                }
            }
        }
    }

    /// The host and the innermost cause: what reqwest says in between repeats itself.
    pub(super) fn unreachable(&self, url: &Url, error: &reqwest::Error) -> MintError {
        let host = host(url);
        // Which of the two names does not resolve, or does not answer, the cause does not say.
        let via =
            if self.proxied && url.scheme() == "https" { " through upstream.proxy" } else { "" };
        let cause = innermost(error);
        if error.is_timeout() {
            return MintError::new(Kind::Timeout, format!("{host} did not answer in time{via}"));
        }
        let kind = if error.is_dns() { Kind::Dns } else { Kind::of_network(error) };
        let why = match kind {
            Kind::Dns => format!("{host}{via}: the name does not resolve: {cause}"),
            Kind::Tls(_) => format!("no TLS with {host}{via}: {cause}"),
            _ if error.is_connect() => format!("{host} cannot be reached{via}: {cause}"),
            _ => format!("{host} broke off before it answered{via}: {cause}"),
        };
        MintError::new(kind, why)
    }
}

/// A client that does nothing by itself; `timeout` is of a whole request.
pub(super) fn client_of(
    timeout: Duration,
    network: &Network<'_>,
    tls: rustls::ClientConfig,
) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .user_agent(concat!("genesys-proxy/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(network.connect_timeout)
        .timeout(timeout)
        .pool_max_idle_per_host(1);
    if let Some(proxy) = network.proxy {
        let mut via = reqwest::Proxy::https(proxy.origin.to_string())?;
        if let Some((user, password)) = &proxy.credentials {
            via = via.basic_auth(user, password.expose_secret());
        }
        builder = builder.proxy(via);
    }
    builder.build()
}

/// `login.mypurecloud.com`, with its port unless that is the usual one. For messages.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the endpoint");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
