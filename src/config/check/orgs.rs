//! `[orgs.NAME]`: further organisations, each with its own upstream, login, limits and callers.
//! It never lets one have another's credentials or address for want of its own.

use super::{
    access,
    callers::{self, KnownBy},
    listen, oauth, rate_limit, retry, saving, upstream, vault,
};
use crate::config::{
    Caller, Config, Listen, Mode, OAuth, Organisation, RateLimit, Retry, Saving, Upstream, Vault,
    file::{self, HOSTS_OF_AN_ORGANISATION as HOSTS, Item, Key, LISTEN_OF_AN_ORGANISATION},
    read::{Checked, Reported, Settings},
    report::{Place, Problem},
};

const LONGEST_NAME: usize = 32;
/// More is a directory, not a configuration.
const MOST: usize = 100;

/// What organisations have in common, as far as nothing is wrong with it.
pub(super) struct Shared<'c> {
    /// `access.mode`; open when it cannot be told.
    pub(super) mode: Mode,
    /// By what callers can be known.
    pub(super) known_by: KnownBy,
    /// The first organisation's `[vault]`.
    pub(super) vault: Option<&'c Vault>,
    /// `access.hosts`
    pub(super) hosts: &'c [String],
    /// `listen` and `admin`.
    pub(super) listen: Vec<Listen>,
}

/// What an organisation has of its own.
pub(super) struct Own {
    name: String,
    hosts: Vec<String>,
    listen: Vec<Listen>,
    upstream: Upstream,
    oauth: OAuth,
    vault: Option<Vault>,
    rate_limit: RateLimit,
    retry: Retry,
    saving: Saving,
    /// Who calls it.
    pub(super) callers: Vec<Caller>,
}

impl Own {
    /// With all that is the gateway's.
    pub(super) fn beside(self, first: &Config) -> Organisation {
        Organisation {
            name: self.name,
            hosts: self.hosts,
            config: Config {
                listen: self.listen,
                admin: None,
                admin_key: None,
                upstream: self.upstream,
                oauth: self.oauth,
                vault: self.vault,
                rate_limit: self.rate_limit,
                retry: self.retry,
                saving: self.saving,
                callers: self.callers,
                organisations: Vec::new(),
                ..first.clone()
            },
        }
    }
}

/// Every `[orgs.NAME]`, by name.
pub(super) fn organisations(settings: &mut Settings<'_>, shared: &Shared<'_>) -> Checked<Vec<Own>> {
    let orgs = std::mem::take(&mut settings.orgs);
    if let Some((_, org)) = orgs.iter().nth(MOST) {
        let what = format!("more than {MOST} organisations");
        let hint = "run another gateway for the rest";
        return Err(settings.report(Problem::at(&org.place, what).hint(hint)));
    }
    let (mut found, mut complete) = (Vec::new(), true);
    for (name, org) in orgs {
        let place = org.place.clone();
        match organisation(settings, name, org, shared) {
            Ok(org) => found.push((org, place)),
            Err(Reported) => complete = false,
        }
    }
    apart(settings, shared, &found);
    if complete { Ok(found.into_iter().map(|(org, _)| org).collect()) } else { Err(Reported) }
}

fn organisation<'i>(
    settings: &mut Settings<'i>,
    name: String,
    org: file::Organisation<'i>,
    shared: &Shared<'_>,
) -> Checked<Own> {
    let file::Organisation { place, items } = org;
    // Whatever it does not say must not be looked for where the first organisation's is.
    let others = std::mem::replace(&mut settings.items, items);
    let variables = std::mem::replace(&mut settings.variables, settings.variables_of_orgs);
    let before = settings.problems.len();
    let read = read(settings, name, &place, shared);
    (settings.items, settings.variables) = (others, variables);
    for problem in settings.problems.iter_mut().skip(before) {
        problem.or_at(&place);
    }
    read
}

