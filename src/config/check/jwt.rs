//! `[jwt]`: whose tokens callers may show instead of a key.
//! It never takes an issuer without an audience: a token meant for somebody else would open us.

use std::collections::BTreeMap;

use super::oauth::{endpoint, texts};
use crate::config::{
    Caller, IdentityProvider,
    file::{Key, known_keys},
    read::{Checked, Reported, Settings},
    report::{Place, Problem},
};

const ISSUER: Key = Key("jwt", "issuer");
const AUDIENCE: Key = Key("jwt", "audience");
const JWKS_URL: Key = Key("jwt", "jwks_url");
const JWKS_TOKEN_FILE: Key = Key("jwt", "jwks_token_file");
const DIRECT: Key = Key("jwt", "direct");
const CA_FILE: Key = Key("jwt", "ca_file");

/// The section, when an issuer is named.
pub(super) fn jwt(settings: &mut Settings<'_>) -> Checked<Option<IdentityProvider>> {
    let issuer = settings.word(ISSUER, "https://login.example.com");
    let audience = settings.word(AUDIENCE, "genesys-proxy");
    let jwks_url = endpoint(settings, JWKS_URL);
    let token_file = settings.text(JWKS_TOKEN_FILE, "/run/secrets/token", |text, place| {
        Ok((text.to_owned(), place.clone()))
    });
    let ca_file = super::upstream::roots(settings, CA_FILE);
    let direct = settings.boolean(DIRECT, false);
    let (issuer, audience, jwks_url) = (issuer?, audience?, jwks_url?);
    let (token_file, ca_file, direct) = (token_file?, ca_file?, direct?);
    if let (Some(issuer), Some(audience), Some(jwks_url)) = (&issuer, &audience, &jwks_url) {
        return Ok(Some(IdentityProvider {
            issuer: issuer.clone(),
            audience: audience.clone(),
            jwks_url: jwks_url.clone(),
            jwks_token_file: token_file.map(|(text, place)| settings.resolve(&text, &place)),
            direct,
            ca_file,
        }));
    }
    let missing = [
        (ISSUER, issuer.is_none(), "the `iss` of its tokens"),
        (AUDIENCE, audience.is_none(), "the `aud` by which they are meant for this gateway"),
        (JWKS_URL, jwks_url.is_none(), "where its public keys are"),
    ];
    if missing.iter().all(|(_, missing, _)| *missing) && token_file.is_none() && ca_file.is_none() {
        return Ok(None);
    }
    let given = known_keys("jwt").find(|key| settings.items.contains_key(key));
    let place = given.map_or(Place::Nowhere, |key| settings.place(key));
    for (key, _, what) in missing.into_iter().filter(|(_, missing, _)| *missing) {
        settings.report(
            Problem::at(&place, format!("`{key}` is missing"))
                .hint(format!("an identity provider needs it: {what}")),
        );
    }
    Err(Reported)
}

/// Somebody can show such a token.
pub(super) fn of_use<'c>(
    settings: &mut Settings<'_>,
    mut callers: impl Iterator<Item = &'c Caller>,
) {
    if callers.all(|caller| caller.claims.is_empty()) {
        let what = "[jwt] is of no use: no caller is known by claims";
        settings.report(Problem::at(&settings.place(ISSUER), what).hint(
            "write claims = { sub = \"…\" } in the [[caller]] whose tokens these are, or remove [jwt]",
        ));
    }
}

/// The claims that a caller's tokens have.
pub(super) fn claims(own: &mut Settings<'_>, key: Key) -> Checked<BTreeMap<String, String>> {
    let example = "write { sub = \"system:serviceaccount:team:billing\" }";
    let Some(item) = own.items.get(&key) else { return Ok(BTreeMap::new()) };
    let (texts, mut wrong) = texts(key, item, example);
    let mut claims = BTreeMap::new();
    for (name, text, place) in texts {
        let checked = ["iss", "aud", "exp", "nbf", "iat"].contains(&name.as_str());
        if checked || text.is_empty() {
            let what = format!("`{key}`: `{name}` does not tell callers apart");
            wrong.push(Problem::at(&place, what).hint(example));
        }
        claims.insert(name, text);
    }
    own.all(claims, wrong)
}
