//! Who we are: `client_id` and its kin in `[oauth]`, or one `[[oauth.client]]` for each of several.
//! It never guesses which of two contradicting keys was meant.

use std::path::Path;

use secrecy::ExposeSecret;
use toml::de::DeValue;

use crate::config::{
    ClientAuth, ClientCert, Credentials, OAuthClient, SecretSource,
    credential::{Kind, client_id, secret},
    file::{Item, Items, Key, known_keys},
    nearest::did_you_mean,
    read::{Checked, Reported, Settings, not_toml, one_word, text, wants, within},
    report::{Place, Problem},
};

const CLIENT: Key = Key("oauth", "client");
const CLIENT_AUTH: Key = Key("oauth", "client_auth");
/// The keys of one client, in `[oauth]` and in `[[oauth.client]]`.
const OF_A_CLIENT: [&str; 5] =
    ["client_id", "client_secret", "next_client_secret", "private_key", "key_id"];

/// At least one. `client_auth` is `None` when it had a problem.
pub(super) fn clients(
    settings: &mut Settings<'_>,
    client_auth: Option<ClientAuth>,
) -> Checked<Vec<OAuthClient>> {
    let mut above = take(settings, "oauth");
    let Some(item) = settings.items.remove(&CLIENT) else {
        return client(settings, "oauth", &mut above, client_auth, None).map(|client| vec![client]);
    };
    let list = match &item.value {
        DeValue::Array(entries)
            if entries.iter().all(|entry| matches!(entry.get_ref(), DeValue::Table(_))) =>
        {
            entries
        }
        value => {
            let example = "write [{ client_id = \"…\", client_secret = { env = \"NAME\" } }]";
            let problem = not_toml(CLIENT, &item, example).unwrap_or_else(|| {
                wants(CLIENT, &item.place, "tables", value)
                    .hint("write [[oauth.client]] above each client's keys")
            });
            return Err(settings.report(problem));
        }
    };
    if let Some((key, of_above)) = above.iter().next() {
        let problem = Problem::at(&of_above.place, format!("`{key}` contradicts [[oauth.client]]"))
            .against("this names a client", &item.place, "these name clients")
            .hint("move it into an [[oauth.client]] of its own");
        settings.report(problem);
    }
    if list.is_empty() {
        let problem = Problem::at(&item.place, format!("`{CLIENT}` is empty: nobody could log in"));
        return Err(settings.report(problem.hint("name a client, or remove it")));
    }
    let mut found = Vec::new();
    let mut complete = true;
    for entry in list {
        let DeValue::Table(table) = entry.get_ref() else { continue };
        let place = within(&item, entry);
        let mut keys = Items::new();
        for (name, value) in table {
            let place = within(&item, value);
            if let Some(known) = OF_A_CLIENT.iter().find(|known| *known == name.get_ref()) {
                let item = Item { value: value.get_ref().clone(), place, raw: None };
                keys.insert(Key("oauth.client", known), item);
            } else {
                settings.report(
                    Problem::at(&place, "unknown key in [[oauth.client]]")
                        .hint(did_you_mean(name.get_ref(), &OF_A_CLIENT)),
                );
            }
        }
        if keys.contains_key(&Key("oauth.client", "client_id")) {
            match client(settings, "oauth.client", &mut keys, client_auth, Some(&place)) {
                Ok(client) => found.push(client),
                Err(Reported) => complete = false,
            }
        } else {
            settings.report(
                Problem::at(&place, "`client_id` is missing in this [[oauth.client]]")
                    .hint("write client_id = \"…\""),
            );
        }
    }
    twice(settings, &found, &item.place);
    if complete { Ok(found) } else { Err(Reported) }
}

/// The keys of a client that were given in a section, out of the settings.
fn take<'i>(settings: &mut Settings<'i>, section: &'static str) -> Items<'i> {
    known_keys(section)
        .filter(|key| OF_A_CLIENT.contains(&key.1))
        .filter_map(|key| settings.items.remove(&key).map(|item| (key, item)))
        .collect()
}

