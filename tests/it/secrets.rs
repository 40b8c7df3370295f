//! Secrets where they are kept: a changed one is used without a restart or a failed request, and a
//! source that fails leaves the last good one in use.

use std::{path::Path, time::Duration};

use genesys_proxy::simulator::{Client, Options};
use serde_json::json;

use crate::support::{
    Gateway, NO_LIMIT, unlimited,
    vault::{ROLE_ID, SECRET_ID, Vault},
    world,
};

const ME: &str = "/api/v2/organizations/me";

/// Tokens that live so short that mints follow one another.
fn short_lives() -> Options {
    Options { token_life: Duration::from_secs(2), ..unlimited() }
}

/// What a promise needs of a source.
trait Source {
    fn put(&self, secret: &str);
    fn fail(&self);
    /// Its name in the log.
    fn name(&self) -> String;
}

/// Calls all the while: none may fail, whatever happens to the secret.
async fn promise(source: &impl Source, oauth: &str) {
    let (genesys, _stop) = world::simulator(short_lives()).await;
    let upstream = world::upstream(genesys.addr());
    source.put("demo");
    let gateway = Gateway::start(&format!("{upstream}\n{oauth}\n{NO_LIMIT}"));
    let client = world::client();
    let called = async |wanted: u64| {
        while genesys.counters().mints < wanted {
            let answer = client.get(gateway.url(ME)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    called(1).await;
    // Both ends of the rotation at once: Genesys knows the new one only, and so does the source.
    // A mint has just been, and the next is far: none has one foot on each side.
    source.put("S3cret-2");
    genesys.client(Client::new("demo", "S3cret-2"));
    let before = genesys.counters();
    called(before.mints + 2).await;
    source.fail();
    called(genesys.counters().mints + 2).await;
    let after = genesys.counters();
    assert_eq!(after.mint_attempts, after.mints, "no mint was refused: {}", gateway.log());
    let named = |text: &str| {
        let line = gateway.wait_for_log(text);
        assert!(line.contains(&source.name()), "{line}");
    };
    named("secret changed: the new one is live");
    named("the last good one is used");
    called(genesys.counters().mints + 1).await;
    source.put("S3cret-3");
    genesys.client(Client::new("demo", "S3cret-3"));
    called(genesys.counters().mints + 2).await;
    named("secret readable again");
    let log = gateway.log_at_end();
    assert!(!log.contains("S3cret"), "{log}");
    assert_eq!(log.matches("the last good one is used").count(), 1, "{log}");
}

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("secret")
    }
}

/// As editors and Kubernetes do: a new file in the old one's place.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

impl Source for File {
    fn put(&self, secret: &str) {
        replace(&self.path(), &format!("{secret}\n"));
    }

    fn fail(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }

    fn name(&self) -> String {
        format!("file {}", self.path().display())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file() {
    let file = File::new();
    let oauth =
        format!("[oauth]\nclient_secret = {{ file = {:?} }}", file.path().display().to_string());
    promise(&file, &oauth).await;
}

/// `cat` of the file.
struct Command(File);

impl Source for Command {
    fn put(&self, secret: &str) {
        replace(&self.0.path(), &json!({"client_secret": secret, "note": "S3cret"}).to_string());
    }

    fn fail(&self) {
        self.0.fail();
    }

    fn name(&self) -> String {
        "command /bin/cat".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_command() {
    let command = Command(File::new());
    let path = command.0.path().display().to_string();
    let oauth = format!("[oauth]\nclient_secret = {{ command = [\"/bin/cat\", {path:?}] }}");
    promise(&command, &oauth).await;
}

impl Source for Vault {
    fn put(&self, secret: &str) {
        self.broken(None);
        Vault::put(self, "secret/data/genesys", json!({"client_secret": secret}));
    }

    fn fail(&self) {
        self.broken(Some(503));
    }

    fn name(&self) -> String {
        "Vault secret/data/genesys#client_secret".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_vault() {
    let vault = Vault::new().await;
    let secret_id = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret_id.path(), SECRET_ID).unwrap();
    let oauth = format!(
        "[oauth]\nclient_secret = {{ vault = \"secret/data/genesys#client_secret\" }}\n\
         [vault]\naddress = \"http://{}\"\nauth = \"approle\"\nrole_id = \"{ROLE_ID}\"\n\
         secret_id = {{ file = {:?} }}",
        vault.address,
        secret_id.path().display().to_string()
    );
    promise(&vault, &oauth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_can_read_is_warned_of_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let (genesys, _stop) = world::simulator(unlimited()).await;
    let file = File::new();
    file.put("demo");
    let path = file.path().display().to_string();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let gateway = Gateway::start(&format!(
        "{}\n[oauth]\nclient_secret = {{ file = {path:?} }}",
        world::upstream(genesys.addr())
    ));
    let line = gateway.wait_for_log("can be read by others (mode 0644)");
    assert!(line.contains("WARN") && line.contains(&format!("chmod 600 {path}")), "{line}");
    // Whoever changes it may make a file with other permissions.
    let next = file.path().with_extension("next");
    std::fs::write(&next, "another").unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::rename(next, file.path()).unwrap();
    gateway.wait_for_log("can be read by others (mode 0640)");
}
