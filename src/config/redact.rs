//! The configuration file as a report may quote it: without what people put there by mistake.
//! It never changes a byte's position (spans of the original stay valid), and when in doubt it hides.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Stars over every value of a key that names a secret, and over the user part of every URL.
/// `broken`: the file has syntax errors, so that the table may lack what the text still shows.
pub(super) fn redact(text: &str, table: &DeTable<'_>, broken: bool) -> String {
    let mut hidden = Vec::new();
    secret_values("", table, &mut hidden);
    secret_lines(text, broken, &mut hidden);
    user_parts(text, &mut hidden);
    let mut bytes = text.as_bytes().to_vec();
    for span in hidden {
        let bytes = bytes.get_mut(span).unwrap_or_default();
        bytes.iter_mut().filter(|byte| !matches!(**byte, b'\n' | b'\r')).for_each(|b| *b = b'*');
    }
    // Spans lie at whole characters; were one not, the text is not worth a leak.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Keys of certificates, which are no secret, nor where they are: too near to `client_secret`.
const NO_SECRETS: [&str; 2] = ["clientcert", "clientcerts"];
/// Keys whose values are paths of files with a secret in them.
const PATHS: [&str; 3] = ["key_file", "admin_key_file", "client_key"];

/// Whether a key, however misspelt, names something that must not be printed.
pub(super) fn names_a_secret(key: &str) -> bool {
    let plain: String = key.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    if NO_SECRETS.contains(&plain.as_str()) {
        return false;
    }
    ["secret", "password", "passwd", "privatekey", "apikey", "extraheaders"]
        .iter()
        .any(|word| plain.contains(word))
        || plain.ends_with("token")
        // A caller's key, where its digest goes.
        || matches!(plain.as_str(), "key" | "keys")
        || plain.contains("sha2")
        || (plain.len() < 32 && strsim::damerau_levenshtein(&plain, "clientsecret") <= 3)
}

/// A name of an environment variable as people write them; a secret rarely looks like one.
pub(super) fn looks_like_a_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// A path as people write them: with a directory or an extension.
pub(super) fn looks_like_a_path(path: &str) -> bool {
    path.contains(['/', '\\', '.'])
}

/// A path and nothing else: what holds a key or a token in Base64 may have its signs, too.
fn is_plainly_a_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./~".contains(c);
    let extension = |text: &str| {
        let (_, last) = text.rsplit_once('.').unwrap_or_default();
        (1..=5).contains(&last.len()) && !last.contains('/')
    };
    text.len() < 256
        && text.chars().all(plain)
        && (text.starts_with(['/', '.', '~']) || extension(text))
}

/// `section`: the table's own name.
fn secret_values(section: &str, table: &DeTable<'_>, hidden: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let path = PATHS.contains(&name) || (section, name) == ("tls", "key");
        let harmless = path && value.get_ref().as_str().is_some_and(is_plainly_a_path);
        // A URL that is none may have a password where no URL has one.
        let no_url = (section, name) == ("store", "url")
            && value.get_ref().as_str().is_some_and(|text| !text.contains("://"));
        if no_url || !harmless && (path || names_a_secret(name)) {
            hide(value, hidden);
        } else {
            tables_within(name, value, hidden);
        }
    }
}

fn tables_within(name: &str, value: &Spanned<DeValue<'_>>, hidden: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => secret_values(name, table, hidden),
        DeValue::Array(items) => items.iter().for_each(|item| tables_within(name, item, hidden)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Everything below a secret's key, except where it says the secret is.
fn hide(value: &Spanned<DeValue<'_>>, hidden: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                // An unknown word in here may be the secret itself.
                if !["env", "file", "command", "credential", "vault"]
                    .contains(&key.get_ref().as_ref())
                {
                    hidden.push(key.span());
                }
                let harmless = value.get_ref().as_str().is_some_and(|text| {
                    (key.get_ref() == "env" && looks_like_a_variable(text))
                        || (key.get_ref() == "file" && looks_like_a_path(text))
                });
                if !harmless {
                    hide(value, hidden);
                }
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| hide(item, hidden)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => hidden.push(value.span()),
    }
}

/// Lines that the table says nothing about: comments, and everything in a file that is broken.
fn secret_lines(text: &str, broken: bool, hidden: &mut Vec<Range<usize>>) {
    let mut until: Option<&str> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if let Some(quotes) = until {
            hidden.push(start..end);
            until = until.filter(|_| !line.contains(quotes));
        } else if let Some((key, value)) = line.split_once('=')
            && key.split(['.', '{', ',', '#']).any(names_a_secret)
        {
            let comment = value.find('#').map(|at| end - value.len() + at..end);
            if !broken && !key.contains('#') {
                hidden.extend(comment);
                start = end;
                continue;
            }
            hidden.push(end - value.len()..end);
            until = ["\"\"\"", "'''"].into_iter().find(|quotes| value.matches(quotes).count() == 1);
        }
        start = end;
    }
}

