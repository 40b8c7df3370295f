//! `[oauth]`: who we are, and where and how the token is got.
//! It never calls the login server; `check --live` does.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use toml::de::DeValue;
use url::Url;

use super::clients;
use crate::config::{
    ClientAuth, MissingScope, OAuth, Origin, Verify,
    file::{Item, Key},
    origin,
    read::{Checked, Read, Reported, Settings, not_toml, wants, within},
    report::{Place, Problem},
};

const TOKEN_URL: Key = Key("oauth", "token_url");
const SCOPE: Key = Key("oauth", "scope");
const REQUIRED_SCOPES: Key = Key("oauth", "required_scopes");
const EXTRA_PARAMS: Key = Key("oauth", "extra_params");
const EXTRA_HEADERS: Key = Key("oauth", "extra_headers");
const VERIFY: Key = Key("oauth", "verify");
const INTROSPECT_URL: Key = Key("oauth", "introspect_url");
const REVOKE_ON_EXIT: Key = Key("oauth", "revoke_on_exit");
const REVOKE_URL: Key = Key("oauth", "revoke_url");

/// Header fields of a token request that are ours, or the connection's.
const OUR_HEADERS: [&str; 9] = [
    "authorization",
    "accept",
    "content-type",
    "content-length",
    "host",
    "connection",
    "transfer-encoding",
    "te",
    "upgrade",
];

/// Form fields that are ours: set twice, a server may take either.
const OUR_PARAMS: [(&str, &str); 6] = [
    ("grant_type", "it is always client_credentials"),
    ("client_id", "it is `client_id` in [oauth]"),
    ("client_secret", "it is `client_secret` in [oauth]"),
    ("client_assertion", "it is made when client_auth is client_secret_jwt or private_key_jwt"),
    (
        "client_assertion_type",
        "it is made when client_auth is client_secret_jwt or private_key_jwt",
    ),
    ("scope", "it is `scope` in [oauth]"),
];

/// The whole section. Without a login host (it had a problem) the token URL is checked only.
pub(super) fn oauth(settings: &mut Settings<'_>, login: Option<&Origin>) -> Checked<OAuth> {
    let client_auth = settings.choice(
        Key("oauth", "client_auth"),
        ClientAuth::Basic,
        &[
            ("basic", ClientAuth::Basic),
            ("body", ClientAuth::Body),
            ("client_secret_jwt", ClientAuth::ClientSecretJwt),
            ("private_key_jwt", ClientAuth::PrivateKeyJwt),
            ("tls_client_auth", ClientAuth::TlsClientAuth),
        ],
    );
    let clients = clients::clients(settings, client_auth.as_ref().ok().copied());
    let client_cert = clients::client_cert(settings, client_auth.as_ref().ok().copied());
    let token_url = token_url(settings, login);
    let timeout = settings.duration(
        Key("oauth", "timeout"),
        Duration::from_secs(10),
        &(super::MILLISECOND..=super::HOUR),
    );
    let scope = settings.list(SCOPE, "a-scope", |text, place| one_scope(SCOPE, text, place));
    let required_scopes = settings
        .list(REQUIRED_SCOPES, "a-scope", |text, place| one_scope(REQUIRED_SCOPES, text, place));
    let extra_params = extra_params(settings);
    let extra_headers = extra_headers(settings);
    let refresh_before = settings.duration(
        Key("oauth", "refresh_before"),
        Duration::from_mins(5),
        &super::FROM_ZERO_TO_DAY,
    );
    let on_missing_scope = settings.choice(
        Key("oauth", "on_missing_scope"),
        MissingScope::Warn,
        &[("warn", MissingScope::Warn), ("refuse", MissingScope::Refuse)],
    );
    let mut word = |name, example| settings.word(Key("oauth", name), example);
    let assertion_audience = word("assertion_audience", "https://login.example.com");
    let expected_issuer = word("expected_issuer", "https://login.example.com");
    let expected_audience = word("expected_audience", "https://api.example.com");
    let jwks_url = endpoint(settings, Key("oauth", "jwks_url"));
    let revoke_url = endpoint(settings, REVOKE_URL);
    let verify = verify(settings);
    let verify_every = settings.duration(
        Key("oauth", "verify_every"),
        Duration::from_mins(5),
        &(Duration::from_secs(1)..=super::DAY),
    );
    // Genesys's own Terraform provider stops at 50.
    let tokens = settings.number(Key("oauth", "tokens"), 1, &(1..=50));
    let revoke_on_exit = settings.boolean(REVOKE_ON_EXIT, false);
    if let (Ok(false), Ok(Some(_))) = (&revoke_on_exit, &revoke_url) {
        unused(settings, REVOKE_URL, REVOKE_ON_EXIT, "revoke_on_exit = true");
    }
    Ok(OAuth {
        clients: clients?,
        token_url: token_url?,
        timeout: timeout?,
        client_auth: client_auth?,
        assertion_audience: assertion_audience?,
        client_cert: client_cert?,
        scope: scope?,
        extra_params: extra_params?,
        extra_headers: extra_headers?,
        refresh_before: refresh_before?,
        required_scopes: required_scopes?,
        on_missing_scope: on_missing_scope?,
        jwks_url: jwks_url?,
        expected_issuer: expected_issuer?,
        expected_audience: expected_audience?,
        verify: verify?,
        verify_every: verify_every?,
        tokens: tokens?,
        revoke_on_exit: revoke_on_exit?,
        revoke_url: revoke_url?,
    })
}

