//! The environment of the command of `exec`: what leads to its gateway, and nothing that leads past it.
//! It never hands on a variable that holds a secret of ours, whatever its name.

use std::{ffi::OsString, fmt, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use tokio::process::Command;

use super::CALLER;
use crate::config::{
    CREDENTIALS_DIRECTORY, Config, CredentialSource, Credentials, Named, SecretSource, VaultAuth,
};

/// Settings of ours may hold a secret, and Vault's lead to one.
const PREFIXES: [&str; 2] = ["GENESYS_PROXY__", "VAULT_"];
/// A token or a directory of secrets; and settings of the Terraform provider for another gateway
/// than this one.
const NAMES: [&str; 6] = [
    CREDENTIALS_DIRECTORY,
    "GENESYSCLOUD_ACCESS_TOKEN",
    "GENESYSCLOUD_GATEWAY_AUTH_PASSWORD",
    "GENESYSCLOUD_GATEWAY_AUTH_USERNAME",
    "GENESYSCLOUD_GATEWAY_PATH_NAME",
    "GENESYSCLOUD_GATEWAY_PATH_VALUE",
];
/// With one of them, calls to this machine would go to the proxy, too.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// A shorter one may be part of a word by chance: it counts as the whole value only.
const LONG: usize = 8;

/// The variables that the configuration reads secrets from, and what is in them.
#[derive(Debug)]
pub(super) struct Secrets {
    names: Vec<String>,
    values: Vec<SecretString>,
}

impl Secrets {
    /// `named` is what the configuration names anywhere, in what is not used, too.
    pub(super) fn of(config: &Config, named: Named) -> Self {
        let Named { names, values } = named;
        let mut found = Self { names, values };
        found.add_all(config);
        found
    }

    fn add_all(&mut self, config: &Config) {
        for client in &config.oauth.clients {
            if let CredentialSource::Variable(name) = &client.id_source {
                self.names.push(name.clone());
            }
            match &client.credentials {
                Credentials::Secret { current, next } => {
                    for source in [Some(current), next.as_ref()] {
                        self.add(source);
                        self.add_basic(&client.id, source);
                    }
                }
                Credentials::PrivateKey { key, .. } => self.add(Some(key)),
                Credentials::Certificate => {}
            }
        }
        self.add(config.store.as_ref().and_then(|store| store.password.as_ref()));
        match config.vault.as_ref().map(|vault| &vault.auth) {
            Some(VaultAuth::Token(token)) => self.add(Some(token)),
            Some(VaultAuth::AppRole { secret_id, .. }) => self.add(secret_id.as_ref()),
            Some(VaultAuth::Kubernetes { .. }) | None => {}
        }
    }

    fn add(&mut self, source: Option<&SecretSource>) {
        match source {
            Some(SecretSource::Variable { name, value }) => {
                self.names.push(name.clone());
                self.values.push(value.clone());
            }
            // What they read is not known here, and in no variable that we know of.
            Some(SecretSource::File(_) | SecretSource::Command(_) | SecretSource::Vault(_))
            | None => {}
        }
    }

    /// As programs keep it that log in with a ready `Authorization: Basic …`.
    fn add_basic(&mut self, id: &str, source: Option<&SecretSource>) {
        if let Some(SecretSource::Variable { value, .. }) = source {
            let pair = Zeroizing::new(format!("{id}:{}", value.expose_secret()));
            // Whole groups: what follows, as a newline, changes the letters of the last one.
            let (groups, _) = pair.as_bytes().as_chunks::<3>();
            self.values.push(STANDARD_NO_PAD.encode(groups.as_flattened()).into());
        }
    }

    /// What is to be changed of what we were given, so that the command finds this gateway.
    pub(super) fn changes(
        &self,
        given: impl Iterator<Item = (OsString, OsString)>,
        gateway: SocketAddr,
        key: &SecretString,
    ) -> Changes {
        let mut removed = Vec::new();
        let (mut through_proxy, mut not_through) = (false, [None, None]);
        for (name, value) in given {
            let text = name.to_str().unwrap_or_default();
            through_proxy |= PROXIES.contains(&text) && !value.is_empty();
            for (place, known) in not_through.iter_mut().zip(NO_PROXY) {
                if text == known {
                    *place = value.to_str().filter(|value| !value.is_empty()).map(str::to_owned);
                }
            }
            if self.lead_to(text) || self.show_in(value.as_encoded_bytes()) {
                removed.push(name);
            }
        }
        let key = || key.expose_secret().to_owned();
        let mut set = vec![
            ("GENESYS_BASE_URL", format!("http://{gateway}")),
            ("GENESYS_API_KEY", key()),
            ("GENESYS_CLIENT_ID", CALLER.to_owned()),
            ("GENESYS_CLIENT_SECRET", key()),
            // The `gc` CLI and the Terraform provider read these, the latter its gateway, too.
            ("GENESYSCLOUD_OAUTHCLIENT_ID", CALLER.to_owned()),
            ("GENESYSCLOUD_OAUTHCLIENT_SECRET", key()),
            ("GENESYSCLOUD_GATEWAY_PROTOCOL", "http".to_owned()),
            ("GENESYSCLOUD_GATEWAY_HOST", gateway.ip().to_string()),
            ("GENESYSCLOUD_GATEWAY_PORT", gateway.port().to_string()),
        ];
        if through_proxy {
            let ([lower, upper], here) = (not_through.each_ref().map(Option::as_ref), gateway.ip());
            for (name, list) in NO_PROXY.into_iter().zip([lower.or(upper), upper.or(lower)]) {
                set.push((name, list.map_or(here.to_string(), |list| format!("{list},{here}"))));
            }
        }
        Changes { removed, set }
    }

    /// By its name.
    fn lead_to(&self, name: &str) -> bool {
        PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || NAMES.contains(&name)
            || self.names.iter().any(|known| known == name)
    }

    /// By its value: a secret may have been set from another variable.
    fn show_in(&self, value: &[u8]) -> bool {
        self.values.iter().any(|secret| {
            let secret = secret.expose_secret().as_bytes();
            value == secret || (secret.len() >= LONG && memmem::find(value, secret).is_some())
        })
    }
}

/// What the command does not inherit as it is.
pub(super) struct Changes {
    removed: Vec<OsString>,
    set: Vec<(&'static str, String)>,
}

impl Changes {
    pub(super) fn apply(&self, command: &mut Command) {
        for name in &self.removed {
            command.env_remove(name);
        }
        for (name, value) in &self.set {
            command.env(name, value);
        }
    }
}

/// Without values: the key is among them.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = self.set.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Changes").field("removed", &self.removed).field("set", &set).finish()
    }
}

#[cfg(test)]
mod tests;
