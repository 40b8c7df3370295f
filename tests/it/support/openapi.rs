//! JSON held against the gateway's own description of it; `tests/admin/follows.py` does it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::tools::installed;

/// Fails the test unless `json` is what `schema` of the admin listener's document says.
pub fn follows(schema: &str, json: &str) {
    let python = installed("GENESYS_PROXY_TEST_DEPLOY_PYTHON", "deploy/python/bin/python");
    let mut validator = Command::new(python)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tests/admin/follows.py", "src/admin/openapi.json", schema])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    validator.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    let output = validator.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{json}");
}
