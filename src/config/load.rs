//! The sources in their order: file, then environment, then command line; then every check.
//! It never changes the environment, and reads each source once.

use std::{
    fmt,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, LogFormat, check,
    env::{self, Variables},
    file::{self, Item, Items, Key},
    left_out::{self, Named},
    read::{Reported, Settings},
    redact::redact,
    renew::Given,
    report::{Place, Problem, Problems},
};

/// Larger is not a configuration.
const MAX_FILE: u64 = 1 << 20;
const USUAL_FILE: &str = "proxy.toml";
const LOG: Key = Key("telemetry", "log");
const ACCESS_LOG: Key = Key("telemetry", "access_log");

/// What a configuration is made from.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`; without it `proxy.toml` in `dir`, if there is one.
    pub file: Option<PathBuf>,
    /// `--listen`, once for each address.
    pub listen: Option<Vec<String>>,
    /// `--admin`
    pub admin: Option<String>,
    /// `--log`
    pub log: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// Warnings only, and no access lines, unless the file, a variable or `--log` says otherwise.
    pub quiet: bool,
    /// `--insecure-open-listener`: whoever can reach the port may use the credentials.
    pub insecure_open_listener: bool,
    /// The process's environment.
    pub env: Variables,
    /// Where `proxy.toml` and `.env` are looked for.
    pub dir: PathBuf,
}

impl Sources {
    /// The process's own environment and working directory, no flags.
    pub fn of_process() -> Self {
        // A variable that is not UTF-8 is none of ours; `std::env::vars` would panic on it.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env = std::env::vars_os().filter_map(text).collect();
        Self { env, dir: PathBuf::from("."), ..Self::default() }
    }
}

impl Sources {
    /// Files that it is read from, whether or not they are there.
    pub fn files(&self) -> [PathBuf; 2] {
        let file = self.file.clone().unwrap_or_else(|| self.dir.join(USUAL_FILE));
        [file, self.dir.join(env::DOTENV)]
    }
}

/// Without the environment: it holds secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("listen", &self.listen)
            .field("admin", &self.admin)
            .field("log", &self.log)
            .field("log_format", &self.log_format)
            .field("quiet", &self.quiet)
            .field("insecure_open_listener", &self.insecure_open_listener)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// The configuration, or everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    loaded(sources, false).map(|(config, _, _)| config)
}

/// The same, and what it was made of: another that is read later is compared with it.
pub fn load_to_renew(sources: &Sources) -> Result<(Config, Given), Problems> {
    loaded(sources, false).map(|(config, _, given)| (config, given))
}

/// The same as `load` for one command, which nobody else calls: what is only about others is not looked at,
/// neither its mistakes. Besides, the variables that all of it names.
pub fn load_for_one(sources: &Sources) -> Result<(Config, Named), Problems> {
    loaded(sources, true).map(|(config, named, _)| (config, named))
}

fn loaded(sources: &Sources, for_one: bool) -> Result<(Config, Named, Given), Problems> {
    let mut problems = Vec::new();
    let variables = env::with_dotenv(&sources.env, &sources.dir, &mut problems);
    let file = read_file(sources).unwrap_or_else(|problem| {
        problems.push(problem);
        Found::default()
    });

    let (document, errors) = DeTable::parse_recoverable(&file.text);
    let quotable = redact(&file.text, document.get_ref(), !errors.is_empty());
    let (mut document, mut named) = (document.into_inner(), Named::default());
    if for_one {
        left_out::take_sections(&mut document, &variables, &mut named);
    }
    let (mut items, mut orgs, mut unknown) = file::items(document);
    problems.append(&mut unknown);
    env::overlay(&variables, &mut items, &mut orgs, &mut problems);
    flags(sources, &mut items);
    if for_one {
        left_out::take_keys(&mut items, &mut orgs, &variables, &mut named);
        left_out::forgive(&mut problems);
    }
    let given = Given::of(&items, &orgs);
    let apart = env::without_usual(&variables);

    let mut settings = Settings {
        items,
        orgs,
        variables: &variables,
        variables_of_orgs: &apart,
        beside_file: file.path.parent().unwrap_or(Path::new("")),
        dir: &sources.dir,
        insecure_open_listener: sources.insecure_open_listener,
        problems,
        files: Vec::new(),
    };
    let config = check::config(&mut settings);
    match config {
        Ok(config) if errors.is_empty() => {
            Ok((with_flags(config, sources), named, given.with(settings.files)))
        }
        Ok(_) | Err(Reported) => {
            let problems = with_syntax(&file.text, &errors, settings.problems);
            Err(Problems::new(&file.name, quotable, problems))
        }
    }
}

