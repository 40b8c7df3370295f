//! What a 403 of Genesys's says is missing: the client's role lacks a permission.
//! It never hands on anything of the body but words that are shaped like permissions.

use serde_json::Value;

/// More are not listed: one line in a log.
const MAX_LISTED: usize = 10;
/// `routing:queue:view`; Genesys's longest have about sixty.
const MAX_WORD: usize = 100;

/// What a body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `missing.permissions`, `missing.any.permissions`, `not.authorized`, or another of Genesys's.
    pub code: String,
    /// `domain:entity:action`, in the body's order, each once; empty when it does not say.
    pub permissions: Vec<String>,
}

/// Reads a 403's body, in Genesys's shape or not at all.
pub fn missing(body: &[u8]) -> Option<Missing> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("code")?.as_str().filter(|code| is_word(code))?.to_owned();
    let mut permissions: Vec<String> = Vec::new();
    let params = body.get("messageParams").and_then(|params| params.get("permissions"));
    // A text with commas or a list, and the message says them again.
    let told =
        params.into_iter().flat_map(texts).chain(body.get("message").and_then(Value::as_str));
    for word in
        told.flat_map(|text| text.split(|c: char| c.is_whitespace() || ",[]()\"".contains(c)))
    {
        let word = word.trim_end_matches(['.', ';']);
        let new = !permissions.iter().any(|known| known == word);
        if is_permission(word) && new && permissions.len() < MAX_LISTED {
            permissions.push(word.to_owned());
        }
    }
    Some(Missing { code, permissions })
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// `domain:entity:action`, of letters, digits and `*_-`.
fn is_permission(word: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"*_-".contains(&b))
    };
    word.len() <= MAX_WORD && word.split(':').count() == 3 && word.split(':').all(part)
}

/// `missing.any.permissions`
fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= MAX_WORD
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Option<(String, Vec<String>)> {
        missing(body.as_bytes()).map(|missing| (missing.code, missing.permissions))
    }

    #[test]
    fn the_permissions_are_read_wherever_genesys_puts_them() {
        let one = Some(("missing.permissions".to_owned(), vec!["routing:queue:view".to_owned()]));
        for body in [
            r#"{"code":"missing.permissions","message":"You are missing the following permission(s): routing:queue:view","messageParams":{"permissions":"routing:queue:view"}}"#,
            r#"{"code":"missing.permissions","message":"Missing the following permission(s): [routing:queue:view]"}"#,
            r#"{"code":"missing.permissions","messageParams":{"permissions":["routing:queue:view"]}}"#,
        ] {
            assert_eq!(read(body), one, "{body}");
        }
        let any = r#"{"code":"missing.any.permissions","message":"one of a:b:c, a:b:*.","messageParams":{"permissions":"a:b:c,a:b:d"}}"#;
        let (code, permissions) = read(any).unwrap();
        assert_eq!(
            (&*code, permissions.join(" ")),
            ("missing.any.permissions", "a:b:c a:b:d a:b:*".to_owned())
        );
        let none = r#"{"code":"not.authorized","message":"You are not authorized."}"#;
        assert_eq!(read(none), Some(("not.authorized".to_owned(), Vec::new())));
        for strange in
            ["", "<html>", "[]", r#"{"message":"a:b:c"}"#, r#"{"code":7}"#, r#"{"code":"a b"}"#]
        {
            assert_eq!(read(strange), None, "{strange}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_of_a_body_comes_out(
            body in prop::collection::vec(any::<u8>(), 0..200),
            planted in "[ -~]{0,60}",
        ) {
            let _ = missing(&body);
            let body = serde_json::json!({"code": "missing.permissions", "message": planted});
            let found = missing(body.to_string().as_bytes()).unwrap();
            prop_assert!(found.permissions.iter().all(|word| is_permission(word)));
        }
    }
}