/// Introspection has a URL that nobody can guess.
fn verify(settings: &mut Settings<'_>) -> Checked<Verify> {
    #[derive(Clone, Copy)]
    enum Kind {
        Never,
        Genesys,
        Rfc7662,
    }
    let kind = settings.choice(
        VERIFY,
        Kind::Never,
        &[("none", Kind::Never), ("genesys", Kind::Genesys), ("rfc7662", Kind::Rfc7662)],
    );
    let introspect_url = endpoint(settings, INTROSPECT_URL);
    if let (Ok(Kind::Never | Kind::Genesys), Ok(Some(_))) = (&kind, &introspect_url) {
        unused(settings, INTROSPECT_URL, VERIFY, "verify = \"rfc7662\"");
    }
    match (kind?, introspect_url?) {
        (Kind::Never, _) => Ok(Verify::Never),
        (Kind::Genesys, _) => Ok(Verify::Genesys),
        (Kind::Rfc7662, Some(introspect_url)) => Ok(Verify::Rfc7662 { introspect_url }),
        (Kind::Rfc7662, None) => Err(settings.report(
            Problem::at(&settings.place(VERIFY), "`oauth.introspect_url` is missing").hint(
                "add introspect_url = \"https://…\" to [oauth], or write verify = \"genesys\"",
            ),
        )),
    }
}

/// A key was given that nothing reads unless another one says so.
fn unused(settings: &mut Settings<'_>, key: Key, unless: Key, says: &str) {
    let problem = Problem::at(&settings.place(key), format!("`{key}` is for {says}"));
    let problem = match settings.place(unless) {
        Place::Nowhere => problem,
        place => problem.against("this is not used", &place, "because of this"),
    };
    settings.report(problem.hint(format!("write {says} in [{}], or remove it", unless.0)));
}

/// The URL of an endpoint that gets tokens or credentials.
/// A server's URL, with a path or without.
pub(super) fn endpoint(settings: &mut Settings<'_>, key: Key) -> Checked<Option<Url>> {
    settings.text(key, "https://login.example.com/oauth2/path", |text, place| {
        let (url, _) = origin::server(text).map_err(|(message, hint)| {
            Problem::at(place, format!("`{key}`: {message}")).hint(hint)
        })?;
        Ok(url)
    })
}

