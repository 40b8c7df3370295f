//! The family of a path: its key stands for it after a 401, its text in the access log.

use std::fmt::Write;

use divan::{Bencher, black_box};
use genesys_proxy::decide::path::family;
use http::Method;

const PATHS: [&str; 3] = [
    "/api/v2/users/me",
    "/api/v2/conversations/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c/participants/42/attributes",
    "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z",
];

#[divan::bench(args = PATHS)]
fn key(path: &str) -> u64 {
    family(black_box(path)).key(black_box(&Method::GET))
}

#[divan::bench(args = PATHS)]
fn text(bencher: Bencher, path: &str) {
    let mut line = String::with_capacity(1024);
    bencher.bench_local(|| {
        line.clear();
        write!(line, "{}", family(black_box(path))).expect("a String takes everything");
        black_box(line.as_str());
    });
}
