//! What a handle promises, on paused time.

use std::{path::Path, time::Duration};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::Command;

struct Kept {
    dir: TempDir,
    secret: Secret,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Kept {
    fn of(source: impl FnOnce(&Path) -> SecretSource, kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let source = source(&dir.path().join("secret"));
        let secret = Secret::spawn(source, kind, None, &tasks, &Handle::current(), stop.clone());
        Self { dir, secret, stop, tasks }
    }

    /// In a file that is there from the start.
    fn file(text: &str) -> Self {
        let write = |path: &Path| {
            std::fs::write(path, text).unwrap();
            SecretSource::File(path.to_owned())
        };
        Self::of(write, Kind::Word)
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("secret")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    async fn fresh(&self) -> Result<String, String> {
        let read = self.secret.fresh().await;
        read.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.why)
    }

    async fn unchanged_for(&self, time: Duration) -> bool {
        timeout(time, self.secret.changed()).await.is_err()
    }
}

#[tokio::test(start_paused = true)]
async fn each_mint_reads_anew() {
    let kept = Kept::file("one\n");
    assert_eq!(kept.fresh().await.unwrap(), "one");
    kept.write("two\n");
    assert_eq!(kept.fresh().await.unwrap(), "two");
    assert!(kept.secret.source().ends_with("/secret"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_of_once_and_soon_to_every_handle() {
    let kept = Kept::file("one");
    assert_eq!(kept.fresh().await.unwrap(), "one");
    let other = kept.secret.clone();
    // An odd time, so that the next look is as far away as it can be.
    assert!(kept.unchanged_for(Duration::from_secs(61)).await);
    kept.write("two");
    let begin = Instant::now();
    kept.secret.changed().await;
    assert!(begin.elapsed() <= Duration::from_millis(2200), "{:?}", begin.elapsed());
    assert!(kept.unchanged_for(Duration::from_secs(60)).await, "only once");
    timeout(Duration::from_secs(1), other.changed()).await.expect("a handle of its own");
    assert_eq!(kept.fresh().await.unwrap(), "two");
    // What `fresh` has returned is no news.
    kept.write("three");
    assert_eq!(kept.fresh().await.unwrap(), "three");
    assert!(kept.unchanged_for(Duration::from_secs(60)).await);
    // The same value in a new file is no change.
    std::fs::remove_file(kept.path()).unwrap();
    kept.write("three\n");
    assert!(kept.unchanged_for(Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_used_the_former_one_learns_once_that_it_is_outdated() {
    let kept = Kept::file("one");
    assert!(!kept.secret.outdated(), "none was used");
    assert_eq!(kept.fresh().await.unwrap(), "one");
    assert!(!kept.secret.outdated());
    kept.write("two");
    // Somebody who is told of the change takes nothing from who asks afterwards.
    kept.secret.changed().await;
    assert!(kept.secret.outdated());
    assert!(!kept.secret.outdated(), "only once");
    assert_eq!(kept.fresh().await.unwrap(), "two");
    assert!(!kept.secret.outdated());
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_keeps_the_last_good_one() {
    let kept = Kept::file("good");
    assert_eq!(kept.fresh().await.unwrap(), "good");
    for broken in ["", "two\nlines", " blank"] {
        kept.write(broken);
        assert_eq!(kept.fresh().await.unwrap(), "good", "{broken:?}");
    }
    std::fs::remove_file(kept.path()).unwrap();
    assert_eq!(kept.fresh().await.unwrap(), "good");
    assert!(kept.unchanged_for(Duration::from_secs(60)).await);
    kept.write("better");
    timeout(Duration::from_secs(3), kept.secret.changed()).await.unwrap();
    assert_eq!(kept.fresh().await.unwrap(), "better");
}

#[tokio::test(start_paused = true)]
async fn without_a_good_one_the_reason_is_told_until_there_is_one() {
    let kept = Kept::of(|path| SecretSource::File(path.to_owned()), Kind::Word);
    assert!(kept.fresh().await.unwrap_err().contains("cannot read"));
    kept.write("first");
    timeout(Duration::from_secs(3), kept.secret.changed()).await.unwrap();
    assert_eq!(kept.fresh().await.unwrap(), "first");
}

#[tokio::test(start_paused = true)]
async fn a_file_in_the_middle_of_being_written_is_waited_for() {
    let kept = Kept::file("old");
    assert_eq!(kept.fresh().await.unwrap(), "old");
    for half in ["", "half"] {
        kept.write(half);
        let path = kept.path();
        let (read, ()) = tokio::join!(kept.fresh(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::fs::write(&path, "half-of-it-and-the-rest").unwrap();
        });
        assert_eq!(read.unwrap(), "half-of-it-and-the-rest");
        kept.write("old");
        assert_eq!(kept.fresh().await.unwrap(), "old");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_last_good_one_is_still_there_and_no_task() {
    let kept = Kept::file("good");
    assert_eq!(kept.fresh().await.unwrap(), "good");
    kept.stop.cancel();
    kept.tasks.close();
    kept.tasks.wait().await;
    assert_eq!(kept.fresh().await.unwrap(), "good");
    assert!(kept.unchanged_for(Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    let Kept { dir: _dir, secret, stop: _stop, tasks } = Kept::file("good");
    let clone = secret.clone();
    drop(secret);
    clone.fresh().await.unwrap();
    tasks.close();
    assert!(!tasks.is_empty());
    drop(clone);
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_variable_needs_no_task_and_never_changes() {
    let variable = |_: &Path| SecretSource::Variable { name: "X".into(), value: "fixed".into() };
    let kept = Kept::of(variable, Kind::Word);
    assert!(kept.tasks.is_empty());
    assert_eq!(kept.fresh().await.unwrap(), "fixed");
    assert!(kept.unchanged_for(Duration::from_hours(24)).await);
    assert_eq!(kept.secret.source(), "variable X");
    assert!(!format!("{:?}", kept.secret).contains("fixed"));
}

#[tokio::test(start_paused = true)]
async fn a_key_may_have_many_lines() {
    let write = |path: &Path| {
        std::fs::write(path, "-----BEGIN PRIVATE KEY-----\nMC4=\n").unwrap();
        SecretSource::File(path.to_owned())
    };
    let kept = Kept::of(write, Kind::PrivateKey);
    assert_eq!(kept.fresh().await.unwrap(), "-----BEGIN PRIVATE KEY-----\nMC4=");
}

/// A command that notes each of its runs, then waits until it may print.
fn slow(dir: &Path) -> SecretSource {
    let script = "echo run >> \"$0.runs\"; while ! [ -e \"$0.go\" ]; do sleep 0.01; done; echo s";
    SecretSource::Command(shell(script, dir))
}

/// `$0` is the path.
fn shell(script: &str, path: &Path) -> Command {
    Command {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned(), path.display().to_string()],
        field: None,
        usual_field: "client_secret",
        timeout: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn a_source_that_hangs_delays_nobody_who_has_a_good_one() {
    let hanging_after_one = |path: &Path| {
        let script = "if [ -e \"$0.first\" ]; then \
                      while ! [ -e \"$0.go\" ]; do sleep 0.01; done; echo new; \
                      else : > \"$0.first\"; echo good; fi";
        SecretSource::Command(Command { timeout: Duration::from_mins(5), ..shell(script, path) })
    };
    let kept = Kept::of(hanging_after_one, Kind::Word);
    assert_eq!(kept.secret.live().map(|_| ()), None);
    kept.secret.changed().await;
    assert_eq!(kept.secret.live().unwrap().expose_secret(), "good");
    tokio::time::pause();
    let begin = Instant::now();
    assert_eq!(kept.fresh().await.unwrap(), "good");
    let waited = begin.elapsed();
    tokio::time::resume();
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    assert!(!kept.secret.outdated(), "nothing new so far");
    std::fs::write(kept.dir.path().join("secret.go"), "").unwrap();
    timeout(Duration::from_secs(20), kept.secret.changed()).await.unwrap();
    assert!(kept.secret.outdated());
    assert_eq!(kept.fresh().await.unwrap(), "new");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_stops_nothing() {
    let kept = Kept::file("good");
    assert_eq!(kept.fresh().await.unwrap(), "good");
    std::fs::remove_file(kept.path()).unwrap();
    mknodat(CWD, kept.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(kept.fresh().await.unwrap(), "good");
    let new = kept.dir.path().join("new");
    std::fs::write(&new, "better").unwrap();
    std::fs::rename(new, kept.path()).unwrap();
    assert_eq!(kept.fresh().await.unwrap(), "better");
}

#[tokio::test]
async fn who_asks_during_a_read_shares_the_next_one() {
    let kept = Kept::of(slow, Kind::Word);
    let beside = |ending: &str| kept.dir.path().join(format!("secret.{ending}"));
    let runs = || std::fs::read_to_string(beside("runs")).unwrap_or_default().lines().count();
    // Watching reads once, at the start.
    while runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asks = async { tokio::join!(kept.fresh(), kept.fresh(), kept.fresh(), kept.fresh()) };
    let ((one, two, three, four), ()) = tokio::join!(asks, async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::fs::write(beside("go"), "").unwrap();
    });
    for read in [one, two, three, four] {
        assert_eq!(read.unwrap(), "s");
    }
    assert_eq!(runs(), 2);
}