/// By default `<login_url>/oauth/token`. It may have a path: other servers choose their own.
fn token_url(settings: &mut Settings<'_>, login: Option<&Origin>) -> Checked<Url> {
    let given =
        settings.text(TOKEN_URL, "https://login.mypurecloud.de/oauth/token", |text, place| {
            let (url, _) = origin::server(text).map_err(|(message, hint)| {
                Problem::at(place, format!("`{TOKEN_URL}`: {message}")).hint(hint)
            })?;
            if url.path() == "/" {
                return Err(Problem::at(place, format!("`{TOKEN_URL}`: the URL has no path"))
                    .hint("give all of it; at Genesys the path is /oauth/token"));
            }
            Ok(url)
        })?;
    match (given, login) {
        (Some(url), _) => Ok(url),
        (None, Some(login)) => Url::parse(&format!("{login}/oauth/token")).map_err(|error| {
            let problem = Problem::at(&Place::Nowhere, format!("`{TOKEN_URL}`: {error}"));
            settings.report(problem.hint("set it, or login_url in [upstream]"))
        }),
        (None, None) => Err(Reported),
    }
}

/// RFC 6749 section 3.3: visible ASCII but `"` and `\`; a blank would make it two.
fn one_scope(key: Key, text: &str, place: &Place) -> Read<String> {
    let good = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    let words: Vec<_> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
    Err(Problem::at(place, format!("`{key}`: not one scope")).hint(match words.len() {
        0 | 1 => "letters, digits and signs, without blanks and quotes".to_owned(),
        _ => format!("one text each: [{}]", words.join(", ")),
    }))
}

/// A table of texts, none of them ours.
fn extra_params(settings: &mut Settings<'_>) -> Checked<BTreeMap<String, String>> {
    let example = "write { audience = \"https://api.example.com\" }";
    let Some(item) = settings.items.get(&EXTRA_PARAMS) else { return Ok(BTreeMap::new()) };
    let (texts, mut wrong) = texts(EXTRA_PARAMS, item, example);
    let mut params = BTreeMap::new();
    for (name, text, place) in texts {
        match OUR_PARAMS.iter().find(|(ours, _)| *ours == name) {
            None => drop(params.insert(name, text)),
            Some((name, instead)) => wrong.push(
                Problem::at(&place, format!("`{EXTRA_PARAMS}` cannot set {name}"))
                    .hint(format!("remove it: {instead}")),
            ),
        }
    }
    settings.all(params, wrong)
}

/// Header fields; their values are not quoted anywhere, as they may be keys.
fn extra_headers(settings: &mut Settings<'_>) -> Checked<Vec<(HeaderName, HeaderValue)>> {
    let example = "write { x-tenant = \"acme\" }";
    let Some(item) = settings.items.get(&EXTRA_HEADERS) else { return Ok(Vec::new()) };
    let (texts, mut wrong) = texts(EXTRA_HEADERS, item, example);
    let mut fields = Vec::new();
    for (name, text, place) in texts {
        let ours = OUR_HEADERS.iter().find(|ours| name.eq_ignore_ascii_case(ours));
        match (ours, HeaderName::try_from(&name), HeaderValue::try_from(&text)) {
            (None, Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                fields.push((name, value));
            }
            (Some(ours), _, _) => wrong.push(
                Problem::at(&place, format!("`{EXTRA_HEADERS}` cannot set {ours}"))
                    .hint("remove it: it is the gateway's own"),
            ),
            (None, _, _) => wrong.push(
                Problem::at(&place, format!("`{EXTRA_HEADERS}`: not a header field")).hint(example),
            ),
        }
    }
    settings.all(fields, wrong)
}

/// Names and texts, each with its place.
pub(super) type Texts = Vec<(String, String, Place)>;

/// A table of texts; everything else in it is a problem.
pub(super) fn texts(key: Key, item: &Item<'_>, example: &str) -> (Texts, Vec<Problem>) {
    let (mut texts, mut wrong) = (Vec::new(), Vec::new());
    let DeValue::Table(table) = &item.value else {
        let kind = || wants(key, &item.place, "a table", &item.value).hint(example);
        wrong.push(not_toml(key, item, example).unwrap_or_else(kind));
        return (texts, wrong);
    };
    for (name, value) in table {
        let place = within(item, value);
        match value.get_ref().as_str() {
            Some(text) => texts.push((name.get_ref().to_string(), text.to_owned(), place)),
            None => {
                wrong.push(wants(key, &place, "texts only", value.get_ref()).hint(example));
            }
        }
    }
    (texts, wrong)
}
