//! `[oauth]`: who we are, and where and how the token is got.
//! It never calls the login server; `check --live` does.

use std::{collections::BTreeMap, time::Duration};

use secrecy::ExposeSecret;
use toml::de::DeValue;
use url::Url;

use crate::config::{
    ClientAuth, OAuth, Origin,
    credential::credential,
    file::{Item, Key},
    origin,
    read::{Checked, Read, Reported, Settings, wants, within},
    report::{Place, Problem},
};

const TOKEN_URL: Key = Key("oauth", "token_url");
const SCOPE: Key = Key("oauth", "scope");
const EXTRA_PARAMS: Key = Key("oauth", "extra_params");

/// Form fields that are ours: set twice, a server may take either.
const OUR_PARAMS: [(&str, &str); 6] = [
    ("grant_type", "it is always client_credentials"),
    ("client_id", "it is `client_id` in [oauth]"),
    ("client_secret", "it is `client_secret` in [oauth]"),
    ("client_assertion", "it is not supported by this version"),
    ("client_assertion_type", "it is not supported by this version"),
    ("scope", "it is `scope` in [oauth]"),
];

/// The whole section. Without a login host (it had a problem) the token URL is checked only.
pub(super) fn oauth(settings: &mut Settings<'_>, login: Option<&Origin>) -> Checked<OAuth> {
    let id = credential(settings, Key("oauth", "client_id"), "GENESYS_CLIENT_ID");
    let secret = credential(settings, Key("oauth", "client_secret"), "GENESYS_CLIENT_SECRET");
    let token_url = token_url(settings, login);
    let timeout = settings.duration(
        Key("oauth", "timeout"),
        Duration::from_secs(10),
        &(super::MILLISECOND..=super::HOUR),
    );
    let client_auth = settings.choice(
        Key("oauth", "client_auth"),
        ClientAuth::Basic,
        &[("basic", ClientAuth::Basic), ("body", ClientAuth::Body)],
    );
    let scope = settings.list(SCOPE, "a-scope", scope);
    let extra_params = extra_params(settings);
    let refresh_before = settings.duration(
        Key("oauth", "refresh_before"),
        Duration::from_mins(5),
        &super::FROM_ZERO_TO_DAY,
    );
    let (client_id, client_id_source) = id?;
    let (client_secret, client_secret_source) = secret?;
    Ok(OAuth {
        client_id: client_id.expose_secret().to_owned(),
        client_id_source,
        client_secret,
        client_secret_source,
        token_url: token_url?,
        timeout: timeout?,
        client_auth: client_auth?,
        scope: scope?,
        extra_params: extra_params?,
        refresh_before: refresh_before?,
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
fn scope(text: &str, place: &Place) -> Read<String> {
    let good = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    let words: Vec<_> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
    Err(Problem::at(place, format!("`{SCOPE}`: not one scope")).hint(match words.len() {
        0 | 1 => "letters, digits and signs, without blanks and quotes".to_owned(),
        _ => format!("one text each: [{}]", words.join(", ")),
    }))
}

/// A table of texts.
fn extra_params(settings: &mut Settings<'_>) -> Checked<BTreeMap<String, String>> {
    let Some(item) = settings.items.get(&EXTRA_PARAMS) else { return Ok(BTreeMap::new()) };
    let (params, wrong) = params(item);
    settings.all(params, wrong)
}

fn params(item: &Item<'_>) -> (BTreeMap<String, String>, Vec<Problem>) {
    const EXAMPLE: &str = "write { audience = \"https://api.example.com\" }";
    let mut params = BTreeMap::new();
    let mut wrong = Vec::new();
    let DeValue::Table(table) = &item.value else {
        wrong.push(wants(EXTRA_PARAMS, &item.place, "a table", &item.value).hint(EXAMPLE));
        return (params, wrong);
    };
    for (name, value) in table {
        let place = within(item, value);
        let ours = OUR_PARAMS.iter().find(|(ours, _)| *ours == name.get_ref());
        match (ours, value.get_ref().as_str()) {
            (Some((name, instead)), _) => wrong.push(
                Problem::at(&place, format!("`{EXTRA_PARAMS}` cannot set {name}"))
                    .hint(format!("remove it: {instead}")),
            ),
            (None, Some(text)) => {
                params.insert(name.get_ref().to_string(), text.to_owned());
            }
            (None, None) => {
                wrong
                    .push(wants(EXTRA_PARAMS, &place, "texts only", value.get_ref()).hint(EXAMPLE));
            }
        }
    }
    (params, wrong)
}
