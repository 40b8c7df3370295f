//! Client id, secrets and keys: where the configuration says they are.
//! It never accepts a secret written in the file, and no message of its own quotes one.
//!
//! What can be read now, is: a variable or a file that is missing is a mistake with a line. Commands
//! and Vault are asked by the gateway and by `check --live`.

use std::{
    fs::OpenOptions,
    io::{Error, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;
use secrecy::{SecretString, zeroize::Zeroizing};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    env::is_usual,
    file::{Item, Key},
    nearest::did_you_mean,
    oauth::{Command, CredentialSource, KvEngine, SecretSource, VaultSecret},
    read::{Checked, Settings, within},
    redact::{looks_like_a_path, looks_like_a_variable, names_a_secret},
    report::{Place, Problem},
    units,
};

/// More than any credential is long; it bounds what a wrong path may read.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;
/// Of a command, unless it says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_COMMAND_TIMEOUT: Duration = Duration::from_mins(5);
/// Where systemd puts the credentials of a unit (systemd.exec, `LoadCredential=`).
pub(crate) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What a source must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One line.
    Word,
    /// PEM or JWK.
    PrivateKey,
}

/// Where something is, and what is there if that can be told now.
struct Found {
    source: SecretSource,
    value: Option<SecretString>,
}

type Search = Result<Found, Problem>;

/// The secret or key of `key`; without a value, of the variable `usual`.
pub(super) fn secret(
    settings: &mut Settings<'_>,
    key: Key,
    item: Option<&Item<'_>>,
    usual: Option<&str>,
    kind: Kind,
) -> Checked<Option<SecretSource>> {
    let found = match (item, usual) {
        (None, None) => return Ok(None),
        (None, Some(usual)) => variable(settings, key, usual, &Place::Nowhere, kind),
        (Some(item), usual) => given(settings, key, item, usual, kind),
    };
    found.map(|found| Some(found.source)).map_err(|problem| settings.report(problem))
}

/// The client id of `key`, which may stand in the file; without a value, of the variable `usual`.
pub(super) fn client_id(
    settings: &mut Settings<'_>,
    key: Key,
    item: Option<&Item<'_>>,
    usual: Option<&str>,
) -> Checked<(SecretString, CredentialSource)> {
    let found = match (item, usual) {
        (Some(Item { value: DeValue::String(text), place: place @ Place::File(_), .. }), _) => {
            checked(key, text, place, Kind::Word).map(|text| (text, CredentialSource::Literal))
        }
        (Some(item), _) => {
            given(settings, key, item, usual, Kind::Word).and_then(|f| known(key, f, &item.place))
        }
        (None, usual) => {
            let usual = usual.unwrap_or("GENESYS_CLIENT_ID");
            variable(settings, key, usual, &Place::Nowhere, Kind::Word)
                .and_then(|found| known(key, found, &Place::Nowhere))
        }
    };
    found.map_err(|problem| settings.report(problem))
}

/// An id is no secret, so nothing has to be asked for it.
fn known(
    key: Key,
    found: Found,
    place: &Place,
) -> Result<(SecretString, CredentialSource), Problem> {
    let source = match found.source {
        SecretSource::Variable { name, .. } => Some(CredentialSource::Variable(name)),
        SecretSource::File(path) => Some(CredentialSource::File(path)),
        SecretSource::Command(_) | SecretSource::Vault(_) => None,
    };
    found.value.zip(source).ok_or_else(|| {
        Problem::at(
            place,
            format!("`{key}` is no secret: it does not come from a command or Vault"),
        )
        .hint("write it as it is: \"the-id\", or { env = \"NAME\" }, or { file = \"/path\" }")
    })
}

fn given(
    settings: &Settings<'_>,
    key: Key,
    item: &Item<'_>,
    usual: Option<&str>,
    kind: Kind,
) -> Search {
    let place = &item.place;
    match (&item.value, item.raw, place) {
        (DeValue::Table(table), _, _) => source(settings, key, item, table, kind),
        // An override in the environment is no more visible there than GENESYS_CLIENT_SECRET.
        (value, Some(raw), Place::Variable(name)) => {
            let text = value.as_str().unwrap_or(raw);
            checked(key, text, place, kind).map(|value| of_variable(name, value))
        }
        // One of its tables, as in GENESYS_PROXY__OAUTH__CLIENT.
        (DeValue::String(text), None, Place::Variable(name)) => {
            checked(key, text, place, kind).map(|value| of_variable(name, value))
        }
        (DeValue::String(_), _, _) if names_a_secret(key.1) => {
            let (whose, renew) = match key.0 {
                "vault" => ("VAULT", "then have Vault issue another one"),
                "store" => ("REDIS", "then change the password in Redis"),
                _ => ("GENESYS", "then change the secret in Genesys"),
            };
            let usual =
                usual.map_or_else(|| format!("{whose}_{}", key.1.to_uppercase()), str::to_owned);
            Err(Problem::at(
                place,
                format!("`{key}` is written in the file, where backups and colleagues see it"),
            )
            .hint(format!(
                "put it into {usual} and write {{ env = \"{usual}\" }}, or into a file only the \
                 gateway can read and write {{ file = \"/path\" }}; {renew}"
            )))
        }
        (_, _, _) => {
            Err(Problem::at(place, format!("`{key}` does not say where to find it"))
                .hint(SOURCES_HINT))
        }
    }
}

