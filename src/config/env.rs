//! The environment: the process's variables, `.env` below them, and `GENESYS_PROXY__SECTION__KEY`.
//! It never changes the environment (`set_var` races with every thread) and never prints a value.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::{Deref, DerefMut},
    path::Path,
};

use secrecy::zeroize::{Zeroize, Zeroizing};
use toml::{Spanned, de::DeValue};

use super::{
    file::{
        HOSTS_OF_AN_ORGANISATION, Item, Items, Key, LISTEN_OF_AN_ORGANISATION, OF_AN_ORGANISATION,
        Organisation, Organisations, SECTIONS, not_of_an_organisation, unknown,
    },
    nearest::did_you_mean,
    report::{Place, Problem},
};

/// Variables besides the environment, which is above it.
pub(super) const DOTENV: &str = ".env";

/// Where the organisation at the top is found without a word in the file.
const USUAL: [&str; 3] = ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "GENESYS_REGION"];
/// Two underscores: Kubernetes makes `GENESYS_PROXY_PORT` and its kin for a service of that name.
pub(super) const PREFIX: &str = "GENESYS_PROXY__";

/// Variables by name, some of them secrets: the values are zeroed when they are dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Deref for Variables {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Variables {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<const N: usize> From<[(String, String); N]> for Variables {
    fn from(pairs: [(String, String); N]) -> Self {
        Self(pairs.into())
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

/// Without the values.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The given variables and, below them, those of `.env` in `dir`; its bad lines are problems.
pub(super) fn with_dotenv(
    process: &Variables,
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> Variables {
    let mut all = process.clone();
    let text = match std::fs::read_to_string(dir.join(DOTENV)) {
        Ok(text) => Zeroizing::new(text),
        // A directory of that name is a Python environment, not ours to complain about.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            return all;
        }
        Err(error) => {
            problems.push(
                Problem::at(&Place::Nowhere, format!("cannot read .env: {error}"))
                    .hint("make it readable text, or remove it"),
            );
            return all;
        }
    };
    let text = text.trim_start_matches('\u{feff}');
    for line in dotenvy::Iter::new(text.as_bytes()) {
        match line {
            Ok((name, value)) => {
                all.entry(name).or_insert(value);
            }
            Err(error) => problems.push(bad_line(text, &error)),
        }
    }
    all
}

fn bad_line(text: &str, error: &dotenvy::Error) -> Problem {
    let place = match error {
        // Its text may be a secret: only its number is shown.
        dotenvy::Error::LineParse(line, _) => line
            .lines()
            .next()
            .and_then(|line| text.lines().position(|l| l.contains(line)))
            .map_or_else(|| ".env".to_owned(), |index| format!(".env, line {}", index + 1)),
        _ => ".env".to_owned(),
    };
    Problem::at(&Place::Variable(place), "not of the form NAME=value")
        .hint("put a value with blanks, # or $ in single quotes: NAME='a value'")
}

/// What an organisation beside the first may look up: the usual variables are the first one's, and
/// must not become another's credentials for want of its own.
pub(super) fn without_usual(variables: &Variables) -> Variables {
    let others = variables.iter().filter(|(name, _)| !is_usual(name));
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// It is the first organisation's, and no other's.
pub(super) fn is_usual(name: &str) -> bool {
    USUAL.contains(&name)
}

/// Puts each `GENESYS_PROXY__…` over what the file says.
pub(super) fn overlay<'i>(
    variables: &'i Variables,
    items: &mut Items<'i>,
    orgs: &mut Organisations<'i>,
    problems: &mut Vec<Problem>,
) {
    for (name, raw) in variables.iter() {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let place = Place::Variable(name.clone());
        if let Some(path) = path.to_lowercase().strip_prefix("orgs__") {
            match of_an_organisation(path, &place) {
                Ok((org, key)) => {
                    let first = Organisation { place: place.clone(), items: Items::new() };
                    let org = orgs.entry(org).or_insert(first);
                    org.items.insert(key, item(raw, place));
                }
                Err(problem) => problems.push(problem),
            }
            continue;
        }
        let key = Key::all().find(|key| key.variable() == *name);
        match key.ok_or_else(|| stranger(&path.to_lowercase(), &place)) {
            Ok(key) => drop(items.insert(key, item(raw, place))),
            Err(problem) => problems.push(problem),
        }
    }
}

fn item(raw: &str, place: Place) -> Item<'_> {
    let value = DeValue::parse(raw).map(Spanned::into_inner);
    let value = value.unwrap_or_else(|_| DeValue::String(raw.into()));
    Item { value, place, raw: Some(raw) }
}

