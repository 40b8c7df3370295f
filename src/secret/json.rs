//! One text out of a JSON document that holds secrets.
//! It never keeps what was not asked for: the rest of the document is skipped, not copied.

use std::fmt;

use secrecy::SecretString;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Names of fields that an error may list.
const MAX_NAMES: usize = 10;

/// What is where we looked.
pub(super) enum Found {
    /// The text.
    Text(SecretString),
    /// Something, but no text; `null` too.
    NoText,
    /// The objects on the way are there, the last field is not. These are.
    Absent(Vec<String>),
    /// No object where one was expected.
    NoObject,
}

/// The text at `path`, a name for each level of objects; an error when this is no JSON.
pub(super) fn pick(bytes: &[u8], path: &[&str]) -> Result<Found, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = Pick(path).deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

struct Pick<'p>(&'p [&'p str]);

impl Pick<'_> {
    fn scalar(&self) -> Found {
        if self.0.is_empty() { Found::NoText } else { Found::NoObject }
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        Ok(if self.0.is_empty() { Found::Text(SecretString::from(text)) } else { Found::NoObject })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Found, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.scalar())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Found, A::Error> {
        let mut found = None;
        let mut names = Vec::new();
        while let Some(name) = fields.next_key::<String>()? {
            match self.0.split_first() {
                // As readers of JSON do: of two fields with one name the last counts.
                Some((wanted, rest)) if name == *wanted => {
                    found = Some(fields.next_value_seed(Pick(rest))?);
                }
                Some(_) | None => {
                    fields.next_value::<IgnoredAny>()?;
                    if names.len() < MAX_NAMES && is_a_name(&name) {
                        names.push(name);
                    }
                }
            }
        }
        Ok(match (found, self.0.len()) {
            (Some(found), _) => found,
            (None, 0) => Found::NoText,
            (None, 1) => Found::Absent(names),
            (None, _) => Found::NoObject,
        })
    }
}

/// Short and plain: what is not may be a secret in the wrong place.
fn is_a_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn shown(text: &str, path: &[&str]) -> String {
        match pick(text.as_bytes(), path) {
            Ok(Found::Text(text)) => format!("text {}", text.expose_secret()),
            Ok(Found::NoText) => "no text".to_owned(),
            Ok(Found::Absent(names)) => format!("absent, there are {names:?}"),
            Ok(Found::NoObject) => "no object".to_owned(),
            Err(_) => "no JSON".to_owned(),
        }
    }

    #[test]
    fn the_text_at_the_path_is_found_and_nothing_else() {
        for (text, path, expected) in [
            (r#"{"a":"x"}"#, &["a"][..], "text x"),
            (r#" {"b":[{"a":1}],"a":"\u00e9\n"} "#, &["a"], "text é\n"),
            (r#"{"a":"x","a":"y"}"#, &["a"], "text y"),
            (r#"{"a":{"b":{"c":"x"}},"c":"z"}"#, &["a", "b", "c"], "text x"),
            (r#"{"a":17}"#, &["a"], "no text"),
            (r#"{"a":null}"#, &["a"], "no text"),
            (r#"{"a":{"x":1}}"#, &["a"], "no text"),
            (r#"{"a":["x"]}"#, &["a"], "no text"),
            (r#"{"b":1,"a b":2}"#, &["a"], r#"absent, there are ["b"]"#),
            (r#"{"data":{"data":null}}"#, &["data", "data", "a"], "no object"),
            (r#"{"x":{}}"#, &["data", "a"], "no object"),
            ("[]", &["a"], "no object"),
            (r#""a""#, &["a"], "no object"),
            ("", &["a"], "no JSON"),
            (r#"{"a":"x"} more"#, &["a"], "no JSON"),
        ] {
            assert_eq!(shown(text, path), expected, "{text}");
        }
    }
}
