//! `genesys-proxy check --live`: a token is minted, looked at and tried, and what fails is explained.
//! It never prints a secret or a token, and never changes anything but that a token was minted.

use std::io::{self, Write};

use http::StatusCode;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::exit;
use crate::{
    config::{Config, Telemetry},
    decide::permissions,
    server::logins,
    telemetry::{log, output::Output},
    token::{
        issuer::{Issuer as _, Kind, Login, MintError, Minted},
        look::Seen,
    },
};

/// What was found, worst first when several are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Good,
    /// A server cannot be reached.
    Unavailable,
    /// The configuration or the credentials are wrong.
    Wrong,
}

impl Found {
    fn code(self) -> u8 {
        match self {
            Self::Good => exit::OK,
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
    advice: String,
}

/// What the gateway would warn about while it logs in, on stderr.
pub(super) fn warnings(config: &Config) -> io::Result<Output> {
    log::init(&Telemetry { log: "genesys_proxy=warn".to_owned(), ..config.telemetry.clone() })
}

/// Tries every client; the exit code is the worst of them.
///
/// # Errors
/// When `out` cannot be written to.
pub async fn run(config: &Config, out: &mut dyn Write) -> io::Result<u8> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let logins = match logins(config, &tasks, &Handle::current(), &stop) {
        Ok(logins) => logins,
        Err(error) => {
            writeln!(out, "\n{error}")?;
            return Ok(exit::CONFIG);
        }
    };
    let mut worst = Found::Good;
    for login in &logins {
        writeln!(out, "\nclient {}", login.client())?;
        worst = worst.max(client(config, login, out).await?);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match worst {
        Found::Good => writeln!(out, "\nEverything works.")?,
        Found::Unavailable | Found::Wrong => writeln!(out, "\nIt does not work yet.")?,
    }
    Ok(worst.code())
}

async fn client(config: &Config, login: &Login, out: &mut dyn Write) -> io::Result<Found> {
    let minted = match login.mint().await {
        Ok(minted) => minted,
        Err(error) => return tell(out, "token", &no_token(&error)),
    };
    for (name, fact) in facts(&minted) {
        fact_line(out, name, &fact)?;
    }
    let api = config.upstream.api.authority();
    let found = match login.tokens_me(&minted.authorization).await {
        Err(error) => tell(out, "API", &no_api(&error, &api))?,
        Ok(seen) => match about_the_token(&seen, config) {
            Err(diagnosis) => tell(out, "API", &diagnosis)?,
            Ok(known) => {
                fact_line(out, "API", &known)?;
                organization(login, &minted, &api, out).await?
            }
        },
    };
    if config.oauth.revoke_on_exit
        && let Err(why) = login.revoke(&minted.authorization).await
    {
        fact_line(out, "revocation", &format!("failed: {why}"))?;
    }
    Ok(found)
}

async fn organization(
    login: &Login,
    minted: &Minted,
    api: &str,
    out: &mut dyn Write,
) -> io::Result<Found> {
    match login.organization(&minted.authorization).await {
        Err(error) => tell(out, "role", &no_api(&error, api)),
        Ok(seen) => match about_the_role(&seen) {
            Err(diagnosis) => tell(out, "role", &diagnosis),
            Ok(known) => fact_line(out, "role", &known).map(|()| Found::Good),
        },
    }
}

fn fact_line(out: &mut dyn Write, name: &str, fact: &str) -> io::Result<()> {
    writeln!(out, "  {name:<12}{fact}")
}

fn tell(out: &mut dyn Write, name: &str, diagnosis: &Diagnosis) -> io::Result<Found> {
    fact_line(out, name, &format!("does not work: {}", diagnosis.what))?;
    fact_line(out, "", &diagnosis.advice)?;
    Ok(diagnosis.found)
}

/// What a token is, for people; never its value.
pub(super) fn facts(minted: &Minted) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("token", format!("lives {}", humantime::format_duration(minted.life))),
        ("fingerprint", minted.fingerprint.clone()),
    ];
    let format = match &minted.claims {
        None => "opaque".to_owned(),
        Some(claims) => {
            let alg: String = claims.alg.chars().filter(char::is_ascii_alphanumeric).collect();
            let signed =
                if minted.verified { "signature verified" } else { "signature not checked" };
            format!("JWT, {alg}, {signed}")
        }
    };
    facts.push(("format", format));
    if let Some(claims) = &minted.claims {
        let shown = |text: &String| text.escape_debug().to_string();
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
    facts.extend(minted.skew.map(|skew| ("clock", skew.to_string())));
    facts
}

/// The exit code of a mint that failed.
pub(super) fn exit_code(error: &MintError) -> u8 {
    no_token(error).found.code()
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
        | Kind::Status(404 | 405)
        | Kind::BadAnswer
        | Kind::MissingScope(_)
        | Kind::Secret
        | Kind::Key
        | Kind::Signature
        | Kind::Foreign => Found::Wrong,
        Kind::Throttled
        | Kind::Dns
        | Kind::Connect
        | Kind::Tls
        | Kind::Timeout
        | Kind::Status(_)
        | Kind::Jwks => Found::Unavailable,
    };
    Diagnosis { found, what: error.why.clone(), advice: error.kind.advice().to_owned() }
}

