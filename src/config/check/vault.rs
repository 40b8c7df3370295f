//! `[vault]`: where Vault is, and how the gateway logs in there.
//! It never calls Vault; the gateway and `check --live` do.

use std::time::Duration;

use url::Url;

use crate::config::{
    Credentials, OAuth, SecretSource, Store, Vault, VaultAuth,
    credential::{Kind, secret},
    file::{Key, known_keys},
    origin,
    read::{Checked, Reported, Settings},
    report::{Place, Problem},
};

const ADDRESS: Key = Key("vault", "address");
const AUTH: Key = Key("vault", "auth");
const TOKEN: Key = Key("vault", "token");
const SECRET_ID: Key = Key("vault", "secret_id");
const ROLE_ID: Key = Key("vault", "role_id");
const ROLE: Key = Key("vault", "role");
const JWT_FILE: Key = Key("vault", "jwt_file");
/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
}

/// The section, when a source names Vault or the section is there. `oauth` and `store` are `None` when
/// they had a problem.
pub(super) fn vault(
    settings: &mut Settings<'_>,
    oauth: Option<&OAuth>,
    store: Option<&Store>,
) -> Checked<Option<Vault>> {
    let of_store = store.and_then(|store| store.password.as_ref()).is_some_and(in_vault);
    let needed = of_store || oauth.is_some_and(names_vault);
    let given = known_keys("vault").any(|key| settings.items.contains_key(&key));
    if !needed && !given {
        return Ok(None);
    }
    let address = address(settings);
    let namespace = word(settings, "namespace", "team-a", Some("VAULT_NAMESPACE"));
    let auth = auth(settings, needed);
    let ca_file = super::upstream::roots(settings, Key("vault", "ca_file"));
    let timeout = settings.duration(
        Key("vault", "timeout"),
        Duration::from_secs(10),
        &(super::MILLISECOND..=Duration::from_mins(5)),
    );
    if needed && matches!(address, Ok(None)) {
        settings.report(
            Problem::at(&Place::Nowhere, "a secret is in Vault, and `vault.address` is missing")
                .hint("set VAULT_ADDR, or write address = \"https://…:8200\" in [vault]"),
        );
    }
    let (address, namespace, auth) = (address?, namespace?, auth?);
    let (ca_file, timeout) = (ca_file?, timeout?);
    match (address, auth) {
        (Some(address), Some(auth)) => {
            Ok(Some(Vault { address, namespace, auth, ca_file, timeout }))
        }
        (None, _) | (_, None) if needed => Err(Reported),
        (None, _) | (_, None) => Ok(None),
    }
}

fn names_vault(oauth: &OAuth) -> bool {
    oauth.clients.iter().any(|client| match &client.credentials {
        Credentials::Secret { current, next } => {
            in_vault(current) || next.as_ref().is_some_and(in_vault)
        }
        Credentials::PrivateKey { key, .. } => in_vault(key),
        Credentials::Certificate => false,
    })
}

fn in_vault(source: &SecretSource) -> bool {
    matches!(source, SecretSource::Vault(_))
}

/// `address`, else `VAULT_ADDR`.
fn address(settings: &mut Settings<'_>) -> Checked<Option<Url>> {
    const VARIABLE: &str = "VAULT_ADDR";
    let parse = |text: &str, place: &Place| {
        let (url, origin) = origin::server(text).map_err(|(message, hint)| {
            Problem::at(place, format!("`{ADDRESS}`: {message}")).hint(hint)
        })?;
        match url.path() {
            "" | "/" => Ok(url),
            _ => Err(Problem::at(place, format!("`{ADDRESS}`: the URL has a path"))
                .hint(format!("end it after the port: {origin}"))),
        }
    };
    if let Some(url) = settings.text(ADDRESS, "https://vault.example.com:8200", parse)? {
        return Ok(Some(url));
    }
    match settings.variables.get(VARIABLE).map(|text| text.trim()).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => parse(text, &Place::Variable(VARIABLE.to_owned()))
            .map(Some)
            .map_err(|problem| settings.report(problem)),
    }
}

/// A plain text of the section, else of its variable.
fn word(
    settings: &mut Settings<'_>,
    name: &'static str,
    example: &str,
    variable: Option<&str>,
) -> Checked<Option<String>> {
    let given = settings.word(Key("vault", name), example)?;
    let usual = || variable.and_then(|name| settings.variables.get(name)).cloned();
    Ok(given.or_else(usual).filter(|text| !text.is_empty()))
}

