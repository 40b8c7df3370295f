//! YAML files as those read them who use them; `tests/deploy/read.py` does it.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::tools::installed;

/// The documents of these files of the repository.
pub fn documents(files: &[&str]) -> Vec<Value> {
    read(&[], files)
}

/// The same, each of which Kubernetes's own schema takes.
pub fn manifests(files: &[&str]) -> Vec<Value> {
    read(&["--kubernetes"], files)
}

fn read(how: &[&str], files: &[&str]) -> Vec<Value> {
    let python = installed("GENESYS_PROXY_TEST_DEPLOY_PYTHON", "deploy/python/bin/python");
    let output = Command::new(python)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg(Path::new("tests/deploy/read.py"))
        .args(how)
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{files:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