/// Why the API cannot be reached.
fn no_api(error: &MintError, api: &str) -> Diagnosis {
    let advice = match error.kind {
        Kind::Dns => "check upstream.region or upstream.api_url, upstream.proxy and the resolver",
        Kind::Tls => {
            "check upstream.ca_file, the name in upstream.api_url, and whether something in between \
             opens TLS"
        }
        _ => "check firewalls and upstream.proxy",
    };
    let what = format!("{api}: {}", error.why);
    Diagnosis { found: Found::Unavailable, what, advice: advice.to_owned() }
}

/// What `/api/v2/tokens/me` says.
fn about_the_token(seen: &Seen, config: &Config) -> Result<String, Diagnosis> {
    let wrong = |found, what: String, advice: &str| {
        Err(Diagnosis { found, what, advice: advice.to_owned() })
    };
    let (api, login) = (config.upstream.api.authority(), config.oauth.token_url.host_str());
    match seen.status {
        StatusCode::UNAUTHORIZED => wrong(
            Found::Wrong,
            format!("{api} does not know the token that {} gave", login.unwrap_or("the login")),
            "they belong to different regions or organisations: set upstream.region, and remove \
             api_url, login_url and token_url unless they are meant",
        ),
        StatusCode::FORBIDDEN => wrong(
            Found::Wrong,
            format!("{api} answered 403 to a token that looks at itself"),
            "this machine's address is not among those that the client may be used from, or the \
             client is disabled (Admin > Integrations > OAuth)",
        ),
        StatusCode::TOO_MANY_REQUESTS => wrong(
            Found::Unavailable,
            format!("{api} answered 429"),
            "other programs use up this client's limit: wait, or give the gateway its own client",
        ),
        status if status.is_server_error() => wrong(
            Found::Unavailable,
            format!("{api} answered {status}"),
            "it is in trouble: see its status page",
        ),
        status if status.is_success() => {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let name = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
            let organization = name("/organization/name").unwrap_or_default();
            let client = name("/OAuthClient/name").unwrap_or_default();
            Ok(if organization.is_empty() {
                format!("{api} accepts the token")
            } else {
                let (organization, client) = (organization.escape_debug(), client.escape_debug());
                format!("{api} knows it: organisation \"{organization}\", client \"{client}\"")
            })
        }
        status => Ok(format!("{api} answers ({status} to /api/v2/tokens/me: not Genesys Cloud?)")),
    }
}

/// What `/api/v2/organizations/me` says.
fn about_the_role(seen: &Seen) -> Result<String, Diagnosis> {
    match seen.status {
        StatusCode::FORBIDDEN => {
            let missing = permissions::missing(&seen.body);
            let named = missing.map(|missing| missing.permissions).unwrap_or_default();
            let lacking = if named.is_empty() {
                "the client has no role that allows GET /api/v2/organizations/me".to_owned()
            } else {
                format!("the client's roles lack {}", named.join(", "))
            };
            Err(Diagnosis {
                found: Found::Wrong,
                what: lacking,
                advice: "give it a role that has what its callers need (Admin > Integrations > \
                         OAuth > Roles)"
                    .to_owned(),
            })
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Diagnosis {
                found: Found::Unavailable,
                what: format!("GET /api/v2/organizations/me answered {status}"),
                advice: "try again later".to_owned(),
            })
        }
        status if status.is_success() => Ok("GET /api/v2/organizations/me is allowed".to_owned()),
        status => Ok(format!("GET /api/v2/organizations/me answered {status}")),
    }
}
