//! `genesys-proxy check`: every problem of the configuration, or what it amounts to.
//! It never prints a secret, and never opens a connection unless asked with `--live`.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write},
};

use super::{ConfigArgs, exit, live, serve::LAST_LINES};
use crate::{
    config::{
        Audit, Config, Credentials, Http2, IdentityProvider, Listen, ListenTls, Mode, OnFailure,
        Organisation, Saving, SecretSource, Sources, Store, VaultAuth, load, show_duration,
        show_size,
    },
    secret::loose,
    server::tls::note,
};

/// Check the configuration: every problem with its line and what to do about it
///
/// Without problems, what the gateway would do. Nothing is connected to unless asked with --live:
/// then a token is minted and tried for each client, and what fails is explained. The exit code is
/// 0 when all is well, 78 when the configuration or the credentials are wrong, 69 when a server
/// cannot be reached.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Log in and call the API, too, and explain what does not work
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

/// Writes the report or the summary to `out`, with `--live` what a try shows, and returns the exit
/// code.
///
/// # Errors
/// When `out` cannot be written to.
pub async fn run(args: CheckArgs, out: &mut dyn Write, color: bool) -> io::Result<u8> {
    let sources = args.config.sources();
    let code = offline(&sources, args.live, out, color)?;
    match load(&sources) {
        Ok(config) if args.live => {
            let warnings = live::warnings(&config)?;
            let code = live::run(&config, out).await;
            warnings.flush(LAST_LINES);
            code
        }
        Ok(_) | Err(_) => Ok(code),
    }
}

fn offline(sources: &Sources, live: bool, out: &mut dyn Write, color: bool) -> io::Result<u8> {
    match load(sources) {
        Ok(config) => {
            out.write_all(summary(&config, live).as_bytes())?;
            Ok(exit::OK)
        }
        Err(problems) => {
            out.write_all(problems.render(color).as_bytes())?;
            Ok(exit::CONFIG)
        }
    }
}

/// What the gateway would do, one fact a line.
fn summary(config: &Config, live: bool) -> String {
    let mut text = String::from("The configuration is good.\n\n");
    let notes = notes(config, live).into_iter().map(|note| ("note", note));
    for (name, fact) in facts(config).into_iter().chain(notes) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14}{fact}");
    }
    text
}

fn facts(config: &Config) -> Vec<(&'static str, String)> {
    let Config { upstream, oauth, replay, rate_limit, access, .. } = config;
    let listen: Vec<_> = config.listen.iter().map(place).collect();
    let rate = match rate_limit.requests_per_minute {
        Some(count) => format!("{count} calls in {}", show_duration(rate_limit.window)),
        None => "no limit of our own".to_owned(),
    };
    let queue = format!(
        "{rate}; {} may wait, up to {} each",
        rate_limit.max_queue,
        show_duration(rate_limit.max_wait)
    );
    let copies = format!(
        "{} of a body, {} of it in memory, {} in all",
        show_size(replay.per_request),
        show_size(replay.memory_per_request as u64),
        show_size(replay.memory_total as u64)
    );
    let ids: Vec<_> =
        oauth.clients.iter().map(|client| format!("from {}", client.id_source)).collect();
    let secrets: Vec<_> = oauth
        .clients
        .iter()
        .map(|client| match client.credentials.source() {
            Some(source) => format!("from {source}"),
            None => "none: a certificate".to_owned(),
        })
        .collect();
    let mut facts = vec![
        ("listen", listen.join(", ")),
        ("admin", config.admin.map_or("off".to_owned(), |admin| admin.to_string())),
        ("api", format!("{}{}", upstream.api, http2(upstream.http2))),
        ("apps", upstream.apps.to_string()),
        ("through", upstream.proxy.as_ref().map_or("no proxy".into(), |p| p.origin.to_string())),
        ("token", oauth.token_url.to_string()),
        ("client id", ids.join(", ")),
        ("client secret", secrets.join(", ")),
        ("rate limit", queue),
        ("replay", copies),
        ("connections", access.max_connections.to_string()),
        ("kept ready", warm(upstream.warm_connections)),
    ];
    facts.push(("callers", callers(config)));
    let jwt = |jwt: &IdentityProvider| format!("of {}, for {}", jwt.issuer, jwt.audience);
    facts.extend(config.jwt.as_ref().map(|provider| ("jwt", jwt(provider))));
    facts.extend(config.organisations.iter().map(|org| ("organisation", organisation(org))));
    facts.extend(config.tls.as_ref().map(|files| ("tls", tls(files))));
    facts.extend(config.audit.as_ref().map(|log| ("audit", audit(log))));
    facts.extend(config.store.as_ref().map(|store| ("store", shared(store))));
    facts.extend(saving(&config.saving).map(|fact| ("saving", fact)));
    facts
}