const SOURCES: [&str; 5] = ["env", "file", "command", "credential", "vault"];
const SOURCES_HINT: &str = "write { env = \"NAME\" }, { file = \"/path\" }, { command = [\"…\"] }, \
                            { credential = \"name\" } or { vault = \"mount/data/path#field\" }";

/// `{ env = "NAME" }` and its kin: one source, and what belongs to it.
fn source(
    settings: &Settings<'_>,
    key: Key,
    item: &Item<'_>,
    table: &DeTable<'_>,
    kind: Kind,
) -> Search {
    let of_command =
        |name: &str| ["field", "timeout"].contains(&name) && table.contains_key("command");
    for (name, _) in table {
        let word = name.get_ref().as_ref();
        if !SOURCES.contains(&word) && !of_command(word) {
            let place = match &item.place {
                Place::File(_) => Place::File(name.span()),
                other @ (Place::Variable(_) | Place::Flag(_) | Place::Nowhere) => other.clone(),
            };
            // The word may be the secret itself.
            return Err(Problem::at(&place, format!("unknown source in `{key}`"))
                .hint(did_you_mean(word, &SOURCES)));
        }
    }
    let mut named = table.iter().filter(|(name, _)| SOURCES.contains(&name.get_ref().as_ref()));
    let (Some((name, value)), None) = (named.next(), named.next()) else {
        return Err(
            Problem::at(&item.place, format!("`{key}` needs one source")).hint(SOURCES_HINT)
        );
    };
    let place = within(item, value);
    if name.get_ref() == "command" {
        return command(key, item, table, value);
    }
    let Some(text) = value.get_ref().as_str() else {
        return Err(Problem::at(&place, format!("`{}` takes text in quotes", name.get_ref()))
            .hint(SOURCES_HINT));
    };
    match name.get_ref().as_ref() {
        "env" => variable(settings, key, text, &place, kind),
        "file" => file(key, settings.resolve(text, &place), text, &place, kind),
        "credential" => credential(settings, key, text, &place, kind),
        _ => vault(key, text, &place),
    }
}

/// A file in the directory that systemd names.
fn credential(settings: &Settings<'_>, key: Key, name: &str, place: &Place, kind: Kind) -> Search {
    let hint = "start the gateway by a unit with LoadCredential=NAME:/path or \
                LoadCredentialEncrypted=NAME:/path";
    // systemd.exec: a name is a file name.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Problem::at(place, format!("`{key}`: no name of a credential")).hint(hint));
    }
    let Some(directory) = settings.variables.get(CREDENTIALS_DIRECTORY) else {
        return Err(
            Problem::at(place, format!("`{key}`: {CREDENTIALS_DIRECTORY} is not set")).hint(hint)
        );
    };
    file(key, Path::new(directory).join(name), "the credential", place, kind)
}

