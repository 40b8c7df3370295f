//! Typed reading of keys: a value of the right kind and within its bounds, or a recorded problem.
//! It never stops at a problem, and never hands out a value that has one.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Spanned, de::DeValue};

use super::{
    env::Variables,
    file::{Item, Items, Key, Organisations},
    nearest::did_you_mean,
    report::{Place, Problem},
    units,
};

/// One value read, or what is wrong with it.
pub(super) type Read<T> = Result<T, Problem>;

/// There is a problem, and it is recorded: nothing is left but to go on looking for others.
#[derive(Debug)]
pub(super) struct Reported;

/// What a rule gives.
pub(super) type Checked<T> = Result<T, Reported>;

/// Everything that was given, and every problem found so far.
pub(super) struct Settings<'i> {
    /// Values of the file with the overrides on top.
    pub(super) items: Items<'i>,
    /// The same of further organisations.
    pub(super) orgs: Organisations<'i>,
    /// The environment and `.env`.
    pub(super) variables: &'i Variables,
    /// The same without what names the first organisation's credentials.
    pub(super) variables_of_orgs: &'i Variables,
    /// What paths in the file are relative to.
    pub(super) beside_file: &'i Path,
    /// What paths in variables are relative to.
    pub(super) dir: &'i Path,
    /// `--insecure-open-listener`
    pub(super) insecure_open_listener: bool,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// Those with keys, which were read.
    pub(super) files: Vec<PathBuf>,
}

/// One entry of a list: a value of the file, or a piece of a variable's text.
enum Entry<'v, 'i> {
    Value(&'v DeValue<'i>),
    Raw(&'v str),
}

impl<'i> Settings<'i> {
    /// The place of a key's value, [`Place::Nowhere`] when it is not given.
    pub(super) fn place(&self, key: Key) -> Place {
        self.items.get(&key).map_or(Place::Nowhere, |item| item.place.clone())
    }

    /// What is read is an organisation's beside the first.
    pub(super) fn of_another_organisation(&self) -> bool {
        std::ptr::eq(self.variables, self.variables_of_orgs)
    }

    /// Records a problem.
    pub(super) fn report(&mut self, problem: Problem) -> Reported {
        self.problems.push(problem);
        Reported
    }

    /// The value of a key through `parse`, or its default.
    pub(super) fn read<T>(
        &mut self,
        key: Key,
        default: T,
        parse: impl FnOnce(&Item<'i>) -> Read<T>,
    ) -> Checked<T> {
        let Some(item) = self.items.get(&key) else { return Ok(default) };
        parse(item).map_err(|problem| self.report(problem))
    }

    /// Text through `parse`; not given and "" are both `None`.
    pub(super) fn text<T>(
        &mut self,
        key: Key,
        example: &str,
        parse: impl FnOnce(&str, &Place) -> Read<T>,
    ) -> Checked<Option<T>> {
        self.read(key, None, |item| match text(key, item, example)? {
            "" => Ok(None),
            text => parse(text, &item.place).map(Some),
        })
    }

    /// A name of somebody else's making: one word, "" when there is none.
    pub(super) fn word(&mut self, key: Key, example: &str) -> Checked<Option<String>> {
        self.text(key, example, |text, place| one_word(key, text, place))
    }

    /// A duration within its bounds.
    pub(super) fn duration(
        &mut self,
        key: Key,
        default: Duration,
        bounds: &RangeInclusive<Duration>,
    ) -> Checked<Duration> {
        self.read(key, default, |item| duration(key, item, default, bounds))
    }

    /// A size in bytes within its bounds.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: Key,
        default: T,
        bounds: &RangeInclusive<u64>,
    ) -> Checked<T> {
        self.read(key, default, |item| {
            if let DeValue::Integer(number) = &item.value {
                return Err(wants(key, &item.place, "a size", &item.value)
                    .hint(format!("say of what: \"{number}KiB\" or \"{number}MiB\"")));
            }
            let text = text(key, item, "1MiB")?;
            let Some(bytes) = units::size(text) else {
                let hint = match units::suggest_size(text) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "a whole number with B, KiB, MiB or GiB, such as \"1MiB\"".to_owned(),
                };
                return Err(Problem::at(&item.place, format!("`{key}` is not a size")).hint(hint));
            };
            bounded(key, &item.place, bytes, bounds, |bound| units::show_size(*bound))
                .and_then(|bytes| fits(key, &item.place, bytes))
        })
    }

