//! Random faults of everything, under load, by a seed: no call fails, no budget is overrun, nothing is
//! left behind.
//!
//! `GENESYS_PROXY_TEST_SEED=7` plays another schedule than the usual one, and
//! `GENESYS_PROXY_TEST_CHAOS_SECONDS=600` a longer one. What is found names the seed. `GENESYS_PROXY_TEST_CHAOS_LOGS=FOLDER` keeps the gateways' logs.

mod callers;
mod ledger;
mod schedule;
mod stage;

use std::{env, time::Duration};

use tokio::time::Instant;

use crate::support::gateway::PATIENCE;
use stage::Stage;

const ECHO: &str = "/api/v2/echo";
const SEATS: usize = 4;
/// At each of them.
const CALLERS: usize = 8;
const LIMIT: u32 = 60;
const WINDOW: Duration = Duration::from_secs(3);
/// Renewed when half of it is over.
const LIFE: Duration = Duration::from_secs(20);
/// Who is silent for so long may be dead.
const LEASE: Duration = Duration::from_secs(3);

const SEED: u64 = 1;
const SECONDS: u64 = 40;

fn number(variable: &str, usual: u64) -> u64 {
    env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_by_a_seed_cost_no_call_no_budget_and_leave_nothing_behind() {
    let seed = number("GENESYS_PROXY_TEST_SEED", SEED);
    let long = Duration::from_secs(number("GENESYS_PROXY_TEST_CHAOS_SECONDS", SECONDS));
    let steps = schedule::drawn(seed, long);
    println!("seed {seed}:");
    for (number, step) in steps.iter().enumerate() {
        println!("{number:3} {step}");
    }
    let mut stage = Stage::set().await;
    let mut faults = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if let Err(why) = stage.plays(number, *step).await {
            faults.push(why);
            break;
        }
    }
    faults.extend(converges(&stage).await);
    match stage.ends_all().await {
        Ok(lasted) => {
            let (minted, most) = (stage.genesys.counters().mints, stage.ledger.most_mints(lasted));
            println!("{} calls, {minted} mints of {most} in {lasted:?}", stage.ledger.calls());
            if minted > most {
                faults.push(format!("{minted} mints, not {most}"));
            }
        }
        Err(why) => faults.push(why),
    }
    faults.append(&mut stage.callers.told.failures.lock().unwrap());
    faults.extend(stage.ledger.overruns());
    if let Ok(folder) = env::var("GENESYS_PROXY_TEST_CHAOS_LOGS") {
        for (number, log) in stage.logs().iter().enumerate() {
            std::fs::write(format!("{folder}/{seed}-{number}.log"), log).unwrap();
        }
    }
    assert!(faults.is_empty(), "seed {seed}: {} faults:\n{}", faults.len(), faults.join("\n"));
}

/// All is as if nothing had been, soon.
async fn converges(stage: &Stage) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let missing = missing(stage).await;
        if missing.is_empty() || end < Instant::now() {
            return missing;
        }
        // It looks at a real process; nobody tells when its keys end.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn missing(stage: &Stage) -> Vec<String> {
    let mut missing = Vec::new();
    for (number, gateway) in stage.gateways().enumerate() {
        if gateway.newest("replicas=").is_none_or(|known| known != SEATS.to_string()) {
            missing.push(format!("gateway {number} does not know of {SEATS}"));
        }
        let ready = gateway.admin("/readyz").await;
        if ready.contains("store") {
            missing.push(format!("gateway {number}: {ready}"));
        }
    }
    let tokens: Vec<_> = stage.gateways().map(|gateway| gateway.newest("fingerprint=")).collect();
    if tokens.iter().any(|token| token.is_none() || *token != tokens[0]) {
        missing.push(format!("several tokens: {tokens:?}"));
    }
    let locks = stage.redis.keys_and_values().into_iter();
    let locks: Vec<_> = locks.map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect();
    if let Some(lock) = locks.iter().find(|key| key.contains("lock")) {
        missing.push(format!("{lock} is left"));
    }
    let endless = stage.redis.without_an_end();
    if !endless.is_empty() {
        missing.push(format!("for ever: {endless:?}"));
    }
    missing
}
