//! `[store]`: where replicas meet.
//! It never connects: the gateway does, and works without.

use std::time::Duration;

use crate::config::{
    SecretSource, Store,
    credential::{Kind, secret},
    file::Key,
    read::{Checked, Settings},
    report::{Place, Problem},
    store::{Address, TIMEOUT, address},
};

const URL: Key = Key("store", "url");
const USERNAME: Key = Key("store", "username");
const PASSWORD: Key = Key("store", "password");
const CA_FILE: Key = Key("store", "ca_file");
/// Half of the time for which replicas believe that one lives: with a slower store all would seem dead.
const LONGEST: Duration = Duration::from_millis(1500);

/// The whole section; `None` without a URL.
pub(super) fn store(settings: &mut Settings<'_>) -> Checked<Option<Store>> {
    let url = settings.text(URL, "redis://127.0.0.1:6379", |text, place| {
        address(text)
            .map_err(|(message, hint)| Problem::at(place, format!("`{URL}`: {message}")).hint(hint))
    });
    let username = settings.word(USERNAME, "genesys-proxy");
    let password_place = settings.place(PASSWORD);
    let item = settings.items.remove(&PASSWORD);
    let password = secret(settings, PASSWORD, item.as_ref(), None, Kind::Word);
    let ca_file = super::upstream::roots(settings, CA_FILE);
    let timeout =
        settings.duration(Key("store", "timeout"), TIMEOUT, &(Duration::from_millis(10)..=LONGEST));
    let (url, username, password) = (url?, username?, password?);
    let (ca_file, timeout) = (ca_file?, timeout?);
    let Some(Address { servers, tls, username: of_url, password: in_url }) = url else {
        without_url(settings, &password_place);
        return Ok(None);
    };
    let url_place = settings.place(URL);
    if ca_file.is_some() && !tls {
        settings.report(
            Problem::at(&settings.place(CA_FILE), format!("`{CA_FILE}` without TLS"))
                .hint("write rediss:// in `url`, or remove it"),
        );
    }
    if of_url.is_some() && username.is_some() {
        settings.report(twice(USERNAME, &settings.place(USERNAME), &url_place));
    }
    if in_url.is_some() && password.is_some() {
        settings.report(twice(PASSWORD, &password_place, &url_place));
    }
    let username = username.or(of_url);
    let in_url = in_url.map(|value| SecretSource::Variable { name: format!("of {URL}"), value });
    let password = password.or(in_url);
    if username.is_some() && password.is_none() {
        let place = match settings.place(USERNAME) {
            Place::Nowhere => &url_place,
            place => &place.clone(),
        };
        settings.report(
            Problem::at(place, "a user of the store without a password")
                .hint(format!("write password = {{ env = \"REDIS_PASSWORD\" }} in [{}]", URL.0)),
        );
    }
    Ok(Some(Store { servers, tls, username, password, ca_file, timeout }))
}

/// Something was said twice, and one of them would be ignored.
fn twice(key: Key, place: &Place, url: &Place) -> Problem {
    Problem::at(place, format!("`{key}` and `{URL}` both give one"))
        .hint("remove it from the URL, where process lists and logs of others show it")
        .against("this one", url, "and one in here")
}

/// Keys that nothing reads are a slip of whoever forgot the URL; the file as it is shipped has them
/// empty.
fn without_url(settings: &mut Settings<'_>, password: &Place) {
    let given = |key: &Key| match settings.items.get(key) {
        Some(item) => item.value.as_str() != Some(""),
        None => false,
    };
    let named = [USERNAME, CA_FILE].into_iter().find(given).map(|key| (key, settings.place(key)));
    let password = (*password != Place::Nowhere).then(|| (PASSWORD, password.clone()));
    if let Some((key, place)) = password.or(named) {
        settings.report(
            Problem::at(&place, format!("`{key}` without `{URL}`"))
                .hint("write url = \"redis://…\" in [store], or remove it"),
        );
    }
}
