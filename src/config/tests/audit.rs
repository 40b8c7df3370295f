//! Where the audit log may be.
//! It never opens one.

use std::os::unix::fs::symlink;

use super::World;

#[test]
fn what_can_be_no_audit_log_is_told_of_before_the_start() {
    let wrong = |file: &str| {
        let world = World::new().toml(&format!("[audit]\nfile = '{file}'\n"));
        std::fs::create_dir(world.dir.path().join("logs")).unwrap();
        std::fs::write(world.dir.path().join("audit.jsonl"), "").unwrap();
        symlink("audit.jsonl", world.dir.path().join("link")).unwrap();
        match world.load() {
            Ok(_) => "good".to_owned(),
            Err(_) => world.wrong(),
        }
    };
    assert_eq!(wrong("audit.jsonl"), "good");
    assert_eq!(wrong("logs/new.jsonl"), "good");
    let all = ["logs", "./link", "/dev/null", "logs/no/audit.jsonl"].map(wrong).concat();
    insta::assert_snapshot!(all, @r#"
    2: `audit.file`: it is a directory
       name a file in it: "logs/audit.jsonl"
    2: `audit.file`: it is a symbolic link
       name the file that it leads to
    2: `audit.file`: it is a device or the like
       letters, digits and -_., such as "/var/log/genesys-proxy/audit.jsonl"
    2: `audit.file`: its directory is not there
       make it, for the gateway alone
    "#);
}