/// How to log in; what the other ways need is read all the same, so that its mistakes are found.
fn auth(settings: &mut Settings<'_>, needed: bool) -> Checked<Option<VaultAuth>> {
    let method = settings.choice(
        AUTH,
        Method::Token,
        &[
            ("token", Method::Token),
            ("approle", Method::AppRole),
            ("kubernetes", Method::Kubernetes),
        ],
    );
    let mount = word(settings, "auth_mount", "approle", None);
    let role_id = word(settings, "role_id", "the-role-id", None);
    let role = word(settings, "role", "genesys-proxy", None);
    let jwt_file = word(settings, "jwt_file", SERVICE_ACCOUNT, None);
    let usual = match &method {
        Ok(Method::Token) if needed => Some("VAULT_TOKEN"),
        _ => None,
    };
    // They are taken out below.
    let places = [settings.place(TOKEN), settings.place(SECRET_ID)];
    let token = own_secret(settings, TOKEN, usual);
    let secret_id = own_secret(settings, SECRET_ID, None);
    if let Ok(method) = method {
        let [of_token, of_secret_id] = places;
        let place = |key: Key| settings.place(key);
        // The file as it is shipped names the usual one.
        let own_jwt_file = matches!(&jwt_file, Ok(Some(file)) if file != SERVICE_ACCOUNT);
        let keys = [
            (TOKEN, of_token, Method::Token, matches!(token, Ok(Some(_)))),
            (ROLE_ID, place(ROLE_ID), Method::AppRole, matches!(role_id, Ok(Some(_)))),
            (SECRET_ID, of_secret_id, Method::AppRole, matches!(secret_id, Ok(Some(_)))),
            (ROLE, place(ROLE), Method::Kubernetes, matches!(role, Ok(Some(_)))),
            (JWT_FILE, place(JWT_FILE), Method::Kubernetes, own_jwt_file),
        ];
        for (key, place, goes_with, given) in keys {
            if given && goes_with != method {
                not_for_it(settings, key, &place, goes_with);
            }
        }
    }
    let (method, mount, role_id, role) = (method?, mount?, role_id?, role?);
    let (jwt_file, token, secret_id) = (jwt_file?, token?, secret_id?);
    let missing = |name: &str| {
        Problem::at(&Place::Nowhere, format!("`vault.{name}` is missing"))
            .hint(format!("write {name} = \"…\" in [vault], or choose another `auth`"))
    };
    let auth = match method {
        Method::Token => token.map(VaultAuth::Token),
        Method::AppRole => match role_id {
            Some(role_id) => Some(VaultAuth::AppRole {
                mount: mount.unwrap_or_else(|| "approle".to_owned()),
                role_id,
                secret_id,
            }),
            None => return Err(settings.report(missing("role_id"))),
        },
        Method::Kubernetes => match role {
            Some(role) => Some(VaultAuth::Kubernetes {
                mount: mount.unwrap_or_else(|| "kubernetes".to_owned()),
                role,
                jwt_file: settings.resolve(
                    jwt_file.as_deref().unwrap_or(SERVICE_ACCOUNT),
                    &settings.place(JWT_FILE),
                ),
            }),
            None => return Err(settings.report(missing("role"))),
        },
    };
    Ok(auth)
}

/// A key was given that another method of logging in reads.
fn not_for_it(settings: &mut Settings<'_>, key: Key, place: &Place, goes_with: Method) {
    let word = match goes_with {
        Method::Token => "token",
        Method::AppRole => "approle",
        Method::Kubernetes => "kubernetes",
    };
    settings.report(
        Problem::at(place, format!("`{key}` is not for this `auth`"))
            .hint(format!("remove it, or write auth = \"{word}\" in [vault]")),
    );
}

/// What Vault itself is asked with cannot be in Vault.
fn own_secret(
    settings: &mut Settings<'_>,
    key: Key,
    usual: Option<&str>,
) -> Checked<Option<SecretSource>> {
    let item = settings.items.remove(&key);
    let place = item.as_ref().map_or(Place::Nowhere, |item| item.place.clone());
    match secret(settings, key, item.as_ref(), usual, Kind::Word)? {
        Some(SecretSource::Vault(_)) => Err(settings.report(
            Problem::at(&place, format!("`{key}` cannot be in Vault: it opens Vault")).hint(
                "write { env = \"NAME\" }, { file = \"/path\" } or { credential = \"name\" }",
            ),
        )),
        source => Ok(source),
    }
}