/// `http://user:password@host`: what stands before the last `@` of a line with a URL.
fn user_parts(text: &str, hidden: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let (Some(scheme), Some(at)) = (line.find("://"), line.rfind('@'))
            && scheme + 3 < at
        {
            hidden.push(start + scheme + 3..start + at);
        }
        start += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let (table, errors) = DeTable::parse_recoverable(text);
        redact(text, table.get_ref(), !errors.is_empty())
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_quoted() {
        for text in [
            "[oauth]\nclient_secret = \"hunter2\"\n",
            "oauth.client_secret = 'hunter2'",
            "[oauth]\nclient_secert = \"hunter2\"",
            "[oauth]\nclient-secret = [\"hunter2\", { x = \"hunter2\" }]",
            "[oauth]\nclient_secret = { value = \"hunter2\" }",
            "[oauth]\nclient_secret = { env = \"hunter2\" }",
            "[oauth]\nclient_secret = { file = \"hunter2\" }",
            "[oauth]\nclient_secret = \"\"\"\nhunter2\n\"\"\"\nscope = []",
            "[oauth]\nclient_secret = \"hunter2\nscope = []",
            "[oauth]\nclient_secret = \"\"\"\nhunter2\nmore hunter2",
            "[oauth]\nclient_secret = hunter2",
            "[oauth\nclient_secret = { vaule = hunter2",
            "oauth = { client_secret = hunter2 }",
            "[oauth]\n# client_secret = \"hunter2\"\nx = ",
            "[oauth]\nclient_secret = { env = \"X\" } # was hunter2",
            "upstream.proxy = \"http://me:hunter2@proxy:3128\"",
            "[upstream]\nproxy = \"http://me:hunter2@proxy:3128",
            "[oauth.extra_params]\nclient_secret = \"hunter2\"",
            "[[caller]]\npassword = \"hunter2\"",
            "[[caller]]\nkey = \"hunter2\"",
            "[[caller]]\nkey_file = \"hunter2\"",
            "[[caller]]\nkey_sha256 = \"hunter2\"",
            "caller = [{ name = 'a', key_sha265 = 'hunter2' }]",
            "[oauth]\nclient_key = \"hunter2\"",
            "[oauth]\nclient_key = \"\"\"\n-----BEGIN PRIVATE KEY-----\nhunter2/x\n\"\"\"",
            "[tls]\nkey = \"hunter2/x+y=\"",
            "tls.key = \"/x\\nhunter2\"",
            "[[caller]]\nkey = \"/hunter2\"",
            "[audit]\nkey_file = \"a/hunter2\"",
            "[audit]\nkey_file = \"eyJ.hunter2.c2lnbmF0dXJl\"",
            "[oauth]\nextra_headers = { Authorization = \"hunter2\" }",
            "[oauth.extra_headers]\nx-key = \"hunter2\"",
            "[store]\nurl = \"redis://me:hunter2@h\"",
            "[store]\nurl = \"redis:me:hunter2@h\"",
            "[store]\npassword = \"hunter2\"",
        ] {
            let shown = redacted(text);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(shown.len(), text.len());
            assert_eq!(shown.matches('\n').count(), text.matches('\n').count());
        }
    }

    #[test]
    fn where_the_secret_is_may_be_shown() {
        for text in [
            "[oauth]\nclient_secret = { env = \"GENESYS_CLIENT_SECRET\" }\nclient_id = \"me\"",
            "[oauth]\nclient_secret = { file = \"/run/secrets/genesys\" }",
            "[upstream]\napi_url = \"https://api.mypurecloud.com\"",
            "[tls]\ncert = \"/etc/tls/cert.pem\"\nkey = \"/etc/tls/key.pem\"\nclient_ca = \"ca.pem\"",
            "tls.key = \"keys/tls.key\"",
            "[oauth]\nclient_cert = \"/etc/cert.pem\"\nclient_key = \"../client.key\"",
            "[[caller]]\nclient_cert = \"CN=billing\" # a name\nkey_file = \"/run/secrets/billing\"",
            "[audit]\nfile = \"/var/log/audit.jsonl\"\nkey_file = \"./audit-key\"",
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
