//! `[tls]`: the files exist, hold what they should, and fit together.
//! It never quotes what is in a file.

use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use crate::config::{
    CertName, ListenTls, Shown, TlsFile, Unusable,
    file::Key,
    read::{Checked, Read, Settings},
    read_credential,
    report::{Place, Problem},
};

const CERT: Key = Key("tls", "cert");
const KEY: Key = Key("tls", "key");
const CLIENT_CA: Key = Key("tls", "client_ca");

type Named = Option<(PathBuf, Place)>;

/// The whole section; `None` when listeners speak plain text.
pub(super) fn tls(settings: &mut Settings<'_>) -> Checked<Option<ListenTls>> {
    let mut path = |key| -> Checked<Named> {
        let given = settings.text(key, "/etc/genesys-proxy/tls.pem", |text, place| {
            Ok((text.to_owned(), place.clone()))
        })?;
        Ok(given.map(|(path, place)| (settings.resolve(&path, &place), place)))
    };
    let (cert, key, client_ca) = (path(CERT), path(KEY), path(CLIENT_CA));
    match (cert?, key?, client_ca?) {
        (None, None, None) => Ok(None),
        (Some((_, place)), None, _) => Err(settings.report(alone(CERT, KEY, &place))),
        (None, Some((_, place)), _) => Err(settings.report(alone(KEY, CERT, &place))),
        (None, None, Some((_, place))) => Err(settings.report(
            Problem::at(&place, format!("`{CLIENT_CA}` without `{CERT}`"))
                .hint("callers show certificates over TLS only: write cert and key, too"),
        )),
        (Some(cert), Some(key), client_ca) => usable(settings, cert, key, client_ca).map(Some),
    }
}

fn alone(given: Key, missing: Key, place: &Place) -> Problem {
    Problem::at(place, format!("`{given}` and `{missing}` go together"))
        .hint(format!("write {} = \"/path\", too, or remove {}", missing.1, given.1))
}

fn usable(
    settings: &mut Settings<'_>,
    cert: (PathBuf, Place),
    key: (PathBuf, Place),
    client_ca: Named,
) -> Checked<ListenTls> {
    let mut bytes = |key, (path, place): &(PathBuf, Place)| {
        contents(key, path, place).map_err(|problem| settings.report(problem))
    };
    let (chain, private) = (bytes(CERT, &cert), bytes(KEY, &key));
    let roots = client_ca.as_ref().map(|named| bytes(CLIENT_CA, named)).transpose();
    let (chain, private, roots) = (chain?, private?, roots?);
    let roots = roots.as_ref().map(|roots| roots.as_slice());
    Shown::parse(&chain, &private, roots).map_err(|Unusable { file, what, hint }| {
        let (named, place) = match file {
            TlsFile::Cert => (CERT, &cert.1),
            TlsFile::Key => (KEY, &key.1),
            TlsFile::ClientCa => (CLIENT_CA, client_ca.as_ref().map_or(&cert.1, |ca| &ca.1)),
        };
        settings.report(Problem::at(place, format!("`{named}`: {what}")).hint(hint))
    })?;
    Ok(ListenTls { cert: cert.0, key: key.0, client_ca: client_ca.map(|(path, _)| path) })
}

fn contents(key: Key, path: &Path, place: &Place) -> Read<Zeroizing<Vec<u8>>> {
    read_credential(path).map_err(|error| {
        Problem::at(place, format!("`{key}`: cannot read {}: {error}", path.display()))
            .hint("check the path and its permissions, as the user that runs the gateway")
    })
}

/// A caller's certificate is asked for only when there is somebody to have issued it.
pub(super) fn asks_for_certificates(settings: &Settings<'_>) -> bool {
    let given = settings.items.get(&CLIENT_CA);
    given.is_some_and(|item| item.value.as_str() != Some(""))
}

/// `"CN=billing"`, `"DNS:billing.internal"` or `"URI:spiffe://internal/billing"`.
pub(super) fn name(key: Key, text: &str, place: &Place) -> Read<CertName> {
    let wrong = |what: &str| Problem::at(place, format!("`{key}` {what}"));
    let named = CertName::parse(text).ok_or_else(|| {
        wrong("is not a name in a certificate").hint(
            "write \"CN=billing\", \"DNS:billing.internal\" or \"URI:spiffe://internal/billing\"",
        )
    })?;
    if matches!(&named, CertName::Dns(name) if name.contains('*')) {
        return Err(wrong("takes no wildcard").hint("write the name as the certificate has it"));
    }
    Ok(named)
}
