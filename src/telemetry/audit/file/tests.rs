//! The file is one gateway's, holds whole lines, and is never built upon what was changed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;
use crate::decide::audit::Line;

fn seal() -> Seal {
    Seal::Plain
}

fn open(path: &Path) -> Log {
    Log::open(path, None, &seal()).unwrap()
}

fn refused(path: &Path, seal: &Seal) -> Unusable {
    Log::open(path, None, seal).unwrap_err()
}

/// One more line.
fn append(log: &mut Log, told: &str) {
    let mut line = Vec::new();
    let head = log.head.append(told.as_bytes(), &seal(), &mut line);
    log.append(&line, head).unwrap();
}

/// All these files' lines are one chain; how many they are.
fn whole(files: &[&Path]) -> u64 {
    let mut check = Check::new(seal(), Vec::new());
    for file in files {
        for line in fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n') {
            check.next(line.strip_suffix(b"\n").unwrap()).unwrap();
        }
    }
    assert_eq!(check.first_seq, 1);
    check.lines
}

#[test]
fn a_log_is_its_owners_alone_and_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut log = open(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..300 {
        append(&mut log, &"x".repeat(400));
    }
    let head = log.head;
    assert!(matches!(refused(&path, &seal()), Unusable::Taken));
    drop(log);
    let mut log = open(&path);
    assert_eq!((log.head, log.cut), (head, 0));
    append(&mut log, "b");
    assert_eq!(whole(&[&path]), 301);
}

#[test]
fn only_a_regular_file_is_written_and_none_by_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    fs::write(&target, "").unwrap();
    symlink(&target, &link).unwrap();
    assert!(matches!(refused(&link, &seal()), Unusable::Link));
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    assert!(matches!(refused(&dir.path().join("dangling"), &seal()), Unusable::Link));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for other in [&*pipe, dir.path(), Path::new("/dev/full")] {
        assert!(matches!(refused(other, &seal()), Unusable::NoFile), "{}", other.display());
    }
    assert!(matches!(refused(&dir.path().join("no/file"), &seal()), Unusable::System(_)));
    assert_eq!(fs::read(&target).unwrap(), b"");
}

#[test]
fn half_a_line_is_cut_off_and_a_whole_one_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut log = open(&path);
    append(&mut log, "a");
    let first = fs::read(&path).unwrap();
    append(&mut log, "b");
    let (head, both) = (log.head, fs::read(&path).unwrap());
    drop(log);
    for cut in first.len() + 1..both.len() - 1 {
        fs::write(&path, &both[..cut]).unwrap();
        let log = open(&path);
        assert_eq!((log.head.seq, log.cut), (1, (cut - first.len()) as u64));
        assert_eq!(fs::read(&path).unwrap(), first);
    }
    // All but its newline: it is all there.
    fs::write(&path, &both[..both.len() - 1]).unwrap();
    let log = open(&path);
    assert_eq!((log.head, log.cut), (head, 0));
    assert_eq!(fs::read(&path).unwrap(), both);
    drop(log);
    // Of the very first line, too.
    fs::write(&path, &first[..10]).unwrap();
    let log = open(&path);
    assert_eq!((log.head.seq, log.head.hash, log.cut), (0, Head::START.hash, 10));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn what_does_not_verify_is_neither_built_upon_nor_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut log = open(&path);
    append(&mut log, "a");
    append(&mut log, "b");
    drop(log);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = good.lines().collect();
    let swapped = format!("{}\n{}\n", lines[1], lines[0]);
    let changed = good.replacen("\",a,", "\",A,", 1);
    let endless = "x".repeat(TAIL + 10);
    let half_of_too_much = format!("{good}{{\"seq\":{}", "9".repeat(LONGEST));
    for bad in [
        swapped.as_str(),
        &changed,
        "somebody's notes",
        "somebody's notes\n",
        &format!("{good}and a note"),
        &format!("{good}\0\0\0\0"),
        &endless,
        &half_of_too_much,
    ] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(refused(&path, &seal()), Unusable::Broken), "{bad:.200}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    fs::write(&path, &good).unwrap();
    assert!(matches!(refused(&path, &Seal::keyed(b"a key")), Unusable::Broken));
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    open(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "left alone");
}

