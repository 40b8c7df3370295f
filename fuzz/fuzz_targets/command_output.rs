//! What credential commands print: no panic, and no error repeats a part of it.
#![no_main]

use genesys_proxy::secret::read_output;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|output: &[u8]| {
    for field in [None, Some("password")] {
        // A secret is never more than what was printed.
        if let Ok(secret) = read_output(output, field, "client_secret") {
            use secrecy::ExposeSecret as _;
            assert!(secret.expose_secret().len() <= output.len());
        }
        let planted = [b"S3CR3T".as_slice(), output].concat();
        if let Err(error) = read_output(&planted, field, "client_secret") {
            assert!(!error.contains("S3CR3T"));
        }
    }
});