    /// A whole number within its bounds.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: Key,
        default: T,
        bounds: &RangeInclusive<u64>,
    ) -> Checked<T> {
        self.read(key, default, |item| {
            let DeValue::Integer(number) = &item.value else {
                return Err(wants(key, &item.place, "a whole number", &item.value)
                    .hint(range_hint(bounds, ToString::to_string)));
            };
            // Digits too many for an integer are still a number: the range says what is wrong.
            let number = i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
            let Ok(number) = u64::try_from(number) else {
                return Err(Problem::at(&item.place, format!("`{key}` is out of range"))
                    .hint(range_hint(bounds, ToString::to_string)));
            };
            bounded(key, &item.place, number, bounds, ToString::to_string)
                .and_then(|number| fits(key, &item.place, number))
        })
    }

    /// A number with or without a point, within its bounds.
    pub(super) fn fraction(
        &mut self,
        key: Key,
        default: f64,
        bounds: &RangeInclusive<f64>,
    ) -> Checked<f64> {
        self.read(key, default, |item| {
            let number = match &item.value {
                DeValue::Float(number) => number.as_str().parse().ok(),
                DeValue::Integer(number) => number.as_str().parse().ok(),
                other => {
                    return Err(wants(key, &item.place, "a number", other)
                        .hint(range_hint(bounds, ToString::to_string)));
                }
            };
            // What cannot be read, such as 0x1, is no number that anybody writes here.
            bounded(key, &item.place, number.unwrap_or(f64::NAN), bounds, ToString::to_string)
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: Key, default: bool) -> Checked<bool> {
        self.read(key, default, |item| {
            item.value.as_bool().ok_or_else(|| {
                wants(key, &item.place, "true or false", &item.value).hint("no quotes around it")
            })
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: Key,
        default: T,
        choices: &[(&'static str, T)],
    ) -> Checked<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.read(key, default, |item| {
            let text = text(key, item, words.first().unwrap_or(&""))?;
            choices.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant).ok_or_else(
                || {
                    Problem::at(&item.place, format!("`{key}` is none of {}", words.join(", ")))
                        .hint(did_you_mean(text, &words))
                },
            )
        })
    }

    /// A list of texts, each through `parse`; every bad one is a problem of its own.
    pub(super) fn list<T>(
        &mut self,
        key: Key,
        example: &str,
        parse: impl Fn(&str, &Place) -> Read<T>,
    ) -> Checked<Vec<T>> {
        let hint = format!("[\"{example}\"]");
        self.entries(key, &hint, |entry, place| match entry {
            Entry::Value(DeValue::String(text)) => parse(text, place),
            Entry::Raw(text) => parse(text, place),
            Entry::Value(other) => {
                Err(wants(key, place, "texts only", other)
                    .hint(format!("put it in quotes: {hint}")))
            }
        })
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&mut self, key: Key, example: u32) -> Checked<Vec<u32>> {
        let hint = format!("[{example}]");
        self.entries(key, &hint, |entry, place| {
            let number = match entry {
                Entry::Raw(text) => text.parse().ok(),
                Entry::Value(DeValue::Integer(number)) => {
                    u32::from_str_radix(number.as_str(), number.radix()).ok()
                }
                Entry::Value(other) => {
                    return Err(wants(key, place, "whole numbers only", other)
                        .hint(format!("no quotes around them: {hint}")));
                }
            };
            number.ok_or_else(|| {
                Problem::at(place, format!("`{key}`: out of range"))
                    .hint(range_hint(&(0..=u32::MAX), ToString::to_string))
            })
        })
    }

    /// Each entry of a list, or of a variable's text with commas; every bad one is a problem.
    fn entries<T>(
        &mut self,
        key: Key,
        example: &str,
        parse: impl Fn(Entry<'_, '_>, &Place) -> Read<T>,
    ) -> Checked<Vec<T>> {
        let Some(item) = self.items.get(&key) else { return Ok(Vec::new()) };
        let read: Vec<Read<T>> = match (&item.value, item.raw) {
            (DeValue::Array(entries), _) => entries
                .iter()
                .map(|entry| parse(Entry::Value(entry.get_ref()), &within(item, entry)))
                .collect(),
            (value, Some(raw)) => {
                let texts = value.as_str().unwrap_or(raw).split(',').map(str::trim);
                let texts = texts.filter(|text| !text.is_empty());
                texts.map(|text| parse(Entry::Raw(text), &item.place)).collect()
            }
            (value, None) => vec![Err(wants(key, &item.place, "a list", value)
                .hint(format!("write it in brackets: {example}")))],
        };
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for entry in read {
            match entry {
                Ok(value) => found.push(value),
                Err(problem) => wrong.push(problem),
            }
        }
        self.all(found, wrong)
    }

    /// What was found, unless something in it was wrong.
    pub(super) fn all<T>(&mut self, found: T, wrong: Vec<Problem>) -> Checked<T> {
        let good = wrong.is_empty();
        self.problems.extend(wrong);
        if good { Ok(found) } else { Err(Reported) }
    }

    /// A path made absolute enough: relative to the file that names it, or to the directory.
    pub(super) fn resolve(&self, path: &str, place: &Place) -> PathBuf {
        match place {
            Place::File(_) => self.beside_file.join(path),
            Place::Variable(_) | Place::Flag(_) | Place::Nowhere => self.dir.join(path),
        }
    }
}

/// The place of a value inside another.
pub(super) fn within(item: &Item<'_>, value: &Spanned<DeValue<'_>>) -> Place {
    match &item.place {
        Place::File(_) => Place::File(value.span()),
        other @ (Place::Variable(_) | Place::Flag(_) | Place::Nowhere) => other.clone(),
    }
}

/// A key's text.
pub(super) fn text<'a>(key: Key, item: &'a Item<'_>, example: &str) -> Read<&'a str> {
    item.value.as_str().or(item.raw).ok_or_else(|| {
        wants(key, &item.place, "text", &item.value)
            .hint(format!("put it in quotes, such as \"{example}\""))
    })
}

/// A key's duration within its bounds.
pub(super) fn duration(
    key: Key,
    item: &Item<'_>,
    example: Duration,
    bounds: &RangeInclusive<Duration>,
) -> Read<Duration> {
    let example = units::show_duration(example);
    if let DeValue::Integer(number) = &item.value {
        return Err(wants(key, &item.place, "a duration", &item.value)
            .hint(format!("say of what: \"{number}s\" or \"{number}ms\"")));
    }
    let text = text(key, item, &example)?;
    let Some(length) = units::duration(text) else {
        let hint = match units::suggest_duration(text) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("whole numbers with ms, s, m or h, such as \"{example}\""),
        };
        return Err(Problem::at(&item.place, format!("`{key}` is not a duration")).hint(hint));
    };
    bounded(key, &item.place, length, bounds, |bound| units::show_duration(*bound))
}

/// No blank and no control character: such a one came along when it was copied.
pub(super) fn one_word(key: Key, text: &str, place: &Place) -> Read<String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Problem::at(place, format!("`{key}` has a blank in it"))
            .hint("it is one word: copy it again"));
    }
    Ok(text.to_owned())
}

/// The problem of a variable that should be a table or tables, and is not even TOML.
pub(super) fn not_toml(key: Key, item: &Item<'_>, example: &str) -> Option<Problem> {
    // The overlay takes for text what is not TOML.
    let error = DeValue::parse(item.raw?).err()?;
    let problem = Problem::at(&item.place, format!("`{key}`: not TOML: {}", error.message()));
    Some(problem.hint(example))
}

/// The problem of a value of the wrong kind.
pub(super) fn wants(key: Key, place: &Place, kind: &str, value: &DeValue<'_>) -> Problem {
    let given = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::at(place, format!("`{key}` takes {kind}, not {given}"))
}

fn bounded<T: PartialOrd>(
    key: Key,
    place: &Place,
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Read<T> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(Problem::at(place, format!("`{key}` is out of range")).hint(range_hint(bounds, show)))
}

fn range_hint<T>(bounds: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("from {} to {}", show(bounds.start()), show(bounds.end()))
}

fn fits<T: TryFrom<u64>>(key: impl Display, place: &Place, number: u64) -> Read<T> {
    T::try_from(number)
        .map_err(|_| Problem::at(place, format!("`{key}` is more than this machine can count")))
}
