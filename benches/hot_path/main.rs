//! What the decisions of one request cost, without sockets: `cargo bench --bench hot_path`.
//! It never measures the making of its own inputs.
//!
//! A filter narrows it (`cargo bench --bench hot_path queue`). Whole requests, and the comparison
//! with other proxies, are `bench/`.

mod budget;
mod framing;
mod freshness;
mod headers;
mod path;
mod queue;
mod record;
mod replay;

fn main() {
    divan::main();
}

/// Some moment: only differences count.
fn t0() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