/// One client: of `table`, or the only one, and what is not given is in the usual variables.
fn client(
    settings: &mut Settings<'_>,
    section: &'static str,
    items: &mut Items<'_>,
    client_auth: Option<ClientAuth>,
    table: Option<&Place>,
) -> Checked<OAuthClient> {
    let key = |name| Key(section, name);
    let usual = |name| table.is_none().then_some(name);
    let wanted = Wanted::of(client_auth);
    let id = items.remove(&key("client_id"));
    let id = client_id(settings, key("client_id"), id.as_ref(), usual("GENESYS_CLIENT_ID"));
    let mut source = |name, usual: Option<&str>, kind| {
        let item = items.remove(&key(name));
        let place = item.as_ref().map(|item| item.place.clone());
        secret(settings, key(name), item.as_ref(), usual, kind)
            .map(|found| found.zip(place.or(Some(Place::Nowhere))))
    };
    let for_secret = (wanted == Wanted::Secret).then(|| usual("GENESYS_CLIENT_SECRET")).flatten();
    let current = source("client_secret", for_secret, Kind::Word);
    let next = source("next_client_secret", None, Kind::Word);
    let private_key = source("private_key", None, Kind::PrivateKey);
    let key_id_item = items.remove(&key("key_id"));
    let key_id = key_id_item.as_ref().map(|item| {
        let text = text(key("key_id"), item, "my-key")?;
        one_word(key("key_id"), text, &item.place)
    });
    let key_id = match key_id.transpose() {
        Ok(key_id) => Ok(key_id.filter(|id| !id.is_empty())),
        Err(problem) => Err(settings.report(problem)),
    };
    let (id, id_source) = id?;
    let (current, next, private_key, key_id) = (current?, next?, private_key?, key_id?);
    let mut not_for_it = |name: &str, place: &Place, goes_with: &str| {
        settings.report(
            Problem::at(place, format!("`{section}.{name}` is not for this client_auth"))
                .hint(format!("remove it, or write client_auth = \"{goes_with}\"")),
        );
    };
    // The file as it is shipped says key_id = "".
    let key_id_item = key_id_item.filter(|_| key_id.is_some());
    match (wanted, &key_id_item) {
        (Wanted::Secret | Wanted::Certificate, Some(item)) => {
            not_for_it("key_id", &item.place, "private_key_jwt");
        }
        (Wanted::PrivateKey | Wanted::Anything, _) | (_, None) => {}
    }
    let mut unwanted = |name: &str, given: &Option<(SecretSource, Place)>, goes_with: &str| {
        if let Some((_, place)) = given {
            not_for_it(name, place, goes_with);
        }
    };
    let credentials = match wanted {
        Wanted::Anything => return Err(Reported),
        Wanted::Secret => {
            unwanted("private_key", &private_key, "private_key_jwt");
            let missing = "`client_secret` is missing in this [[oauth.client]]";
            let Some((current, _)) = current else {
                let hint = "write client_secret = { env = \"NAME\" }";
                return Err(settings
                    .report(Problem::at(table.unwrap_or(&Place::Nowhere), missing).hint(hint)));
            };
            Credentials::Secret { current, next: next.map(|(next, _)| next) }
        }
        Wanted::PrivateKey => {
            unwanted("client_secret", &current, "client_secret_jwt");
            unwanted("next_client_secret", &next, "client_secret_jwt");
            let Some((key, _)) = private_key else {
                return Err(settings.report(
                    Problem::at(
                        &settings.place(CLIENT_AUTH),
                        format!("`{section}.private_key` is missing"),
                    )
                    .hint("write private_key = { file = \"/path\" }: PEM or a JWK, RSA or P-256"),
                ));
            };
            Credentials::PrivateKey { key, key_id }
        }
        Wanted::Certificate => {
            unwanted("client_secret", &current, "client_secret_jwt");
            unwanted("next_client_secret", &next, "client_secret_jwt");
            unwanted("private_key", &private_key, "private_key_jwt");
            Credentials::Certificate
        }
    };
    Ok(OAuthClient { id: id.expose_secret().to_owned(), id_source, credentials })
}

/// What a way of authentication needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Secret,
    PrivateKey,
    Certificate,
    /// The way had a problem: nothing follows from it.
    Anything,
}

impl Wanted {
    fn of(client_auth: Option<ClientAuth>) -> Self {
        match client_auth {
            Some(ClientAuth::Basic | ClientAuth::Body | ClientAuth::ClientSecretJwt) => {
                Self::Secret
            }
            Some(ClientAuth::PrivateKeyJwt) => Self::PrivateKey,
            Some(ClientAuth::TlsClientAuth) => Self::Certificate,
            None => Self::Anything,
        }
    }
}

/// The same client twice is `tokens = 2`.
fn twice(settings: &mut Settings<'_>, clients: &[OAuthClient], place: &Place) {
    for (index, client) in clients.iter().enumerate() {
        if clients.iter().take(index).any(|other| other.id == client.id) {
            settings.report(
                Problem::at(place, "the same client_id is there twice")
                    .hint("remove one; for more tokens of one client write tokens = 2 in [oauth]"),
            );
        }
    }
}

/// `client_cert` and `client_key`: both or none; needed when nothing else proves who we are.
pub(super) fn client_cert(
    settings: &mut Settings<'_>,
    client_auth: Option<ClientAuth>,
) -> Checked<Option<ClientCert>> {
    const CERT: Key = Key("oauth", "client_cert");
    const KEY: Key = Key("oauth", "client_key");
    let mut path = |key: Key| {
        let given = settings.text(key, "/etc/genesys/client.pem", |text, place| {
            Ok((text.to_owned(), place.clone()))
        })?;
        let Some((path, place)) = given else { return Ok(None) };
        let full = settings.resolve(&path, &place);
        readable(settings, key, &full, &place).map(|()| Some(full))
    };
    let (cert, key) = (path(CERT), path(KEY));
    match (cert?, key?) {
        (Some(cert), Some(key)) => Ok(Some(ClientCert { cert, key })),
        (None, None) if client_auth == Some(ClientAuth::TlsClientAuth) => Err(settings.report(
            Problem::at(&settings.place(CLIENT_AUTH), "`oauth.client_cert` is missing")
                .hint("write client_cert = \"/path\" and client_key = \"/path\", both PEM"),
        )),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let place = if settings.items.contains_key(&CERT) { CERT } else { KEY };
            Err(settings.report(
                Problem::at(
                    &settings.place(place),
                    "`oauth.client_cert` and `oauth.client_key` go together",
                )
                .hint("write both, or neither"),
            ))
        }
    }
}

fn readable(settings: &mut Settings<'_>, key: Key, path: &Path, place: &Place) -> Checked<()> {
    match crate::config::read_credential(path) {
        Ok(pem) if pem.windows(11).any(|bytes| bytes == b"-----BEGIN ") => Ok(()),
        Ok(_) => Err(settings
            .report(Problem::at(place, format!("`{key}`: not PEM")).hint(
                "PEM begins with -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----",
            ))),
        Err(error) => Err(settings.report(
            Problem::at(place, format!("`{key}`: cannot read {}: {error}", path.display()))
                .hint("check the path and its permissions"),
        )),
    }
}