fn read(
    settings: &mut Settings<'_>,
    name: String,
    place: &Place,
    shared: &Shared<'_>,
) -> Checked<Own> {
    well_named(settings, &name, place);
    let whole = given(settings, &name, place);
    let hosts = access::hosts(settings, HOSTS);
    let listen = listen::of_an_organisation(settings, LISTEN_OF_AN_ORGANISATION, shared.mode);
    if let (Ok(hosts), Ok(listen)) = (&hosts, &listen)
        && hosts.is_empty()
        && listen.is_empty()
    {
        settings.report(Problem::at(place, format!("nothing leads to [orgs.{name}]")).hint(
            format!("write hosts = [\"{name}.genesys.internal\"] or listen = [\"127.0.0.1:8090\"]"),
        ));
    }
    let rate_limit = rate_limit::rate_limit(settings);
    let retry = retry::retry(settings);
    let saving = saving::saving(settings);
    let callers = callers::callers(settings, shared.known_by);
    if let Ok(callers) = &callers
        && callers.is_empty()
        && shared.mode == Mode::Key
    {
        settings.report(
            Problem::at(place, format!("nobody could call [orgs.{name}]: it has no caller"))
                .hint(format!("name one: [[orgs.{name}.caller]]")),
        );
    }
    whole?;
    let upstream = upstream::upstream(settings);
    let oauth = oauth::oauth(settings, upstream.as_ref().ok().map(|upstream| &upstream.login));
    let own_vault = settings.items.keys().any(|key| key.0 == "vault");
    let vault = match shared.vault {
        Some(vault) if !own_vault => Ok(Some(vault.clone())),
        Some(_) | None => vault::vault(settings, oauth.as_ref().ok(), None),
    };
    Ok(Own {
        name,
        hosts: hosts?,
        listen: listen?,
        upstream: upstream?,
        oauth: oauth?,
        vault: vault?,
        rate_limit: rate_limit?,
        retry: retry?,
        saving: saving?,
        callers: callers?,
    })
}

/// Where it is and who logs in there: nothing of it is anybody else's.
fn given(settings: &mut Settings<'_>, name: &str, place: &Place) -> Checked<()> {
    let has = |key: Key| {
        let empty = |item: &Item<'_>| item.value.as_str() == Some("");
        settings.items.get(&key).is_some_and(|item| !empty(item))
    };
    let oauth = |key| has(Key("oauth", key));
    let somewhere = has(Key("upstream", "region")) || has(Key("upstream", "api_url"));
    let several = oauth("client");
    let proof = ["client_secret", "private_key", "client_cert"].into_iter().any(oauth);
    let missing = [
        (somewhere, "upstream", "region", "region = \"eu-central-1\""),
        (several || oauth("client_id"), "oauth", "client_id", "client_id = \"…\""),
        (several || proof, "oauth", "client_secret", "client_secret = { env = \"NAME\" }"),
    ];
    let mut whole = Ok(());
    for (_, section, key, hint) in missing.into_iter().filter(|(given, ..)| !given) {
        let what = format!("`{key}` is missing in [orgs.{name}.{section}]");
        let hint = format!("write {hint}: it is never another organisation's");
        whole = Err(settings.report(Problem::at(place, what).hint(hint)));
    }
    whole
}

/// What logs and variables can call it.
fn well_named(settings: &mut Settings<'_>, name: &str, place: &Place) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let good = begins && name.chars().all(plain) && name.len() <= LONGEST_NAME;
    if !good || name.contains("__") || name == "default" {
        let what = format!("`{}` is no name for an organisation", name.escape_debug());
        settings.report(Problem::at(place, what).hint(
            "a letter, then letters, digits and _, all in lower case, at most 32, such as \"eu\"; \
             \"default\" is the one at the top",
        ));
    }
}

/// No name and no address leads to two organisations.
fn apart(settings: &mut Settings<'_>, shared: &Shared<'_>, orgs: &[(Own, Place)]) {
    let mut hosts: Vec<&String> = shared.hosts.iter().collect();
    let mut listen: Vec<&Listen> = shared.listen.iter().collect();
    for (org, place) in orgs {
        for host in &org.hosts {
            if hosts.contains(&host) || listen::is_localhost(host) {
                let what = format!("`{host}` leads to another organisation already");
                settings.report(Problem::at(place, what).hint("a Host chooses one organisation"));
            }
        }
        for own in &org.listen {
            if listen.iter().any(|other| listen::same(own, other)) {
                let what = format!("[orgs.{}] listens where somebody else does", org.name);
                settings.report(Problem::at(place, what).hint("give it an address of its own"));
            }
        }
        hosts.extend(&org.hosts);
        listen.extend(&org.listen);
    }
}
