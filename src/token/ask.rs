//! One token request, and whether what came is a token for us.
//! It never asks twice: which secret is tried, and when, is for others.

use std::{sync::atomic::Ordering, time::SystemTime};

use http::{HeaderMap, header};
use secrecy::SecretString;
use url::Url;

use super::{
    answer::{self, MAX_ANSWER, Minted},
    client_auth::token_form,
    error::{Kind, MintError},
    expectations,
    issuer::{Issuer as _, Login},
    keys::{KeySet, MAX_JWKS},
    wire::host,
};
use crate::{
    config::ClientAuth,
    decide::{
        retry, scopes,
        skew::{self, Say, Skew},
    },
    secret::wiped,
};

impl Login {
    /// One token request with this secret.
    pub(super) async fn ask(&self, secret: &SecretString) -> Result<Minted, MintError> {
        let url = &self.oauth.token_url;
        let proof = self.proof(secret, url)?;
        let mut request = self
            .http
            .post(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(wiped::body(&token_form(&self.oauth, &proof)));
        for (name, value) in &self.oauth.extra_headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = proof.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let asked = SystemTime::now();
        let mut response = request.send().await.map_err(|error| self.unreachable(url, &error))?;
        let skew = self.measure(response.headers(), asked);
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| retry::retry_after(value.as_bytes(), SystemTime::now()));
        let body = self.body(&mut response, url, MAX_ANSWER).await?;
        let answer = answer::read_answer(status, retry_after, &body);
        let minted = answer.map_err(|error| self.explained(error, skew))?;
        self.accept(Minted { skew, ..minted }).await
    }

    /// What a whole token must be besides.
    pub(super) async fn accept(&self, mut minted: Minted) -> Result<Minted, MintError> {
        if let Some(url) = &self.oauth.jwks_url {
            let token = answer::bearer(&minted.authorization);
            if minted.claims.is_none() {
                let why = "oauth.jwks_url is set, and the token is no signed JWT";
                return Err(MintError::new(Kind::Signature, why));
            }
            self.keys.verify(token, || self.fetch_keys(url)).await?;
            minted.verified = true;
        }
        expectations::issuer_and_audience(&self.oauth, minted.claims.as_ref())?;
        minted.scopes = scopes::carried(None, minted.scopes.as_deref(), &self.oauth.scope);
        if let Some(line) = expectations::required_scopes(&self.oauth, &minted)? {
            tracing::warn!(client = self.client(), "{line}");
        }
        Ok(minted)
    }

    async fn fetch_keys(&self, url: &Url) -> Result<KeySet, String> {
        // Keys are public: nobody needs to see the certificate for them.
        let request = self.api.get(url.clone()).header(header::ACCEPT, "application/json");
        let mut response =
            request.send().await.map_err(|error| self.unreachable(url, &error).why)?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("{} answered {}", host(url), response.status()));
        }
        let body = self.body(&mut response, url, MAX_JWKS).await.map_err(|error| error.why)?;
        KeySet::read(&body).map_err(|why| format!("{}: {why}", host(url)))
    }

    fn measure(&self, headers: &HeaderMap, asked: SystemTime) -> Option<Skew> {
        let date = headers.get(header::DATE)?.to_str().ok()?;
        let date = httpdate::parse_http_date(date).ok()?;
        let skew = Skew::measured(date, asked, SystemTime::now());
        self.skew.store(skew.seconds, Ordering::Relaxed);
        match skew::say(self.warned_of_skew.load(Ordering::Relaxed), skew) {
            Say::Nothing => {}
            Say::Off => {
                self.warned_of_skew.store(true, Ordering::Relaxed);
                tracing::warn!(skew_seconds = skew.seconds, "{skew}");
            }
            Say::Right => {
                self.warned_of_skew.store(false, Ordering::Relaxed);
                tracing::info!(skew_seconds = skew.seconds, "this machine's clock is right again");
            }
        }
        Some(skew)
    }

    /// A refused client, with what it proved itself with; an assertion may be refused for its times.
    fn explained(&self, mut error: MintError, skew: Option<Skew>) -> MintError {
        if !error.kind.refuses_client() {
            return error;
        }
        let (asserted, advice) = match self.oauth.client_auth {
            ClientAuth::Basic | ClientAuth::Body => (false, error.advice),
            ClientAuth::ClientSecretJwt => (true, error.advice),
            ClientAuth::PrivateKeyJwt => (
                true,
                "check oauth.client_id, and that its public key there is that of \
                 oauth.private_key and oauth.key_id; some servers want their issuer in \
                 oauth.assertion_audience",
            ),
            ClientAuth::TlsClientAuth => {
                (false, "check oauth.client_id, and that oauth.client_cert is registered for it")
            }
        };
        error.advice = advice;
        if let Some(skew) = skew.filter(|skew| asserted && skew.worth_warning()) {
            error.why = format!("{}; assertions carry the time, and {skew}", error.why);
            error.advice = "set the clock first; if that does not help, check oauth.client_id and \
                            what proves it";
        }
        error
    }
}