/// Who may call.
fn callers(config: &Config) -> String {
    let named = match config.callers.len() {
        1 => "1 named".to_owned(),
        count => format!("{count} named"),
    };
    match config.access.mode {
        Mode::Open => format!("whoever reaches a listener; {named}"),
        Mode::Key => format!("{named}, and nobody else"),
    }
}

/// Where it is, and what leads there.
fn organisation(Organisation { name, hosts, config }: &Organisation) -> String {
    let leads: Vec<_> = hosts.iter().cloned().chain(config.listen.iter().map(place)).collect();
    let ids: Vec<_> =
        config.oauth.clients.iter().map(|client| client.id_source.to_string()).collect();
    format!(
        "{name}: {} to {}, client id from {}; {}",
        leads.join(", "),
        config.upstream.api,
        ids.join(", "),
        callers(config)
    )
}

fn tls(ListenTls { cert, client_ca, .. }: &ListenTls) -> String {
    match client_ca {
        Some(ca) => format!("{}; callers' certificates by {}", cert.display(), ca.display()),
        None => cert.display().to_string(),
    }
}

/// Where replicas meet.
fn shared(store: &Store) -> String {
    let how = if store.tls { "over TLS" } else { "in plain text" };
    match &store.username {
        Some(user) => format!("{}, {how}, as {}", store.servers, user.escape_debug()),
        None => format!("{}, {how}", store.servers),
    }
}

/// `None` when nothing is to be saved.
fn saving(Saving { coalesce, cache, memory }: &Saving) -> Option<String> {
    (coalesce.len() + cache.len() > 0).then(|| {
        format!(
            "identical GETs in flight, by {} rules; answers kept by {} of them, in {}",
            coalesce.len() + cache.len(),
            cache.len(),
            show_size(*memory as u64)
        )
    })
}

/// What is not wrong, and yet should be known: secrets that others can read, and those that were
/// not looked at.
fn notes(config: &Config, live: bool) -> Vec<String> {
    let all = std::iter::once(config).chain(config.organisations.iter().map(|org| &org.config));
    let mut notes: BTreeSet<String> = all.flat_map(|config| notes_of(config, live)).collect();
    notes.extend(config.in_the_clear().map(|address| {
        format!(
            "callers' keys reach {address} unencrypted: write [tls], or keep the network private"
        )
    }));
    notes.extend(config.admin_key_in_the_clear().map(|address| {
        format!("the admin key reaches {address} unencrypted: keep that network private")
    }));
    notes.extend(config.store.as_ref().filter(|store| store.in_the_clear()).map(|store| {
        format!("the password of {} crosses the network unencrypted: use rediss://", store.servers)
    }));
    notes.into_iter().collect()
}

/// Those of one organisation.
fn notes_of(config: &Config, live: bool) -> Vec<String> {
    let Config { oauth, vault, .. } = config;
    let mut sources = Vec::new();
    for client in &oauth.clients {
        match &client.credentials {
            Credentials::Secret { current, next } => sources.extend([Some(current), next.as_ref()]),
            Credentials::PrivateKey { key, .. } => sources.push(Some(key)),
            Credentials::Certificate => {}
        }
    }
    match vault.as_ref().map(|vault| &vault.auth) {
        Some(VaultAuth::Token(token)) => sources.push(Some(token)),
        Some(VaultAuth::AppRole { secret_id, .. }) => sources.push(secret_id.as_ref()),
        Some(VaultAuth::Kubernetes { .. }) | None => {}
    }
    sources.push(config.store.as_ref().and_then(|store| store.password.as_ref()));
    let of_source = |source: &SecretSource| match source {
        SecretSource::File(path) => loose(path),
        SecretSource::Variable { .. } => None,
        SecretSource::Command(_) | SecretSource::Vault(_) if live => None,
        SecretSource::Command(_) => Some(format!("{source} is not run without --live")),
        SecretSource::Vault(_) => Some(format!("{source} is not asked without --live")),
    };
    let key = oauth.client_cert.iter().filter_map(|files| loose(&files.key));
    let listener = config.tls.iter().flat_map(|files| [loose(&files.key), note(files)]);
    // Several clients may share a file.
    let notes: BTreeSet<_> = sources
        .into_iter()
        .flatten()
        .filter_map(of_source)
        .chain(key)
        .chain(listener.flatten())
        .collect();
    notes.into_iter().collect()
}

fn place(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn http2(version: Http2) -> &'static str {
    match version {
        Http2::Auto => "",
        Http2::Never => " (HTTP/1.1 only)",
        Http2::Always => " (HTTP/2 only)",
    }
}

fn warm(connections: usize) -> String {
    match connections {
        0 => "no connection to api".to_owned(),
        count => format!("{count} to api for each worker"),
    }
}

