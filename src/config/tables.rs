//! Lists of tables: `[{ match = "…", for = "30s" }]`, or a `[[section]]` for each.
//! It never reads a table's keys by itself: that is the caller's, with the same readers as any key.

use toml::de::DeValue;

use super::{
    file::{Item, Items, Key},
    nearest::did_you_mean,
    read::{Checked, Reported, Settings, not_toml, wants, within},
    report::{Place, Problem},
};

/// A list's own key, the section name of the keys in its tables, and these keys.
pub(super) struct Tables {
    /// The list.
    pub(super) key: Key,
    /// As problems name a key: `SECTION.KEY`.
    pub(super) section: &'static str,
    /// Every accepted key.
    pub(super) keys: &'static [&'static str],
    /// How one is written, brackets included.
    pub(super) example: &'static str,
}

impl Settings<'_> {
    /// Each table through `read`, which finds that table's keys among the settings.
    pub(super) fn tables<T>(
        &mut self,
        tables: &Tables,
        mut read: impl FnMut(&mut Self, &Place) -> Checked<T>,
    ) -> Checked<Vec<T>> {
        let Tables { key, section, keys, example } = *tables;
        let Some(item) = self.items.remove(&key) else { return Ok(Vec::new()) };
        let DeValue::Array(entries) = &item.value else {
            let problem = not_toml(key, &item, &format!("write {example}")).unwrap_or_else(|| {
                wants(key, &item.place, "a list of tables", &item.value)
                    .hint(format!("write it in brackets: {example}"))
            });
            return Err(self.report(problem));
        };
        let (mut found, mut complete) = (Vec::new(), true);
        for entry in entries {
            let place = within(&item, entry);
            let DeValue::Table(table) = entry.get_ref() else {
                let problem = wants(key, &place, "tables only", entry.get_ref());
                self.report(problem.hint(format!("write it in braces: {example}")));
                complete = false;
                continue;
            };
            let mut own = Items::new();
            for (name, value) in table {
                let place = within(&item, value);
                if let Some(known) = keys.iter().find(|known| *known == name.get_ref()) {
                    let item = Item { value: value.get_ref().clone(), place, raw: None };
                    own.insert(Key(section, known), item);
                } else {
                    let problem = Problem::at(&place, format!("unknown key in `{key}`"));
                    self.report(problem.hint(did_you_mean(name.get_ref(), keys)));
                    complete = false;
                }
            }
            let others = std::mem::replace(&mut self.items, own);
            match read(self, &place) {
                Ok(value) => found.push(value),
                Err(Reported) => complete = false,
            }
            self.items = others;
        }
        if complete { Ok(found) } else { Err(Reported) }
    }
}
