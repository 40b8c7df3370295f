//! `genesys-proxy check --live`: a token is minted, looked at and tried, and what fails is explained.
//! It never prints a secret or a token, and never changes anything but that a token was minted.

use std::io::{self, Write};

use http::StatusCode;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::exit;
use crate::{
    config::{Config, OAuth, Telemetry, Verify, show_duration},
    server::{attempt, logins},
    store::Attempt,
    telemetry::{log, output::Output},
    token::{
        expectations,
        issuer::{Issuer as _, Kind, Login, MintError, Minted, host},
        look::Seen,
        verify::{Alive, Check as _},
    },
};

/// The name of a line about what works and should be mended all the same.
const WARNING: &str = "warning";

/// What was found, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Good,
    /// It works, and something should be mended.
    Doubtful,
    /// A server cannot be reached, or cannot serve.
    Unavailable,
    /// The configuration or the credentials are wrong.
    Wrong,
}

impl Found {
    fn code(self) -> u8 {
        match self {
            Self::Good | Self::Doubtful => exit::OK,
            Self::Unavailable => exit::UNAVAILABLE,
            Self::Wrong => exit::CONFIG,
        }
    }
}

/// Something that does not work: what, and what to do about it.
#[derive(Debug)]
struct Diagnosis {
    found: Found,
    what: String,
    advice: &'static str,
}

/// What is told line by line, and the worst of it.
struct Report<'o> {
    out: &'o mut dyn Write,
    worst: Found,
}

impl Report<'_> {
    fn line(&mut self, name: &str, fact: &str) -> io::Result<()> {
        if name == WARNING {
            self.worst = self.worst.max(Found::Doubtful);
        }
        writeln!(self.out, "  {name:<12}{fact}")
    }

    fn wrong(&mut self, name: &str, diagnosis: &Diagnosis) -> io::Result<()> {
        self.worst = self.worst.max(diagnosis.found);
        self.line(name, &format!("does not work: {}", diagnosis.what))?;
        self.line("fix", diagnosis.advice)
    }
}

/// What the gateway would warn about while it logs in, on stderr; not what the report says anyway:
/// what a token is, and how a secret is kept.
pub(super) fn warnings(config: &Config) -> io::Result<Output> {
    let log = "genesys_proxy=warn,genesys_proxy::token=off,genesys_proxy::secret::watch=off";
    log::init(&Telemetry { log: log.to_owned(), ..config.telemetry.clone() })
}

/// Tries every client of every organisation; the exit code is the worst of them.
///
/// # Errors
/// When `out` cannot be written to.
pub async fn run(config: &Config, out: &mut dyn Write) -> io::Result<u8> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut report = Report { out, worst: Found::Good };
    let others = config.organisations.iter().map(|org| (Some(&org.name), &org.config));
    for (org, config) in std::iter::once((None, config)).chain(others) {
        let logins = match logins(config, &tasks, &Handle::current(), &stop) {
            Ok(logins) => logins,
            Err(error) => {
                writeln!(report.out, "\n{error}")?;
                return Ok(exit::CONFIG);
            }
        };
        let of = org.map_or_else(String::new, |org| format!("[orgs.{org}] "));
        for login in &logins {
            let name = login.client().escape_debug();
            writeln!(report.out, "\n{of}client {name} at {}", host(&config.oauth.token_url))?;
            client(config, login, &mut report).await?;
        }
    }
    store(config, (&tasks, &stop), &mut report).await?;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let verdict = match report.worst {
        Found::Good => "Everything works.",
        Found::Doubtful => "It works; see the warnings.",
        Found::Unavailable | Found::Wrong => "It does not work yet.",
    };
    writeln!(report.out, "\n{verdict}")?;
    Ok(report.worst.code())
}

/// What other gateways meet this one in, if there is something.
async fn store(
    config: &Config,
    (tasks, stop): (&TaskTracker, &CancellationToken),
    report: &mut Report<'_>,
) -> io::Result<()> {
    let Some(store) = &config.store else { return Ok(()) };
    writeln!(report.out, "\nstore at {}", store.servers)?;
    let wrong = |what, advice| Diagnosis { found: Found::Wrong, what, advice };
    match attempt(config, tasks, &Handle::current(), stop).await {
        Ok(None) => Ok(()),
        Ok(Some(Attempt::Good)) => report.line("store", "takes writes, and passes on messages"),
        Ok(Some(Attempt::Deaf(why))) => {
            let advice = "let the user subscribe to channels, &gp1:* in its ACL: without messages \
                          replicas find out by asking now and then";
            report.wrong("messages", &wrong(why, advice))
        }
        Ok(Some(Attempt::Away(what))) => {
            let advice =
                "check store.url, firewalls and the server: without it this replica is alone";
            report.wrong("store", &Diagnosis { found: Found::Unavailable, what, advice })
        }
        Ok(Some(Attempt::Wrong(what))) => {
            let advice =
                "check url, username, password and ca_file in [store], and the server's ACL";
            report.wrong("store", &wrong(what, advice))
        }
        Err(error) => report.wrong("store", &wrong(error.to_string(), "check [store] and [vault]")),
    }
}

