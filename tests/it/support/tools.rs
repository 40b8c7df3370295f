//! What `tests/run.sh` installed for tests that need more than Rust.
//! It must never install anything, nor let a test pass without it.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Where something is: as `variable` says, or at its usual place below `.cache`.
pub fn installed(variable: &str, usual: &str) -> PathBuf {
    let place = env::var_os(variable).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache").join(usual),
        PathBuf::from,
    );
    assert!(place.exists(), "there is no {}: run tests/run.sh", place.display());
    place
}