/// `NAME__SECTION__KEY` and `NAME__KEY`: the organisation and the key.
fn of_an_organisation(path: &str, place: &Place) -> Result<(String, Key), Problem> {
    let (org, rest) = path.split_once("__").unwrap_or((path, ""));
    let key = match rest.split_once("__") {
        Some((section, name)) if OF_AN_ORGANISATION.contains(&section) => {
            Key::find(section, name).ok_or_else(|| unknown(section, name, false, place))
        }
        None if rest == "hosts" => Ok(HOSTS_OF_AN_ORGANISATION),
        None if rest == "listen" => Ok(LISTEN_OF_AN_ORGANISATION),
        None if rest == "caller" => Ok(Key("", "caller")),
        Some((name, _)) => Err(not_of_an_organisation(name, place)),
        None => Err(not_of_an_organisation(rest, place)),
    };
    key.map(|key| (org.to_owned(), key))
}

/// The problem of a variable that overrides nothing.
fn stranger(path: &str, place: &Place) -> Problem {
    let (section, name) = path.split_once("__").unwrap_or(("", path));
    let sections = SECTIONS.map(|(section, _)| section);
    if sections.contains(&section) {
        return unknown(section, name, false, place);
    }
    let sections: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    Problem::at(place, format!("unknown section `{}`", section.escape_debug()))
        .hint(did_you_mean(section, &sections))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_real_environment_wins_over_dotenv() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(".env"),
            "\u{feff}A=file\nB='f ile' # note\nexport C=c\nA=2\n",
        )
        .unwrap();
        let mut problems = Vec::new();
        let all = with_dotenv(&variables(&[("B", "real")]), dir.path(), &mut problems);
        assert_eq!(all, variables(&[("A", "file"), ("B", "real"), ("C", "c")]));
        assert!(problems.is_empty());
    }

    #[test]
    fn a_bad_line_of_dotenv_is_numbered_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "A=1\nhunter2\nB=two hunter2\nC=3\n").unwrap();
        let mut problems = Vec::new();
        let all = with_dotenv(&Variables::default(), dir.path(), &mut problems);
        assert_eq!(all, variables(&[("A", "1"), ("C", "3")]));
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                ".env, line 2: not of the form NAME=value",
                ".env, line 3: not of the form NAME=value"
            ]
        );
    }

    #[test]
    fn an_override_of_nothing_is_a_problem_that_names_the_variable() {
        let variables = variables(&[
            ("GENESYS_PROXY__UPSTREAM__REGOIN", "x"),
            ("GENESYS_PROXY__OUATH__SCOPE", "x"),
            ("GENESYS_PROXY__REGION", "x"),
            ("GENESYS_PROXY__OAUTH__EXTRA_PARAMS__AUDIENCE", "x"),
            ("GENESYS_PROXY_PORT", "tcp://10.0.0.1:80"),
        ]);
        let (mut items, mut problems) = (Items::new(), Vec::new());
        overlay(&variables, &mut items, &mut Organisations::new(), &mut problems);
        assert!(items.is_empty());
        let shown: Vec<_> =
            problems.iter().map(|p| format!("{p} | {}", p.help().unwrap())).collect();
        insta::assert_debug_snapshot!(shown, @r#"
        [
            "GENESYS_PROXY__OAUTH__EXTRA_PARAMS__AUDIENCE: unknown key `extra_params__audience` in [oauth] | accepted here: client_id, client_secret, next_client_secret, private_key, key_id, client, token_url, timeout, client_auth, assertion_audience, client_cert, client_key, scope, extra_params, extra_headers, refresh_before, required_scopes, on_missing_scope, jwks_url, expected_issuer, expected_audience, verify, verify_every, introspect_url, tokens, revoke_on_exit, revoke_url",
            "GENESYS_PROXY__OUATH__SCOPE: unknown section `ouath` | did you mean `oauth`?",
            "GENESYS_PROXY__REGION: unknown key or section `region` at the top | `region` belongs in [upstream]",
            "GENESYS_PROXY__UPSTREAM__REGOIN: unknown key `regoin` in [upstream] | did you mean `region`?",
        ]
        "#);
    }
}