async fn client(config: &Config, login: &Login, report: &mut Report<'_>) -> io::Result<()> {
    let minted = match login.mint().await {
        Ok(minted) => minted,
        Err(error) => return report.wrong("token", &no_token(&error)),
    };
    for (name, fact) in facts(&config.oauth, &minted) {
        report.line(name, &fact)?;
    }
    if login.rotated() {
        let line = "oauth.client_secret is refused and oauth.next_client_secret works: move it to \
                    client_secret and remove next_client_secret";
        report.line(WARNING, line)?;
    }
    match login.tokens_me(&minted.authorization).await {
        Err(error) => report.wrong("API", &no_api(&error))?,
        Ok(seen) => match about_the_token(&seen, config) {
            Err(diagnosis) => report.wrong("API", &diagnosis)?,
            Ok((name, known)) => {
                report.line(name, &known)?;
                organization(login, &minted, report).await?;
            }
        },
    }
    if let Verify::Rfc7662 { .. } = config.oauth.verify {
        introspection(login, &minted, report).await?;
    }
    if config.oauth.revoke_on_exit
        && let Err(why) = login.revoke(&minted.authorization).await
    {
        let line = format!("the token is not revoked and lives until it expires: {why}");
        report.line(WARNING, &line)?;
    }
    Ok(())
}

async fn introspection(login: &Login, minted: &Minted, report: &mut Report<'_>) -> io::Result<()> {
    match login.check(&minted.authorization).await {
        Alive::Active => report.line("checks", "introspection calls the token active"),
        Alive::Inactive => report.wrong(
            "checks",
            &Diagnosis {
                found: Found::Wrong,
                what: "introspection calls a fresh token inactive".to_owned(),
                advice: "check oauth.introspect_url, and whether the client may introspect its own \
                         tokens: as it is, each would be thrown away",
            },
        ),
        Alive::Unknown(why) => report.line(
            WARNING,
            &format!("tokens stay in use unchecked: {why}; check oauth.introspect_url"),
        ),
    }
}

async fn organization(login: &Login, minted: &Minted, report: &mut Report<'_>) -> io::Result<()> {
    match login.organization(&minted.authorization).await {
        Err(error) => report.wrong("role", &no_api(&error)),
        Ok(seen) => match about_the_role(&seen) {
            Err(diagnosis) => report.wrong("role", &diagnosis),
            Ok((name, known)) => report.line(name, &known),
        },
    }
}

/// What a token is, for people; never its value.
pub(super) fn facts(oauth: &OAuth, minted: &Minted) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("token", format!("lives {}", show_duration(minted.life))),
        ("fingerprint", minted.fingerprint.clone()),
    ];
    let shown = |text: &String| text.escape_debug().to_string();
    let format = match &minted.claims {
        None => "opaque".to_owned(),
        Some(claims) => {
            let key = claims
                .kid
                .as_ref()
                .map_or_else(|| "no key id".to_owned(), |kid| format!("key {}", shown(kid)));
            let signed = if minted.verified {
                "signature verified"
            } else {
                "signature not checked (no oauth.jwks_url)"
            };
            format!("JWT, {}, {key}, {signed}", shown(&claims.alg))
        }
    };
    facts.push(("format", format));
    if let Some(claims) = &minted.claims {
        facts.extend(claims.iss.as_ref().map(|iss| ("issuer", shown(iss))));
        facts.extend(claims.sub.as_ref().map(|sub| ("subject", shown(sub))));
        let aud: Vec<_> = claims.aud.iter().map(shown).collect();
        facts.extend((!aud.is_empty()).then(|| ("audience", aud.join(", "))));
    }
    let scopes = match &minted.scopes {
        None => "not told".to_owned(),
        Some(scopes) if scopes.is_empty() => "none".to_owned(),
        Some(scopes) => scopes.join(" ").escape_debug().to_string(),
    };
    facts.push(("scopes", scopes));
    if let Some(skew) = minted.skew {
        facts.push(if skew.worth_warning() {
            (WARNING, skew.to_string())
        } else {
            ("clock", "agrees with the token endpoint's".to_owned())
        });
    }
    if let Ok(Some(missing)) = expectations::required_scopes(oauth, minted) {
        let advice = Kind::MissingScope(Vec::new()).advice();
        facts.push((WARNING, format!("{missing}; {advice}")));
    }
    facts
}

