//! What a release is made of is there, and nothing in its making can be changed by somebody else.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::yaml;

const WORKFLOW: &str = ".github/workflows/release.yml";

fn shipped(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn package() -> toml::Table {
    let manifest: toml::Table = toml::from_str(&shipped("Cargo.toml")).unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

#[test]
fn what_the_package_holds_is_in_the_repository_or_is_made_by_the_script_that_packs_it() {
    let package = package();
    let script = shipped("deploy/release.sh");
    let mut places = BTreeSet::new();
    for asset in package["assets"].as_array().unwrap() {
        let [from, to] = [0, 1].map(|at| asset[at].as_str().unwrap());
        places.insert(to.to_owned());
        if let Some(made) = from.strip_prefix("target/package-files/genesys-proxy.") {
            let by_loop = ["bash", "zsh", "fish"].contains(&made);
            assert!(
                by_loop && script.contains("for shell in bash zsh fish") || script.contains(from)
            );
        } else if from != "target/release/genesys-proxy" {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(from.trim_end_matches("*.md").trim_end_matches("*.png"));
            assert!(dir.exists(), "{from}");
        }
    }
    // What the unit starts, and what an upgrade leaves as its operator wrote it.
    let unit = shipped("deploy/genesys-proxy.service");
    assert!(
        unit.contains(
            "ExecStart=/usr/bin/genesys-proxy serve --config /etc/genesys-proxy/proxy.toml"
        )
    );
    assert!(places.contains("usr/bin/") && places.contains("etc/genesys-proxy/"));
    let kept = package["conf-files"].as_array().unwrap();
    assert_eq!(kept, &[toml::Value::from("/etc/genesys-proxy/proxy.toml")]);
    let units = package["systemd-units"].as_table().unwrap();
    assert_eq!((units["start"].as_bool(), units["enable"].as_bool()), (Some(false), Some(false)));
}

#[test]
fn a_release_is_tested_first_and_made_of_what_is_pinned() {
    let workflow = yaml::documents(&[WORKFLOW]).remove(0);
    let (test, release) = (&workflow["jobs"]["test"], &workflow["jobs"]["release"]);
    assert_eq!(release["needs"], "test");
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    let steps = [test, release].map(|job| job["steps"].as_array().unwrap().clone()).concat();
    let mut run = String::new();
    for step in steps {
        if let Some(action) = step["uses"].as_str() {
            let (_, commit) = action.split_once('@').unwrap();
            assert!(
                commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
                "{action}"
            );
        }
        run += step["run"].as_str().unwrap_or_default();
        run.push('\n');
    }
    for part in [".ci/run", "deploy/release.sh", "CHANGELOG.md", "gh release upload"] {
        assert!(run.contains(part), "{part}");
    }
    let script = shipped("deploy/release.sh");
    for part in ["sha256sum", "cargo-cyclonedx", "cargo-deb", "--locked", "--version \"$2\""] {
        assert!(script.contains(part), "{part}");
    }
}
