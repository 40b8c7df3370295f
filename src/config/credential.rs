//! Client id and secret: read from the variable or the file that the configuration names.
//! It never accepts a secret written in the file, and no message of its own quotes one.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use secrecy::{SecretString, zeroize::Zeroizing};
use toml::de::{DeTable, DeValue};

use super::{
    file::{Item, Key},
    nearest::did_you_mean,
    read::{Checked, Settings, within},
    redact::{looks_like_a_path, looks_like_a_variable, names_a_secret},
    report::{Place, Problem},
};

/// More than any credential is long; it bounds what a wrong path may read.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a credential was read from, so that it can be named, and read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// It stands in the file; a client id only.
    Literal,
    /// This environment variable.
    Variable(String),
    /// This file, less one newline at its end.
    File(PathBuf),
}

/// `variable GENESYS_CLIENT_ID`
impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("the configuration file"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// The credential of `key`, by default in the variable `usual`.
pub(super) fn credential(
    settings: &mut Settings<'_>,
    key: Key,
    usual: &str,
) -> Checked<(SecretString, CredentialSource)> {
    let found = match settings.items.get(&key) {
        None => variable(settings, key, usual, &Place::Nowhere),
        Some(item) => given(settings, key, item, usual),
    };
    found.map_err(|problem| settings.report(problem))
}

type Found = Result<(SecretString, CredentialSource), Problem>;

fn given(settings: &Settings<'_>, key: Key, item: &Item<'_>, usual: &str) -> Found {
    let place = &item.place;
    match (&item.value, item.raw, place) {
        (DeValue::Table(table), _, _) => source(settings, key, item, table, usual),
        // An override in the environment is no more visible there than GENESYS_CLIENT_SECRET.
        (value, Some(raw), Place::Variable(name)) => {
            let text = value.as_str().unwrap_or(raw);
            checked(key, text, place).map(|s| (s, CredentialSource::Variable(name.clone())))
        }
        (DeValue::String(text), _, _) if !names_a_secret(key.1) => {
            checked(key, text, place).map(|s| (s, CredentialSource::Literal))
        }
        (DeValue::String(_), _, _) => Err(Problem::at(
            place,
            format!("`{key}` is written in the file, where backups and colleagues see it"),
        )
        .hint(format!(
            "put it into {usual} and write {{ env = \"{usual}\" }}, or into a file only the \
             gateway can read and write {{ file = \"/path\" }}; then change the secret in Genesys"
        ))),
        (_, _, _) => Err(Problem::at(place, format!("`{key}` does not say where to find it"))
            .hint(sources_hint(usual))),
    }
}

fn sources_hint(usual: &str) -> String {
    format!("write {{ env = \"{usual}\" }} or {{ file = \"/path\" }}")
}

/// `{ env = "NAME" }` or `{ file = "path" }`
fn source(
    settings: &Settings<'_>,
    key: Key,
    item: &Item<'_>,
    table: &DeTable<'_>,
    usual: &str,
) -> Found {
    for (name, _) in table {
        let place = match &item.place {
            Place::File(_) => Place::File(name.span()),
            other => other.clone(),
        };
        match name.get_ref().as_ref() {
            "env" | "file" => {}
            later @ ("command" | "vault") => {
                return Err(Problem::at(
                    &place,
                    format!("`{later}` as a source is not supported by this version"),
                )
                .hint(sources_hint(usual)));
            }
            other => {
                // The word may be the secret itself.
                return Err(Problem::at(&place, format!("unknown source in `{key}`"))
                    .hint(did_you_mean(other, &["env", "file"])));
            }
        }
    }
    match (table.get("env"), table.get("file")) {
        (Some(value), None) => match value.get_ref().as_str() {
            Some(name) => variable(settings, key, name, &within(item, value)),
            None => Err(Problem::at(&within(item, value), "`env` takes the name of a variable")
                .hint(format!("write {{ env = \"{usual}\" }}"))),
        },
        (None, Some(value)) => match value.get_ref().as_str() {
            Some(path) => file(settings, key, path, &within(item, value)),
            None => Err(Problem::at(&within(item, value), "`file` takes a path in quotes")
                .hint("write { file = \"/path\" }")),
        },
        (None, None) | (Some(_), Some(_)) => {
            Err(Problem::at(&item.place, format!("`{key}` needs one source: `env` or `file`"))
                .hint(sources_hint(usual)))
        }
    }
}

fn variable(settings: &Settings<'_>, key: Key, name: &str, place: &Place) -> Found {
    let shown = if looks_like_a_variable(name) { name } else { "the variable it names" };
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
    checked(key, value, &Place::Variable(name.to_owned()).or_if_unnamed(place, shown == name))
        .map(|secret| (secret, CredentialSource::Variable(name.to_owned())))
}

impl Place {
    /// The variable, unless its name must not be shown: then the line that names it.
    fn or_if_unnamed(self, other: &Self, named: bool) -> Self {
        if named { self } else { other.clone() }
    }
}

fn file(settings: &Settings<'_>, key: Key, path: &str, place: &Place) -> Found {
    let full = settings.resolve(path, place);
    let shown = if looks_like_a_path(path) { path } else { "its file" };
    let bytes = read(&full).map_err(|error| {
        Problem::at(place, format!("`{key}`: cannot read {shown}: {error}"))
            .hint("check the path and its permissions, as the user that runs the gateway")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Problem::at(place, format!("`{key}`: {shown} is not text"))
            .hint("it should hold the credential and nothing else")
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    checked(key, text, place).map(|secret| (secret, CredentialSource::File(full)))
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("larger than any credential"));
    }
    Ok(bytes)
}

/// Not empty, no blanks around it, one line: all three are copying mistakes that end in a 401.
fn checked(key: Key, text: &str, place: &Place) -> Result<SecretString, Problem> {
    let wrong = if text.is_empty() {
        "is empty"
    } else if text.trim() != text {
        "begins or ends with a blank"
    } else if text.contains(char::is_control) {
        "has more than one line or a control character"
    } else {
        return Ok(SecretString::from(text));
    };
    Err(Problem::at(place, format!("`{key}` {wrong}"))
        .hint("copy it again from Admin > Integrations > OAuth in Genesys Cloud"))
}