fn audit(log: &Audit) -> String {
    let otherwise = match log.on_failure {
        OnFailure::Refuse => "refused",
        OnFailure::Continue => "made all the same",
    };
    let seal = if log.key.is_some() { "with a key" } else { "without a key" };
    format!("{}, {seal}; what cannot be recorded is {otherwise}", log.file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> (u8, String) {
        let dir = tempfile::tempdir().unwrap();
        let env =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sources = Sources { env, dir: dir.path().to_owned(), ..Sources::default() };
        let mut out = Vec::new();
        let code = offline(&sources, false, &mut out, false).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_saved_is_in_the_summary_when_it_is() {
        let credentials = [("GENESYS_CLIENT_ID", "a"), ("GENESYS_CLIENT_SECRET", "b")];
        assert!(!checked(&credentials).1.contains("saving"));
        let rules = [
            ("GENESYS_PROXY__SAVING__COALESCE", "GET /a,/b/**"),
            ("GENESYS_PROXY__SAVING__CACHE", "[{ match = \"/c\", for = \"1m\" }]"),
        ];
        let (_, text) = checked(&[credentials, rules].concat());
        let line = "saving        identical GETs in flight, by 3 rules; answers kept by 1 of them, \
                    in 16MiB";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_good_configuration_is_summed_up_without_its_secret() {
        let (code, text) = checked(&[
            ("GENESYS_CLIENT_ID", "an-id"),
            ("GENESYS_CLIENT_SECRET", "hunter2"),
            ("GENESYS_REGION", "eu-central-1"),
            ("GENESYS_PROXY__UPSTREAM__PROXY", "http://me:hunter2@proxy.example.com:3128"),
        ]);
        assert_eq!(code, exit::OK);
        assert!(!text.contains("hunter2"));
        insta::assert_snapshot!(text, @r#"
        The configuration is good.

        listen        127.0.0.1:8080
        admin         127.0.0.1:8081
        api           https://api.mypurecloud.de
        apps          https://apps.mypurecloud.de
        through       http://proxy.example.com:3128
        token         https://login.mypurecloud.de/oauth/token
        client id     from variable GENESYS_CLIENT_ID
        client secret from variable GENESYS_CLIENT_SECRET
        rate limit    300 calls in 1m; 1000 may wait, up to 12s each
        replay        16MiB of a body, 1MiB of it in memory, 256MiB in all
        connections   10000
        kept ready    1 to api for each worker
        callers       whoever reaches a listener; 0 named
        "#);
    }

    #[test]
    fn who_may_call_and_which_organisations_there_are_is_in_the_summary() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let caller = format!(
            "[{{ name = 'billing', key_sha256 = '{digest}', claims = {{ sub = 'billing' }} }}]"
        );
        let (code, text) = checked(&[
            ("GENESYS_CLIENT_ID", "an-id"),
            ("GENESYS_CLIENT_SECRET", "hunter2"),
            ("GENESYS_PROXY__LISTEN", "0.0.0.0:8080,127.0.0.1:8082"),
            ("GENESYS_PROXY__ACCESS__MODE", "key"),
            ("GENESYS_PROXY__CALLER", &caller),
            ("GENESYS_PROXY__JWT__ISSUER", "https://idp.example"),
            ("GENESYS_PROXY__JWT__AUDIENCE", "genesys-proxy"),
            ("GENESYS_PROXY__JWT__JWKS_URL", "https://idp.example/keys"),
            ("GENESYS_PROXY__ORGS__EU__HOSTS", "eu.internal"),
            ("GENESYS_PROXY__ORGS__EU__LISTEN", "127.0.0.1:9090"),
            ("GENESYS_PROXY__ORGS__EU__CALLER", &caller),
            ("GENESYS_PROXY__ORGS__EU__UPSTREAM__REGION", "eu-central-1"),
            ("GENESYS_PROXY__ORGS__EU__OAUTH__CLIENT_ID", "{ env = 'EU' }"),
            ("GENESYS_PROXY__ORGS__EU__OAUTH__CLIENT_SECRET", "{ env = 'EU' }"),
            ("EU", "hunter2"),
        ]);
        assert_eq!(code, exit::OK, "{text}");
        for line in [
            "callers       1 named, and nobody else\n",
            "jwt           of https://idp.example, for genesys-proxy\n",
            "organisation  eu: eu.internal, 127.0.0.1:9090 to https://api.mypurecloud.de, client id \
             from variable EU; 1 named, and nobody else\n",
            "note          callers' keys reach 0.0.0.0:8080 unencrypted: write [tls], or keep the \
             network private\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("127.0.0.1:8082 unencrypted"));
    }

    #[test]
    fn a_bad_configuration_is_reported_whole() {
        let (code, text) = checked(&[("GENESYS_REGION", "the moon")]);
        assert_eq!(code, exit::CONFIG);
        assert!(text.contains("GENESYS_REGION") && text.contains("3 problems"), "{text}");
    }
}
