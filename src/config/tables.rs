//! Lists of tables: `[{ match = "…", for = "30s" }]`, or a `[[section]]` for each.
//! It never reads a table's keys by itself: that is the caller's, with the same readers as any key.

use toml::de::DeValue;

use super::{
    file::{Item, Items, Key},
    nearest::did_you_mean,
    read::{Checked, Reported, Settings, not_toml, wants, within},
    report::{Place, Problem},
};

/// More is a directory, not a configuration.
const MOST: usize = 1000;

/// A list's own key, the section name of the keys in its tables, and these keys.
pub(super) struct Tables {
    /// The list.
    pub(super) key: Key,
    /// As problems name a key: `SECTION.KEY`.
    pub(super) section: &'static str,
    /// Every accepted key.
    pub(super) keys: &'static [&'static str],
    /// What problems call one of them.
    pub(super) one: &'static str,
    /// How to write them in one line.
    pub(super) inline: &'static str,
    /// How to write them in the file.
    pub(super) hint: &'static str,
    /// How to do with fewer.
    pub(super) fewer: &'static str,
}

impl Settings<'_> {
    /// Each table through `read`, which finds that table's keys among the settings.
    pub(super) fn tables<T>(
        &mut self,
        tables: &Tables,
        mut read: impl FnMut(&mut Self, &Place) -> Checked<T>,
    ) -> Checked<Vec<T>> {
        let Tables { key, section, keys, one, inline, hint, fewer } = *tables;
        let Some(item) = self.items.remove(&key) else { return Ok(Vec::new()) };
        let DeValue::Array(entries) = &item.value else {
            let problem = not_toml(key, &item, inline).unwrap_or_else(|| {
                wants(key, &item.place, "a list of tables", &item.value).hint(hint)
            });
            return Err(self.report(problem));
        };
        if let Some(entry) = entries.get(MOST) {
            let what = format!("`{key}` has more than {MOST} entries");
            return Err(self.report(Problem::at(&within(&item, entry), what).hint(fewer)));
        }
        let (mut found, mut complete) = (Vec::new(), true);
        for entry in entries {
            let place = within(&item, entry);
            let DeValue::Table(table) = entry.get_ref() else {
                self.report(wants(key, &place, "tables", entry.get_ref()).hint(hint));
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
                    let problem = Problem::at(&place, format!("unknown key in {one}"));
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
