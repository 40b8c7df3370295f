//! Callers that call and call, whatever happens, and what they were told.
//! They never forgive a gateway that lives.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::ECHO;
use crate::support::gateway::PATIENCE;

/// A gateway as callers know it.
#[derive(Debug)]
pub struct Target {
    pub url: String,
    /// It was killed: what it had in hand is gone.
    pub killed: AtomicBool,
    /// It goes, and takes no new connections: a caller, or its balancer, tries the next one.
    pub goes: AtomicBool,
}

impl Target {
    pub fn new(url: String) -> Self {
        Self { url, killed: AtomicBool::new(false), goes: AtomicBool::new(false) }
    }
}

/// Where to call now; nowhere while a gateway is being replaced.
pub type Place = watch::Receiver<Option<Arc<Target>>>;

/// What all callers know.
#[derive(Debug, Default)]
pub struct Told {
    pub through: watch::Sender<u64>,
    /// Of the schedule.
    pub step: AtomicUsize,
    pub failures: Mutex<Vec<String>>,
}

/// So many of them, until the end.
#[derive(Debug)]
pub struct Callers {
    pub told: Arc<Told>,
    calling: JoinSet<()>,
    end: CancellationToken,
}

impl Callers {
    pub fn none() -> Self {
        Self { told: Arc::default(), calling: JoinSet::new(), end: CancellationToken::new() }
    }

    /// So many at one place, each calling again as soon as it has an answer.
    pub fn at(&mut self, place: &Place, name: &str, count: usize) {
        for number in 0..count {
            let caller = Caller {
                client: one_connection_a_call(),
                place: place.clone(),
                told: Arc::clone(&self.told),
                name: format!("{name}-{number}"),
            };
            let end = self.end.clone();
            self.calling.spawn(async move { caller.calls(&end).await });
        }
    }

    /// So many more calls are through.
    pub async fn until_more(&self, calls: u64) -> Result<(), String> {
        let mut through = self.told.through.subscribe();
        let wanted = *through.borrow() + calls;
        let came = timeout(PATIENCE, through.wait_for(|through| *through >= wanted)).await.is_ok();
        came.then_some(()).ok_or_else(|| format!("no {calls} more calls are through in time"))
    }

    /// All calls have their answer.
    pub async fn end(&mut self) -> Result<(), String> {
        self.end.cancel();
        let over = async { while self.calling.join_next().await.is_some() {} };
        timeout(PATIENCE * 2, over).await.map_err(|_| "calls hang".to_owned())
    }
}

/// As a balancer has it before gateways that come and go.
fn one_connection_a_call() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
    client.pool_max_idle_per_host(0).build().unwrap()
}

struct Caller {
    client: reqwest::Client,
    place: Place,
    told: Arc<Told>,
    name: String,
}

impl Caller {
    async fn calls(mut self, end: &CancellationToken) {
        let mut number = 0_u64;
        loop {
            let target = async {
                let there = self.place.wait_for(Option::is_some).await.unwrap();
                Arc::clone(there.as_ref().unwrap())
            };
            let Some(target) = end.run_until_cancelled(target).await else { return };
            if end.is_cancelled() {
                return;
            }
            number += 1;
            self.call(&target, number).await;
        }
    }

    async fn call(&self, target: &Target, number: u64) {
        let step = self.told.step.load(Ordering::SeqCst);
        let path = format!("{ECHO}/{}-{number}", self.name);
        let failed = match self.client.get(format!("{}{path}", target.url)).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                match response.text().await {
                    Ok(_) if status == 200 => {
                        self.told.through.send_modify(|through| *through += 1);
                        return;
                    }
                    Ok(body) => format!("{status} {body}"),
                    Err(error) => format!("{status}, broken off: {error:?}"),
                }
            }
            Err(error) if error.is_connect() && target.goes.load(Ordering::SeqCst) => return,
            Err(error) => format!("{error:?}"),
        };
        if target.killed.load(Ordering::SeqCst) {
            return;
        }
        let now = self.told.step.load(Ordering::SeqCst);
        let failure = format!("{path}, sent in step {step}, told in step {now}: {failed}");
        self.told.failures.lock().unwrap().push(failure);
    }
}