#[test]
fn a_file_that_was_moved_away_ends_and_the_chain_goes_on_in_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let old = dir.path().join("audit.jsonl-20261122");
    let mut log = open(&path);
    append(&mut log, "a");
    rename(&path, &old).unwrap();
    append(&mut log, "b");
    assert_eq!(whole(&[&old]), 1);
    assert_eq!(whole(&[&old, &path]), 2);
    // As logrotate's `create` does it.
    let older = dir.path().join("older");
    rename(&path, &older).unwrap();
    fs::write(&path, "").unwrap();
    append(&mut log, "c");
    assert_eq!(whole(&[&old, &older, &path]), 3);
    // Emptied in its place.
    fs::copy(&path, dir.path().join("copy")).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(&mut log, "d");
    assert_eq!(whole(&[&old, &older, &dir.path().join("copy"), &path]), 4);
    // Moved away while no gateway ran.
    drop(log);
    rename(&path, dir.path().join("audit.jsonl.7")).unwrap();
    fs::write(dir.path().join("audit.jsonl.8"), "no log").unwrap();
    symlink("audit.jsonl.8", dir.path().join("audit.jsonl.9")).unwrap();
    assert_eq!(open(&path).head.seq, 4);
}

/// So (chain, seq) is one line, of all lines of all gateways.
#[test]
fn a_chain_keeps_its_name_over_restarts_and_files_and_an_older_log_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let names = |files: &[&Path]| -> Vec<_> {
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        text.lines().map(|line| Line::read(line.as_bytes()).unwrap().chain).collect()
    };
    // As an older version wrote it.
    let mut old = Vec::new();
    let _ = Head::START.append(b"old", &seal(), &mut old);
    fs::write(&path, old).unwrap();
    let mut log = open(&path);
    append(&mut log, "a");
    let chain = log.head.chain;
    drop(log);
    let aside = dir.path().join("audit.jsonl.1");
    let mut log = open(&path);
    append(&mut log, "b");
    rename(&path, &aside).unwrap();
    append(&mut log, "c");
    drop(log);
    fs::remove_file(&path).unwrap();
    let mut log = open(&path);
    append(&mut log, "d");
    assert_eq!((names(&[&aside, &path]), log.head.seq), (vec![None, chain, chain, chain], 4));
    assert!(chain.is_some());
    let other = dir.path().join("other.jsonl");
    let mut log = open(&other);
    append(&mut log, "a");
    assert!(log.head.chain.is_some() && log.head.chain != chain, "of another gateway");
}

#[test]
fn another_file_in_its_place_is_not_written_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut log = open(&path);
    append(&mut log, "a");
    let (old, mut line) = (dir.path().join("old"), Vec::new());
    rename(&path, &old).unwrap();
    let head = log.head.append(b"b", &seal(), &mut line);
    fs::write(&path, "somebody's").unwrap();
    assert!(matches!(log.append(&line, head), Err(Unusable::Foreign)));
    fs::remove_file(&path).unwrap();
    symlink("target", &path).unwrap();
    assert!(matches!(log.append(&line, head), Err(Unusable::Link)));
    fs::remove_file(&path).unwrap();
    log.append(&line, head).unwrap();
    assert_eq!(whole(&[&old, &path]), 2);
}

#[test]
fn a_file_that_would_become_too_large_is_put_aside_under_the_next_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    fs::write(dir.path().join("audit.jsonl.5"), "somebody's").unwrap();
    let mut log = Log::open(&path, Some(1000), &seal()).unwrap();
    for _ in 0..9 {
        append(&mut log, &"x".repeat(200));
    }
    let names = ["audit.jsonl.6", "audit.jsonl.7", "audit.jsonl.8", "audit.jsonl.9", "audit.jsonl"];
    let files = names.map(|name| dir.path().join(name));
    assert_eq!(whole(&files.each_ref().map(PathBuf::as_path)), 9);
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 1000);
    }
    // Killed between putting aside and going on.
    drop(log);
    rename(&path, dir.path().join("audit.jsonl.10")).unwrap();
    assert_eq!(open(&path).head.seq, 9);
}
