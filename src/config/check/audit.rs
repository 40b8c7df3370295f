//! `[audit]`: where each call is recorded, and what happens to calls when it cannot be.
//! It never opens the log, and never quotes its key.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

use crate::config::{
    Audit, OnFailure,
    credential::{not_a_word, read, without_newline},
    file::Key,
    read::{Checked, Read, Settings},
    redact::looks_like_a_path,
    report::{Place, Problem},
    units::show_size,
};

const EXAMPLE: &str = "/var/log/genesys-proxy/audit.jsonl";
const EXAMPLE_HINT: &str =
    "letters, digits and -_., such as \"/var/log/genesys-proxy/audit.jsonl\"";
const FILE: Key = Key("audit", "file");
const ON_FAILURE: Key = Key("audit", "on_failure");
const SYNC: Key = Key("audit", "sync");
const MAX_SIZE: Key = Key("audit", "max_size");
const KEY_FILE: Key = Key("audit", "key_file");

/// Later is no promise that anybody would count on.
const SYNCS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(1);
/// Less would be a file for every few hundred calls.
const SMALLEST: u64 = 64 << 10;
/// What `openssl rand -hex 32` has, halved.
const SHORTEST_KEY: usize = 32;

/// The whole section; `None` without a file.
pub(super) fn audit(settings: &mut Settings<'_>) -> Checked<Option<Audit>> {
    let file = file(settings);
    let on_failure = settings.choice(
        ON_FAILURE,
        OnFailure::Refuse,
        &[("refuse", OnFailure::Refuse), ("continue", OnFailure::Continue)],
    );
    let sync = settings.duration(SYNC, Duration::from_secs(1), &SYNCS);
    let max_size = max_size(settings);
    let key = key(settings);
    if let (Ok(None), Ok(Some(_))) = (&file, &key) {
        let problem = Problem::at(&settings.place(KEY_FILE), format!("`{KEY_FILE}` has no log"));
        settings.report(problem.hint("write file = \"/path\" in [audit], or remove it"));
    }
    let (on_failure, sync, max_size, key) = (on_failure?, sync?, max_size?, key?);
    Ok(file?.map(|file| Audit { file, on_failure, sync, max_size, key }))
}

fn file(settings: &mut Settings<'_>) -> Checked<Option<PathBuf>> {
    let given = settings.text(FILE, EXAMPLE, |text, place| Ok((text.to_owned(), place.clone())))?;
    let Some((text, place)) = given else { return Ok(None) };
    let full = settings.resolve(&text, &place);
    let mut wrong = |what: String, hint: &str| {
        Err(settings.report(Problem::at(&place, format!("`{FILE}`: {what}")).hint(hint)))
    };
    // Others are named after it, and looked for by their names.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = |name: &str| !name.starts_with('.') && name.chars().all(plain);
    if text.ends_with('/') || !full.file_name().and_then(|name| name.to_str()).is_some_and(named) {
        return wrong("not a plain file name".to_owned(), EXAMPLE_HINT);
    }
    // What is opened at the start is one of ours or new; a link could lead elsewhere by then.
    match full.symlink_metadata().map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => {
            let hint = format!("name a file in it: \"{}/audit.jsonl\"", text.escape_debug());
            return wrong("it is a directory".to_owned(), &hint);
        }
        Ok(kind) if kind.is_symlink() => {
            return wrong("it is a symbolic link".to_owned(), "name the file that it leads to");
        }
        Ok(kind) if !kind.is_file() => {
            return wrong("it is a device or the like".to_owned(), EXAMPLE_HINT);
        }
        Ok(_) | Err(_) => {}
    }
    let beside = full.parent().filter(|parent| !parent.as_os_str().is_empty());
    if beside.is_some_and(|directory| !directory.is_dir()) {
        return wrong("its directory is not there".to_owned(), "make it, for the gateway alone");
    }
    Ok(Some(full))
}

fn max_size(settings: &mut Settings<'_>) -> Checked<Option<u64>> {
    let size = settings.size::<u64>(MAX_SIZE, 0, &(0..=u64::MAX))?;
    if (1..SMALLEST).contains(&size) {
        let problem =
            Problem::at(&settings.place(MAX_SIZE), format!("`{MAX_SIZE}` is out of range"));
        let hint = format!("{} or more, or \"0B\" for one file", show_size(SMALLEST));
        return Err(settings.report(problem.hint(hint)));
    }
    Ok(Some(size).filter(|size| *size > 0))
}

fn key(settings: &mut Settings<'_>) -> Checked<Option<SecretString>> {
    let file = settings.text(KEY_FILE, "/run/secrets/audit-key", |text, place| {
        Ok((text.to_owned(), place.clone()))
    })?;
    let Some((text, place)) = file else { return Ok(None) };
    let full = settings.resolve(&text, &place);
    key_in(&full, &text, &place).map(Some).map_err(|problem| settings.report(problem))
}

fn key_in(full: &Path, path: &str, place: &Place) -> Read<SecretString> {
    // Somebody may have put the key where its file's name goes.
    let shown = if looks_like_a_path(path) { path } else { "its file" };
    let (what, hint) = match read_audit_key(full) {
        Ok(key) => return Ok(key),
        Err(Unusable::Unread(error)) => (
            format!("cannot read {shown}: {error}"),
            "check the path and its permissions, as the user that runs the gateway",
        ),
        Err(Unusable::NotText) => {
            (format!("{shown} is not text"), "it should hold the key and nothing else")
        }
        Err(Unusable::NotAWord(reason)) => (
            format!("the key {reason}"),
            "the file should hold the key and nothing else, on one line",
        ),
        Err(Unusable::Short) => (
            format!("the key is shorter than {SHORTEST_KEY} characters"),
            "make one with `openssl rand -hex 32`",
        ),
    };
    Err(Problem::at(place, format!("`{KEY_FILE}`: {what}")).hint(hint))
}

/// Why a file holds no key for an audit log.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system does not let us.
    #[error("it cannot be read: {0}")]
    Unread(#[from] std::io::Error),
    /// Not UTF-8.
    #[error("it is not text")]
    NotText,
    /// A copying mistake.
    #[error("the key {0}")]
    NotAWord(&'static str),
    /// It could be guessed.
    #[error("the key is shorter than {SHORTEST_KEY} characters")]
    Short,
}

/// The key of an audit log, as the gateway and `audit verify` read it.
///
/// # Errors
/// The file holds no key.
pub fn read_audit_key(path: &Path) -> Result<SecretString, Unusable> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Unusable::NotText)?;
    let key = without_newline(text);
    if let Some(reason) = not_a_word(key) {
        return Err(Unusable::NotAWord(reason));
    }
    if key.len() < SHORTEST_KEY {
        return Err(Unusable::Short);
    }
    Ok(SecretString::from(key))
}
