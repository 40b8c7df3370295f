//! Where a secret may come from, and what is wrong with one.

use super::*;

#[test]
fn only_a_regular_file_is_read_and_a_pipe_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [&*pipe, dir.path(), Path::new("/dev/zero")] {
        let error = read(path).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "S3cret").unwrap();
    assert_eq!(*read(&file).unwrap(), b"S3cret");
    // As Kubernetes mounts a secret.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("file", &link).unwrap();
    assert_eq!(*read(&link).unwrap(), b"S3cret");
}

#[test]
fn a_path_in_vault_tells_its_engine() {
    for (text, engine, mount, path, field) in [
        ("secret/data/genesys#client_secret", KvEngine::V2, "secret", "genesys", "client_secret"),
        ("team/kv/data/a/b#x", KvEngine::V2, "team/kv", "a/b", "x"),
        ("kv/genesys#secret", KvEngine::V1, "kv", "genesys", "secret"),
    ] {
        let secret = vault_secret(text).unwrap();
        assert_eq!(
            (secret.engine, &*secret.mount, &*secret.path, &*secret.field),
            (engine, mount, path, field)
        );
        assert_eq!(secret.to_string(), text);
    }
    for text in
        ["", "#", "a#b", "a/b", "a/b#", "a//b#c", "/a/b#c", "a/../b#c", "a/b?x#c", "a/b#c#d"]
    {
        assert_eq!(vault_secret(text), None, "{text}");
    }
}
