//! What a gateway for one command leaves out of a shared configuration: who else calls it, and where.
//! It never forgets a variable that a part which is left out reads a secret from.

use secrecy::SecretString;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    env::{PREFIX, Variables},
    file::{Item, Items, Key, Organisations},
    redact::names_a_secret,
    report::{Place, Problem},
};

/// Its listener is its own, and so is its caller; there is one organisation.
const SECTIONS: [&str; 3] = ["tls", "jwt", "orgs"];
/// Nobody may be able to read the admin's key but who runs the gateway for all. No program sends a header that only pages must: its caller has a key, which no page can know.
const KEYS: [Key; 7] = [
    Key("", "admin_key_file"),
    Key("", "admin_key_sha256"),
    Key("", "caller"),
    Key("access", "mode"),
    Key("access", "require_header"),
    Key("access", "login_life"),
    Key("access", "login_idle"),
];

/// The variables that the configuration names anywhere, and the secrets among what they hold.
#[derive(Debug, Default)]
pub struct Named {
    /// Of each `{ env = "NAME" }`.
    pub names: Vec<String>,
    /// What is in those that a secret is read from, and secrets that an override has as they are.
    pub values: Vec<SecretString>,
}

/// Takes the sections that one command does not use out of the file, whatever is in them.
pub(super) fn take_sections(file: &mut DeTable<'_>, variables: &Variables, named: &mut Named) {
    for section in SECTIONS {
        if let Some(value) = file.remove(section) {
            named.add(value.get_ref(), false, variables);
        }
    }
}

/// Takes out what else it does not use, and what overrides say of such sections.
pub(super) fn take_keys(
    items: &mut Items<'_>,
    orgs: &mut Organisations<'_>,
    variables: &Variables,
    named: &mut Named,
) {
    for (key, item) in items.iter().chain(orgs.values().flat_map(|org| &org.items)) {
        named.add_item(*key, item, variables);
    }
    orgs.clear();
    let of_vault = items
        .iter()
        .any(|(key, item)| ["oauth", "store"].contains(&key.0) && in_vault(&item.value));
    items.retain(|key, _| {
        !SECTIONS.contains(&key.0) && !KEYS.contains(key) && (of_vault || key.0 != "vault")
    });
}

/// Overrides of such sections may be wrong, too.
pub(super) fn forgive(problems: &mut Vec<Problem>) {
    let others = SECTIONS.map(|section| format!("{PREFIX}{section}__").to_lowercase());
    problems.retain(|problem| match problem.place() {
        Place::Variable(name) => {
            let name = name.to_lowercase();
            !others.iter().any(|prefix| name.starts_with(prefix))
        }
        Place::File(_) | Place::Flag(_) | Place::Nowhere => true,
    });
}

impl Named {
    fn add_item(&mut self, key: Key, item: &Item<'_>, variables: &Variables) {
        let secret = names_a_secret(key.1);
        if let (true, Some(raw), Place::Variable(_), DeValue::String(_)) =
            (secret, item.raw, &item.place, &item.value)
        {
            self.values.push(raw.into());
        }
        self.add(&item.value, secret, variables);
    }

    fn add(&mut self, value: &DeValue<'_>, secret: bool, variables: &Variables) {
        match value {
            DeValue::Table(table) => {
                if let Some(name) = text(table, "env") {
                    self.names.push(name.to_owned());
                    let value = variables.get(name).filter(|value| secret && !value.is_empty());
                    self.values.extend(value.map(|value| SecretString::from(value.as_str())));
                }
                for (key, value) in table {
                    let secret = secret || names_a_secret(key.get_ref());
                    self.add(value.get_ref(), secret, variables);
                }
            }
            DeValue::Array(entries) => {
                entries.iter().for_each(|entry| self.add(entry.get_ref(), secret, variables));
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

fn text<'t>(table: &'t DeTable<'_>, name: &str) -> Option<&'t str> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .and_then(|(_, value)| value.get_ref().as_str())
}

/// One of its sources is `{ vault = "…" }`.
fn in_vault(value: &DeValue<'_>) -> bool {
    let within = |value: &Spanned<DeValue<'_>>| in_vault(value.get_ref());
    match value {
        DeValue::Table(table) => {
            text(table, "vault").is_some() || table.iter().any(|(_, value)| within(value))
        }
        DeValue::Array(entries) => entries.iter().any(within),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}