/// `{ command = ["program", "argument"], field = "…", timeout = "10s" }`
fn command(key: Key, item: &Item<'_>, table: &DeTable<'_>, value: &Spanned<DeValue<'_>>) -> Search {
    let wrong = |place: &Place, what: &str, hint: &str| {
        Problem::at(place, format!("`{key}`: {what}")).hint(hint.to_owned())
    };
    let example = "write { command = [\"pass\", \"show\", \"genesys\"] }: no shell is involved";
    let words = value.get_ref().as_array().and_then(|array| {
        array
            .iter()
            .map(|word| word.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
    });
    let Some((program, arguments)) = words
        .as_deref()
        .and_then(<[String]>::split_first)
        .filter(|(program, _)| !program.is_empty())
    else {
        return Err(wrong(&within(item, value), "`command` takes a list of texts", example));
    };
    let field = match table.get("field") {
        None => None,
        Some(value) => {
            let name =
                value.get_ref().as_str().filter(|name| !name.is_empty()).ok_or_else(|| {
                    let hint = "the name of a field of the JSON object that the command prints";
                    wrong(&within(item, value), "`field` takes a name", hint)
                })?;
            Some(name.to_owned())
        }
    };
    let timeout = match table.get("timeout") {
        None => COMMAND_TIMEOUT,
        Some(value) => {
            let timeout = value.get_ref().as_str().and_then(units::duration);
            let good = |timeout: &Duration| !timeout.is_zero() && *timeout <= MAX_COMMAND_TIMEOUT;
            timeout.filter(good).ok_or_else(|| {
                let hint = "from 1ms to 5m, such as \"10s\"";
                wrong(&within(item, value), "`timeout` takes a duration", hint)
            })?
        }
    };
    let command = Command {
        program: program.clone(),
        arguments: arguments.to_vec(),
        field,
        usual_field: key.1,
        timeout,
    };
    Ok(Found { source: SecretSource::Command(command), value: None })
}

/// `secret/data/genesys#client_secret`: v2 of the engine when there is a `data` in it.
fn vault(key: Key, text: &str, place: &Place) -> Search {
    let secret = vault_secret(text).ok_or_else(|| {
        Problem::at(place, format!("`{key}`: no path and field in Vault")).hint(
            "write \"secret/data/genesys#client_secret\" (KV v2) or \"kv/genesys#client_secret\" \
             (KV v1): the path of Vault's HTTP interface, then # and the field",
        )
    })?;
    Ok(Found { source: SecretSource::Vault(secret), value: None })
}

fn vault_secret(text: &str) -> Option<VaultSecret> {
    let (path, field) = text.split_once('#')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part.split('/').all(|s| !s.is_empty() && s != "." && s != "..")
            && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "?#%\\".contains(c))
    };
    let (engine, (mount, path)) = match path.split_once("/data/") {
        Some(parts) => (KvEngine::V2, parts),
        None => (KvEngine::V1, path.split_once('/')?),
    };
    let good = plain(mount) && plain(path) && !field.is_empty() && !field.contains('#');
    good.then(|| VaultSecret {
        engine,
        mount: mount.to_owned(),
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

fn of_variable(name: &str, value: SecretString) -> Found {
    let source = SecretSource::Variable { name: name.to_owned(), value: value.clone() };
    Found { source, value: Some(value) }
}

fn variable(settings: &Settings<'_>, key: Key, name: &str, place: &Place, kind: Kind) -> Search {
    let shown = if looks_like_a_variable(name) { name } else { "the variable it names" };
    if settings.of_another_organisation() && is_usual(name) {
        let what = format!("`{key}`: {name} is read for the organisation at the top only");
        let own = name.replace("GENESYS", "EU_GENESYS");
        return Err(Problem::at(place, what)
            .hint(format!("name a variable of this organisation's own, such as {own}")));
    }
    let Some(value) = settings.variables.get(name) else {
        let message = match place {
            Place::Nowhere => format!("`{key}` is missing: {shown} is not set"),
            _ => format!("`{key}`: {shown} is not set"),
        };
        return Err(Problem::at(place, message).hint(match place {
            Place::Nowhere => format!(
                "set {shown} in the environment or in .env, or write {} in [{}] of proxy.toml",
                key.1, key.0
            ),
            _ => format!("set {shown} in the environment or in .env"),
        }));
    };
    let value = value.trim_end_matches(['\r', '\n']);
    checked(key, value, &Place::Variable(name.to_owned()).or_if_unnamed(place, shown == name), kind)
        .map(|value| of_variable(name, value))
}

impl Place {
    /// The variable, unless its name must not be shown: then the line that names it.
    fn or_if_unnamed(self, other: &Self, named: bool) -> Self {
        if named { self } else { other.clone() }
    }
}

fn file(key: Key, full: PathBuf, path: &str, place: &Place, kind: Kind) -> Search {
    let shown = if looks_like_a_path(path) { path } else { "its file" };
    let bytes = read(&full).map_err(|error| {
        Problem::at(place, format!("`{key}`: cannot read {shown}: {error}"))
            .hint("check the path and its permissions, as the user that runs the gateway")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Problem::at(place, format!("`{key}`: {shown} is not text"))
            .hint("it should hold the credential and nothing else")
    })?;
    let value = checked(key, without_newline(text), place, kind)?;
    Ok(Found { source: SecretSource::File(full), value: Some(value) })
}

/// Less one newline at its end, as editors add it.
pub(crate) fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// At most [`MAX_BYTES`] of a regular file. A pipe would be waited for until somebody writes to it.
pub(crate) fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let unblocked = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(unblocked).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is no regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::other("larger than any credential"));
    }
    Ok(bytes)
}

/// Why a text is no secret: all are copying mistakes that end in a 401.
pub(crate) fn not_a_word(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.trim() != text {
        Some("begins or ends with a blank")
    } else if text.contains(char::is_control) {
        Some("has more than one line or a control character")
    } else {
        None
    }
}

/// Why a text is not of this kind.
pub(crate) fn unusable(text: &str, kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Word => not_a_word(text),
        Kind::PrivateKey => (!text.contains("-----BEGIN") && !text.trim_start().starts_with('{'))
            .then_some("is neither PEM nor a JWK"),
    }
}

fn checked(key: Key, text: &str, place: &Place, kind: Kind) -> Result<SecretString, Problem> {
    let hint = match kind {
        Kind::Word if ["vault", "store"].contains(&key.0) => "copy it again",
        Kind::Word => "copy it again from Admin > Integrations > OAuth in Genesys Cloud",
        Kind::PrivateKey => "PEM begins with -----BEGIN PRIVATE KEY-----, a JWK is a JSON object",
    };
    match unusable(text, kind) {
        None => Ok(SecretString::from(text)),
        Some(wrong) => Err(Problem::at(place, format!("`{key}` {wrong}")).hint(hint)),
    }
}

#[cfg(test)]
mod tests;
