//! `[store]`: where replicas meet.
//! It never connects: the gateway does, and works without.

use crate::config::{
    Store,
    file::Key,
    read::{Checked, Settings},
};

const URL: Key = Key("store", "url");

/// The whole section; `None` without a URL.
pub(super) fn store(settings: &mut Settings<'_>) -> Checked<Option<Store>> {
    let url = settings.word(URL, "redis://127.0.0.1:6379")?;
    Ok(url.filter(|url| !url.is_empty()).map(|url| Store { url: url.into() }))
}
