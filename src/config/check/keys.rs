//! Keys that somebody shows here: read from a file, or given as a digest.
//! It never keeps a key, and never quotes one.

use std::path::Path;

use crate::config::{
    KeyDigest,
    credential::{not_a_word, read, without_newline},
    file::Key,
    read::{Checked, Read, Settings},
    redact::looks_like_a_path,
    report::{Place, Problem},
};

/// A shorter key can be guessed by trying.
const SHORTEST_KEY: usize = 16;

/// The digest of a key, and where it is said. `why`: two are not one.
pub(super) fn digest(
    own: &mut Settings<'_>,
    (key_file, key_sha256): (Key, Key),
    why: &str,
) -> Checked<Option<(KeyDigest, Place)>> {
    let given = own.text(key_sha256, "64 hex digits", |text, place| {
        let wrong = |what: &str| {
            Problem::at(place, format!("`{key_sha256}` {what}"))
                .hint("write the 64 digits that `printf %s \"$KEY\" | sha256sum` prints")
        };
        let digest = KeyDigest::parse(text).ok_or_else(|| wrong("is not a SHA-256 digest"))?;
        if [&b""[..], b"\n"].iter().any(|nothing| digest == KeyDigest::of(nothing)) {
            return Err(wrong("is the digest of nothing"));
        }
        Ok((digest, place.clone()))
    });
    let file = own
        .text(key_file, "/run/secrets/billing", |text, place| Ok((text.to_owned(), place.clone())));
    let file = file.and_then(|file| {
        let Some((text, place)) = file else { return Ok(None) };
        let full = own.resolve(&text, &place);
        let read = key_in(key_file, &full, &text, &place).map_err(|problem| own.report(problem))?;
        own.files.push(full);
        Ok(Some((read, place)))
    });
    let (given, file) = (given?, file?);
    if let (Some((_, digest)), Some((_, file))) = (&given, &file) {
        return Err(own.report(
            Problem::at(file, format!("`{key_file}` and `{key_sha256}` are two keys"))
                .against("this is another", digest, "this is one")
                .hint(format!("keep one of them; {why}")),
        ));
    }
    Ok(given.or(file))
}

/// Of the key that a file holds.
fn key_in(key_file: Key, full: &Path, path: &str, place: &Place) -> Read<KeyDigest> {
    // Somebody may have put the key where its file's name goes.
    let shown = if looks_like_a_path(path) { path } else { "its file" };
    let wrong = |what: String| Problem::at(place, format!("`{key_file}`: {what}"));
    let bytes = read(full).map_err(|error| {
        wrong(format!("cannot read {shown}: {error}"))
            .hint("check the path and its permissions, as the user that runs the gateway")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        wrong(format!("{shown} is not text")).hint("it should hold the key and nothing else")
    })?;
    let key = without_newline(text);
    if let Some(reason) = not_a_word(key) {
        return Err(wrong(format!("the key {reason}"))
            .hint("the file should hold the key and nothing else, on one line"));
    }
    if key.len() < SHORTEST_KEY {
        return Err(wrong(format!("the key is shorter than {SHORTEST_KEY} characters"))
            .hint("make one with `openssl rand -hex 32`"));
    }
    Ok(KeyDigest::of(key.as_bytes()))
}
