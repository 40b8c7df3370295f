//! One plain call to the API with a token, for `check --live`.
//! It never carries traffic: that is the gateway's.

use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::issuer::{Login, MintError};
use crate::decide::permissions;

/// Genesys's answers about oneself have a few kilobytes.
const MAX_BODY: usize = 64 * 1024;

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The permissions that a 403 says are missing; empty when it does not say.
    pub fn missing(&self) -> Vec<String> {
        permissions::missing(&self.body).map(|missing| missing.permissions).unwrap_or_default()
    }
}

impl Login {
    /// `GET <api_url>/api/v2/tokens/me`: any token may look at itself, whatever its roles.
    ///
    /// # Errors
    /// When there is no answer: DNS, connection, TLS, time.
    pub async fn tokens_me(&self, authorization: &HeaderValue) -> Result<Seen, MintError> {
        self.get(&self.tokens_me.clone(), authorization).await
    }

    /// `GET <api_url>/api/v2/organizations/me`: the smallest call that needs a role.
    ///
    /// # Errors
    /// As `tokens_me`.
    pub async fn organization(&self, authorization: &HeaderValue) -> Result<Seen, MintError> {
        let mut url = self.tokens_me.clone();
        url.set_path("/api/v2/organizations/me");
        self.get(&url, authorization).await
    }

    async fn get(&self, url: &Url, authorization: &HeaderValue) -> Result<Seen, MintError> {
        let request = self
            .api
            .get(url.clone())
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| self.unreachable(url, &error))?;
        let status = response.status();
        let body = self.body(&mut response, url, MAX_BODY).await?;
        // It says what the token may do, and not the token.
        Ok(Seen { status, body: body.to_vec() })
    }
}