/// The exit code of a mint that failed.
pub(super) fn exit_code(error: &MintError) -> u8 {
    no_token(error).found.code()
}

/// A mint that failed, for people.
pub(super) fn no_token_for(client: &str, error: &MintError) -> String {
    let client = client.escape_debug();
    format!("genesys-proxy: no token for client {client}: {error}\n  {}\n", error.advice)
}

/// Why there is no token.
fn no_token(error: &MintError) -> Diagnosis {
    let found = match error.kind {
        Kind::UnknownClient
        | Kind::WrongSecret
        | Kind::WrongGrant
        | Kind::BadScope
        | Kind::Blocked
        | Kind::Redirect
        | Kind::Status(400..=499)
        | Kind::BadAnswer
        | Kind::MissingScope(_)
        | Kind::Secret
        | Kind::Key
        | Kind::Signature
        | Kind::Foreign => Found::Wrong,
        Kind::Throttled
        | Kind::Dns
        | Kind::Connect
        | Kind::Tls(_)
        | Kind::Timeout
        | Kind::Status(_)
        | Kind::SecretAway
        | Kind::Jwks => Found::Unavailable,
    };
    Diagnosis { found, what: error.why.clone(), advice: error.advice }
}

/// Why the API cannot be reached.
fn no_api(error: &MintError) -> Diagnosis {
    let advice = match error.kind {
        Kind::Dns => "check upstream.region or upstream.api_url, upstream.proxy and the resolver",
        Kind::Tls(handshake) => handshake.advice(),
        Kind::BadAnswer => "check what stands between it and here",
        _ => "check firewalls, upstream.proxy and upstream.api_url",
    };
    Diagnosis { found: Found::Unavailable, what: error.why.clone(), advice }
}

type Told = Result<(&'static str, String), Diagnosis>;

/// What `/api/v2/tokens/me` says.
fn about_the_token(seen: &Seen, config: &Config) -> Told {
    let wrong = |found, what: String, advice| Err(Diagnosis { found, what, advice });
    let (api, login) = (config.upstream.api.authority(), host(&config.oauth.token_url));
    match seen.status {
        StatusCode::UNAUTHORIZED => wrong(
            Found::Wrong,
            format!("{api} does not know the token that {login} gave"),
            "set upstream.region, and remove api_url, login_url and token_url unless they are \
             meant: these two belong to different regions or organisations",
        ),
        StatusCode::FORBIDDEN => wrong(
            Found::Wrong,
            format!("{api} answered 403 to a token that looks at itself"),
            Kind::Blocked.advice(),
        ),
        StatusCode::TOO_MANY_REQUESTS => wrong(
            Found::Unavailable,
            format!("{api} answered 429: the client's limit is used up"),
            "wait a minute; if other programs use this client, give the gateway its own",
        ),
        status if status.is_server_error() => wrong(
            Found::Unavailable,
            format!("{api} answered {status}"),
            "see its status page: it is in trouble",
        ),
        status if status.is_success() => {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let name = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
            let organization = name("/organization/name").unwrap_or_default();
            let client = name("/OAuthClient/name").unwrap_or_default();
            let known = if organization.is_empty() {
                format!("{api} accepts the token")
            } else {
                let (organization, client) = (organization.escape_debug(), client.escape_debug());
                format!("{api} knows it: organisation \"{organization}\", client \"{client}\"")
            };
            Ok(("API", known))
        }
        status => Ok((
            WARNING,
            format!(
                "{api} answered {status} to GET /api/v2/tokens/me: unless it is meant not to be \
                 Genesys Cloud, check upstream.api_url"
            ),
        )),
    }
}

/// What `/api/v2/organizations/me` says.
fn about_the_role(seen: &Seen) -> Told {
    const CALL: &str = "GET /api/v2/organizations/me";
    match seen.status {
        StatusCode::FORBIDDEN => {
            let missing = seen.missing();
            let lacking = if missing.is_empty() {
                format!("the client has no role that allows {CALL}")
            } else {
                format!("the client's roles lack {}, for {CALL}", missing.join(", "))
            };
            Err(Diagnosis {
                found: Found::Wrong,
                what: lacking,
                advice: "give it a role that has what its callers need (Admin > Integrations > \
                         OAuth > Roles)",
            })
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Diagnosis {
                found: Found::Unavailable,
                what: format!("{CALL} was answered {status}"),
                advice: "see its status page, and try again later",
            })
        }
        status if status.is_success() => Ok(("role", format!("{CALL} is allowed"))),
        status => Ok((WARNING, format!("{CALL} was answered {status}"))),
    }
}
