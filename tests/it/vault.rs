//! The gateway's side of `HashiCorp` Vault, against a stand-in for Vault's HTTP interface.

use std::{sync::Arc, time::Duration};

use genesys_proxy::{
    config::{KvEngine, SecretSource, VaultAuth, VaultSecret},
    secret::{Kind, Secret, Unreadable, VaultClient},
    upstream,
};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{
    gateway::PATIENCE,
    vault::{JWT, ROLE_ID, SECRET_ID, Vault},
};

const HOUR: Duration = Duration::from_secs(3600);

struct Client {
    vault: Vault,
    handle: Arc<VaultClient>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _guard: DropGuard,
}

fn variable(value: &str) -> SecretSource {
    SecretSource::Variable { name: "X".to_owned(), value: value.to_owned().into() }
}

fn app_role() -> VaultAuth {
    VaultAuth::AppRole {
        mount: "approle".to_owned(),
        role_id: ROLE_ID.to_owned(),
        secret_id: Some(variable(SECRET_ID)),
    }
}

fn genesys(engine: KvEngine) -> VaultSecret {
    VaultSecret {
        engine,
        mount: "secret".to_owned(),
        path: "team/genesys".to_owned(),
        field: "client_secret".to_owned(),
    }
}

impl Client {
    async fn new(auth: VaultAuth) -> Self {
        Self::within(auth, None).await
    }

    async fn within(auth: VaultAuth, namespace: Option<&str>) -> Self {
        let vault = Vault::new().await;
        vault.put("secret/data/team/genesys", json!({"client_secret": "S3cret"}));
        vault.put("secret/team/genesys", json!({"client_secret": "S3cret-1"}));
        let config = genesys_proxy::config::Vault {
            address: format!("http://{}", vault.address).parse().unwrap(),
            namespace: namespace.map(str::to_owned),
            auth,
            ca_file: None,
            timeout: PATIENCE,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tls = upstream::tls::client_config("vault.ca_file", None).unwrap();
        let handle =
            VaultClient::spawn(&config, tls, &tasks, &Handle::current(), stop.clone()).unwrap();
        Self { vault, handle, tasks, _guard: stop.clone().drop_guard(), stop }
    }

    async fn read(&self, engine: KvEngine) -> Result<String, Unreadable> {
        let read = self.handle.read(&genesys(engine)).await;
        read.map(|secret| secret.expose_secret().to_owned())
    }

    async fn good(&self) {
        assert_eq!(self.read(KvEngine::V2).await.unwrap(), "S3cret");
    }

    /// The reason, which holds no part of a secret.
    async fn told(&self) -> String {
        let told = self.read(KvEngine::V2).await.unwrap_err().why;
        assert!(!told.contains("S3cret"), "{told}");
        assert!(told.contains(&format!("http://{}", self.vault.address)), "{told}");
        told
    }
}

#[tokio::test]
async fn app_role_logs_in_once_and_reads_both_engines() {
    let client = Client::new(app_role()).await;
    client.good().await;
    assert_eq!(client.read(KvEngine::V1).await.unwrap(), "S3cret-1");
    client.good().await;
    assert_eq!(
        client.vault.seen(),
        [
            "POST auth/approle/login 200",
            "GET secret/data/team/genesys 200",
            "GET secret/team/genesys 200",
            "GET secret/data/team/genesys 200",
        ]
    );
}

#[tokio::test]
async fn kubernetes_reads_the_service_accounts_token_at_each_login() {
    let jwt = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(jwt.path(), "an-old-one").unwrap();
    let client = Client::new(VaultAuth::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: ROLE_ID.to_owned(),
        jwt_file: jwt.path().to_owned(),
    })
    .await;
    assert!(client.told().await.contains("denies the login (403)"));
    std::fs::write(jwt.path(), format!("{JWT}\n")).unwrap();
    client.good().await;
    std::fs::remove_file(jwt.path()).unwrap();
    client.good().await;
    client.vault.revoke_all();
    let told = client.read(KvEngine::V2).await.unwrap_err().why;
    assert!(told.contains("cannot read") && told.contains(jwt.path().to_str().unwrap()), "{told}");
}

#[tokio::test]
async fn a_service_accounts_token_in_a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let jwt_file = dir.path().join("jwt");
    assert!(std::process::Command::new("mkfifo").arg(&jwt_file).status().unwrap().success());
    let client = Client::new(VaultAuth::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: ROLE_ID.to_owned(),
        jwt_file,
    })
    .await;
    let read = tokio::time::timeout(PATIENCE, client.read(KvEngine::V2)).await;
    let told = read.expect("an answer").unwrap_err().why;
    assert!(told.contains("no regular file"), "{told}");
}

#[tokio::test]
async fn a_token_is_looked_up_once_and_used() {
    let client = Client::new(VaultAuth::Token(variable("hvs.S3cret"))).await;
    client.vault.token("hvs.S3cret", HOUR, true);
    client.good().await;
    client.good().await;
    assert_eq!(
        client.vault.seen(),
        [
            "GET auth/token/lookup-self 200",
            "GET secret/data/team/genesys 200",
            "GET secret/data/team/genesys 200",
        ]
    );
}

#[tokio::test]
async fn another_token_in_the_file_is_used_from_then_on() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hvs.one").unwrap();
    let client = Client::new(VaultAuth::Token(SecretSource::File(file.path().to_owned()))).await;
    client.vault.token("hvs.one", HOUR, true);
    client.good().await;
    std::fs::write(file.path(), "hvs.two").unwrap();
    client.vault.revoke_all();
    client.vault.token("hvs.two", HOUR, true);
    client.good().await;
}

