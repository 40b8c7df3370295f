//! How well a limit is used and shared, on simulated time: `cargo bench --bench goodput`.
//! It never measures the machine: the same seed gives the same numbers everywhere.
//!
//! JSON on stdout; `bench/goodput` says what each figure is and makes the report.
//! `-- --seeds 5 --minutes 20 --only gateway,greedy,10` narrows it.

mod callers;
mod measure;
mod policy;
mod run;
mod upstream;

use std::{
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use callers::{Manner, Mix};
use policy::Kind;
use run::{Plan, run};

const LOADS: [f64; 4] = [0.5, 1.0, 2.0, 10.0];

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str| after(name).and_then(|text| text.parse().ok());
    // `cargo test --benches` does not say `--bench`: that it runs is enough then.
    let tested = !arguments.iter().any(|argument| argument == "--bench");
    let (seeds, minutes) = if tested { (1, 2) } else { (5, 20) };
    let (seeds, minutes) =
        (number("--seeds").unwrap_or(seeds), number("--minutes").unwrap_or(minutes));
    let only: Vec<&str> = after("--only").map(|text| text.split(',').collect()).unwrap_or_default();

    let mut plans = plans(seeds, Duration::from_secs(minutes * 60));
    plans.retain(|plan| only.iter().all(|word| words(plan).iter().any(|known| known == word)));
    plans.retain(|plan| !tested || plan.load <= 1.0);
    let results = run_all(&plans);
    let report = json!({
        "limit": upstream::LIMIT,
        "window": upstream::WINDOW.as_secs(),
        "max_wait": policy::MAX_WAIT.as_secs(),
        "minutes": minutes,
        "seeds": seeds,
        "runs": results,
    });
    writeln!(std::io::stdout(), "{report:#}")
}

fn plans(seeds: u64, measured: Duration) -> Vec<Plan> {
    let mut plans = Vec::new();
    for mix in Mix::ALL {
        for load in LOADS {
            for kind in Kind::ALL {
                for manner in Manner::ALL {
                    let plan = |seed| Plan { kind, mix, manner, load, seed, measured };
                    plans.extend((1..=seeds).map(plan));
                }
            }
        }
    }
    plans
}

fn words(plan: &Plan) -> [String; 4] {
    let Plan { kind, mix, manner, load, .. } = plan;
    [kind.name().into(), mix.name().into(), manner.name().into(), load.to_string()]
}

/// On all CPUs; in the order of the plans.
fn run_all(plans: &[Plan]) -> Vec<serde_json::Value> {
    let start: Instant = tokio::time::Instant::now().into_std();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(number) else { break };
                    let result = run(*plan, start);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