/// The file's text; empty when there is none.
#[derive(Default)]
struct Found {
    path: PathBuf,
    /// As the report calls it.
    name: String,
    text: String,
}

fn read_file(sources: &Sources) -> Result<Found, Problem> {
    let usual = sources.dir.join(USUAL_FILE);
    let (path, name) = match &sources.file {
        Some(path) => (path.clone(), path.display().to_string()),
        None => (usual, USUAL_FILE.to_owned()),
    };
    match read_text(&path) {
        Ok(text) => Ok(Found { path, name, text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.file.is_none() => {
            Ok(Found::default())
        }
        Err(error) => {
            let place =
                if sources.file.is_some() { Place::Flag("--config") } else { Place::Nowhere };
            Err(Problem::at(&place, format!("cannot read {name}: {error}"))
                .hint("check the path and its permissions"))
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("more than 1 MiB is not a configuration"));
    }
    Ok(text)
}

/// `--listen`, `--admin` and `--log` stand above the file and the environment, and pass the same
/// checks. What is quiet stands below them.
fn flags(sources: &Sources, items: &mut Items<'_>) {
    let text = |text: &String| DeValue::String(text.clone().into());
    let listen = sources.listen.as_ref().map(|listen| {
        DeValue::Array(listen.iter().map(|address| Spanned::new(0..0, text(address))).collect())
    });
    let (admin, log) = (sources.admin.as_ref().map(text), sources.log.as_ref().map(text));
    for (key, flag, value) in [
        (Key("", "listen"), "--listen", listen),
        (Key("", "admin"), "--admin", admin),
        (LOG, "--log", log),
    ] {
        if let Some(value) = value {
            items.insert(key, Item { value, place: Place::Flag(flag), raw: None });
        }
    }
    if sources.quiet {
        let usual = |value| Item { value, place: Place::Nowhere, raw: None };
        items.entry(LOG).or_insert_with(|| usual(DeValue::String("warn".into())));
        items.entry(ACCESS_LOG).or_insert_with(|| usual(DeValue::Boolean(false)));
    }
}

/// `--log-format` needs no check: its type is.
fn with_flags(mut config: Config, sources: &Sources) -> Config {
    config.telemetry.format = sources.log_format.unwrap_or(config.telemetry.format);
    config
}

/// In a file that is not TOML, the rest is a guess: what is missing may only be unreadable. Kept
/// are the problems on lines that were read, and those of variables and flags.
fn with_syntax(text: &str, errors: &[toml::de::Error], found: Vec<Problem>) -> Vec<Problem> {
    if errors.is_empty() {
        return found;
    }
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count();
    let start = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    let broken: Vec<usize> = errors.iter().map(|error| line(start(error))).collect();
    let readable = |problem: &Problem| match problem.place() {
        Place::File(span) => !broken.contains(&line(span.start)),
        Place::Variable(_) | Place::Flag(_) => true,
        Place::Nowhere => false,
    };
    let syntax = errors.iter().map(|error| {
        let place = Place::File(error.span().unwrap_or(text.len()..text.len()));
        let hint = if error.message().starts_with("duplicate key") {
            "it is there already: remove one of the two"
        } else {
            "texts are in quotes, lists in [ ], one `key = value` a line"
        };
        Problem::at(&place, format!("this is not TOML: {}", error.message())).hint(hint)
    });
    syntax.chain(found.into_iter().filter(readable)).collect()
}
