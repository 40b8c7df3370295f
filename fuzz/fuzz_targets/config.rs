//! `proxy.toml`: no file panics, every problem can be drawn, and none repeats a secret.
#![no_main]

use std::{fs, sync::LazyLock};

use genesys_proxy::config::{Sources, load};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a temporary directory"));

fuzz_target!(|text: &str| {
    fs::write(DIR.path().join("proxy.toml"), text).expect("a temporary file");
    let mut sources = Sources { dir: DIR.path().to_owned(), ..Sources::default() };
    sources.env.insert("GENESYS_CLIENT_ID".to_owned(), "an-id".to_owned());
    sources.env.insert("GENESYS_CLIENT_SECRET".to_owned(), "hunter2-of-the-fuzzer".to_owned());
    match load(&sources) {
        Ok(config) => assert!(!config.listen.is_empty()),
        Err(problems) => {
            for colour in [true, false] {
                assert!(!problems.render(colour).contains("hunter2-of-the-fuzzer"));
            }
        }
    }
});
