//! A secret in a file, less one newline at its end.
//! It never reads more than any secret is long, and never refuses a file for its permissions.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::{Kind, Unreadable, usable};
use crate::config::{self, read_credential, without_newline};

/// A file system that has not answered by then may never do.
const WITHIN: Duration = Duration::from_secs(5);

/// What is in a file, and who else can read it.
struct Seen {
    value: SecretString,
    loose: Option<String>,
}

type Read = Result<Seen, Unreadable>;

/// A file that is read off the asking thread, one read at a time: one that hangs holds one thread
/// of the runtime, however often the file is asked for.
pub(super) struct Reading {
    path: PathBuf,
    how: Arc<dyn Fn() -> Read + Send + Sync>,
    within: Duration,
    /// The read that has not returned.
    running: Option<JoinHandle<Read>>,
    loose: Option<String>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reading {
    pub(super) fn new(path: PathBuf, kind: Kind) -> Self {
        let of = path.clone();
        let how = move || read(&of, kind).map(|value| Seen { value, loose: loose(&of) });
        Self { path, how: Arc::new(how), within: WITHIN, running: None, loose: None }
    }

    /// The file's text by a read that begins after this call, or why there is none, after 5 s at
    /// the latest.
    pub(super) async fn read(&mut self) -> Result<SecretString, Unreadable> {
        let by = Instant::now() + self.within;
        if let Some(former) = &mut self.running {
            // It may have seen the file as it was: what it found is not looked at.
            if timeout_at(by, former).await.is_err() {
                return Err(self.hanging());
            }
            self.running = None;
        }
        let how = Arc::clone(&self.how);
        let running = self.running.insert(spawn_blocking(move || how()));
        let Ok(read) = timeout_at(by, running).await else { return Err(self.hanging()) };
        self.running = None;
        let seen = read.unwrap_or_else(|_| Err(Unreadable::new("the read was broken off")))?;
        self.loose = seen.loose;
        Ok(seen.value)
    }

    /// Who else can read the file that was last read, and the remedy.
    pub(super) fn loose(&self) -> Option<&str> {
        self.loose.as_deref()
    }

    /// The last read has not returned.
    pub(super) fn hangs(&self) -> bool {
        self.running.is_some()
    }

    fn hanging(&self) -> Unreadable {
        let (shown, within) = (self.path.display(), humantime::format_duration(self.within));
        Unreadable::new(format!(
            "cannot read {shown}: no answer within {within}; does its file system hang?"
        ))
    }
}

/// The file's text.
fn read(path: &Path, kind: Kind) -> Result<SecretString, Unreadable> {
    let shown = path.display();
    let bytes = read_credential(path)
        .map_err(|error| Unreadable::new(format!("cannot read {shown}: {error}")))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Unreadable::new(format!("{shown} is not text")))?;
    usable(SecretString::from(without_newline(text)), kind)
        .map_err(|wrong| Unreadable::new(format!("{shown} {wrong}")))
}

/// Who else can read the file, and the remedy; `None` when nobody can, or when it cannot be told.
///
/// Kubernetes mounts secrets for everybody unless told otherwise, so this is for a warning. What is
/// in `$CREDENTIALS_DIRECTORY` is guarded by systemd, which shows it with mode 0440 and read-only.
pub fn loose(path: &Path) -> Option<String> {
    let systemd = std::env::var_os(config::CREDENTIALS_DIRECTORY).map(PathBuf::from);
    loose_outside(systemd.as_deref(), path)
}

fn loose_outside(systemd: Option<&Path>, path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    if systemd.is_some_and(|dir| !dir.as_os_str().is_empty() && path.starts_with(dir)) {
        return None;
    }
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        format!(
            "{shown} can be read by others (mode {mode:04o}): chmod 600 {shown}, or in Kubernetes \
             defaultMode: 0400"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::PermissionsExt as _,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
    };

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn one_newline_is_the_editors_and_the_rest_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, kind, expected) in [
            ("S3cr et\n", Kind::Word, Ok("S3cr et")),
            ("S3cret\r\n", Kind::Word, Ok("S3cret")),
            ("S3cret\n\n", Kind::Word, Err("begins or ends with a blank")),
            ("S3\ncret", Kind::Word, Err("has more than one line")),
            ("", Kind::Word, Err("is empty")),
            (" S3cret", Kind::Word, Err("begins or ends with a blank")),
            ("S3c\u{7}ret", Kind::Word, Err("control character")),
            ("-----BEGIN X-----\na\n", Kind::PrivateKey, Ok("-----BEGIN X-----\na")),
            ("S3cret", Kind::PrivateKey, Err("neither PEM nor a JWK")),
        ] {
            std::fs::write(&path, text).unwrap();
            match (read(&path, kind), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
                (Err(error), Err(expected)) => {
                    assert!(error.why.contains(expected), "{error}");
                    assert!(error.why.contains(path.to_str().unwrap()), "{error}");
                    assert!(!error.why.contains("S3"), "{error}");
                }
                (read, _) => panic!("{text:?}: {read:?}"),
            }
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path, Kind::Word).unwrap_err().why.contains("is not text"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, Kind::Word).unwrap_err().why.contains("cannot read"));
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_told_of_and_no_other_begins_until_it_returns() {
        let begun = Arc::new(AtomicUsize::new(0));
        let (answer, answers) = mpsc::channel::<&str>();
        let (count, answers) = (Arc::clone(&begun), Mutex::new(answers));
        let mut reading = Reading::new(PathBuf::from("/mnt/secret"), Kind::Word);
        reading.within = Duration::from_millis(50);
        reading.how = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Seen { value: answers.lock().unwrap().recv().unwrap().into(), loose: None })
        });
        for _ in 0..3 {
            let why = reading.read().await.unwrap_err().why;
            assert!(why.contains("/mnt/secret: no answer within 50ms"), "{why}");
            assert!(reading.hangs());
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        reading.within = Duration::from_secs(20);
        for seen in ["before", "now"] {
            answer.send(seen).unwrap();
        }
        assert_eq!(reading.read().await.unwrap().expose_secret(), "now");
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert!(!reading.hangs());
    }

    #[test]
    fn a_file_that_others_can_read_is_told_of_with_the_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |mode| {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            loose(file.path())
        };
        for mode in [0o600, 0o400] {
            assert_eq!(with(mode), None, "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let told = with(mode).unwrap();
            let remedy = format!("chmod 600 {}", file.path().display());
            assert!(told.contains(&remedy) && told.contains(&format!("{mode:04o}")), "{told}");
        }
        assert_eq!(loose(Path::new("/does/not/exist")), None);
    }

    #[test]
    fn what_systemd_guards_needs_no_advice_that_cannot_be_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("genesys");
        std::fs::write(&path, "S3cret").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        assert_eq!(loose_outside(Some(dir.path()), &path), None);
        for elsewhere in [None, Some(Path::new("")), Some(Path::new("/run/credentials/x"))] {
            assert!(loose_outside(elsewhere, &path).is_some(), "{elsewhere:?}");
        }
    }

    #[tokio::test]
    async fn each_read_looks_at_the_permissions() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "S3cret").unwrap();
        let mut reading = Reading::new(file.path().to_owned(), Kind::Word);
        for (mode, told) in [(0o600, false), (0o644, true), (0o600, false)] {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            reading.read().await.unwrap();
            assert_eq!(reading.loose().is_some(), told, "{mode:o}");
        }
    }
}