#[tokio::test]
async fn a_login_is_renewed_before_it_ends_and_needs_no_other() {
    let client = Client::new(app_role()).await;
    client.vault.logins(Duration::from_secs(3), true);
    client.good().await;
    client.vault.until("POST auth/token/renew-self 200", 2).await;
    client.good().await;
    let logins = client.vault.seen().iter().filter(|l| l.contains("approle")).count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_token_of_somebody_elses_is_renewed_too() {
    let client = Client::new(VaultAuth::Token(variable("hvs.S3cret"))).await;
    client.vault.token("hvs.S3cret", Duration::from_secs(3), true);
    client.good().await;
    client.vault.until("POST auth/token/renew-self 200", 1).await;
    client.good().await;
}

#[tokio::test]
async fn a_login_that_cannot_be_renewed_is_followed_by_another() {
    let client = Client::new(app_role()).await;
    client.vault.logins(Duration::from_secs(1), false);
    let begin = tokio::time::Instant::now();
    while client.vault.seen().iter().filter(|l| l.contains("approle")).count() < 2 {
        client.good().await;
        assert!(begin.elapsed() < PATIENCE);
    }
    let refused: Vec<_> =
        client.vault.seen().into_iter().filter(|line| !line.ends_with(" 200")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn while_a_new_login_fails_the_former_one_is_used_until_it_ends() {
    let secret_id = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret_id.path(), SECRET_ID).unwrap();
    let client = Client::new(VaultAuth::AppRole {
        mount: "approle".to_owned(),
        role_id: ROLE_ID.to_owned(),
        secret_id: Some(SecretSource::File(secret_id.path().to_owned())),
    })
    .await;
    client.vault.logins(Duration::from_secs(6), false);
    client.good().await;
    std::fs::write(secret_id.path(), "another-one").unwrap();
    let refused = || client.vault.seen().iter().any(|line| line == "POST auth/approle/login 400");
    while !refused() {
        client.good().await;
    }
    // It ends, and then there is nothing left to ask with.
    client.vault.revoke_all();
    assert!(client.told().await.contains("refuses the login (400)"));
}

#[tokio::test]
async fn a_revoked_login_is_followed_by_another_within_the_same_read() {
    let client = Client::new(app_role()).await;
    client.good().await;
    client.vault.revoke_all();
    client.good().await;
    assert_eq!(
        client.vault.seen()[2..],
        [
            "GET secret/data/team/genesys 403",
            "GET auth/token/lookup-self 403",
            "POST auth/approle/login 200",
            "GET secret/data/team/genesys 200",
        ]
    );
}

#[tokio::test]
async fn what_the_policy_denies_is_no_reason_to_log_in_again() {
    let client = Client::new(app_role()).await;
    client.vault.denied(true);
    for _ in 0..5 {
        let told = client.told().await;
        assert!(told.contains("path \"secret/data/team/genesys\""), "{told}");
    }
    let logins = client.vault.seen().iter().filter(|l| l.contains("approle")).count();
    assert_eq!(logins, 1);
    client.vault.denied(false);
    client.good().await;
}

#[tokio::test]
async fn each_trouble_is_told_with_what_to_do() {
    let client = Client::new(app_role()).await;
    client.vault.broken(Some(503));
    assert!(client.told().await.contains("unseal"));
    client.vault.broken(None);
    client.good().await;
    for (status, expected) in [(503, "unseal"), (307, "active node"), (500, "in trouble (500)")] {
        client.vault.broken(Some(status));
        let told = client.told().await;
        assert!(told.contains(expected), "{told}");
    }
    client.vault.broken(None);
    client.vault.put("secret/data/team/genesys", json!({"password": "S3cret"}));
    assert!(client.told().await.contains("there are: password"));
    let gone = VaultSecret { path: "gone".to_owned(), ..genesys(KvEngine::V2) };
    let told = client.handle.read(&gone).await.unwrap_err().why;
    assert!(told.contains("nothing at secret/data/gone (404)"), "{told}");
    let wrong = VaultAuth::AppRole {
        mount: "approle".to_owned(),
        role_id: ROLE_ID.to_owned(),
        secret_id: Some(variable("S3cret-wrong")),
    };
    assert!(Client::new(wrong).await.told().await.contains("refuses the login (400)"));
    let unknown = Client::new(VaultAuth::Token(variable("hvs.S3cret"))).await;
    assert!(unknown.told().await.contains("or the login has ended"));
}

#[tokio::test]
async fn a_namespace_goes_with_every_request() {
    let client = Client::within(app_role(), Some("team-a")).await;
    client.vault.namespace("team-a");
    client.good().await;
    client.vault.namespace("team-b");
    client.told().await;
}

#[tokio::test]
async fn while_vault_is_away_the_last_good_secret_stays() {
    let client = Client::new(app_role()).await;
    let secret = Secret::spawn(
        SecretSource::Vault(genesys(KvEngine::V2)),
        Kind::Word,
        Some(&client.handle),
        &client.tasks,
        &Handle::current(),
        client.stop.clone(),
    );
    assert_eq!(secret.fresh().await.unwrap().expose_secret(), "S3cret");
    for status in [503, 500, 403, 404] {
        client.vault.broken(Some(status));
        assert_eq!(secret.fresh().await.unwrap().expose_secret(), "S3cret", "{status}");
    }
    client.vault.broken(None);
    client.vault.put("secret/data/team/genesys", json!({"client_secret": "changed"}));
    assert_eq!(secret.fresh().await.unwrap().expose_secret(), "changed");
}
