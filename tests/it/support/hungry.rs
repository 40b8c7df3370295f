//! Callers that call again as soon as they have an answer.
//! They never forgive a gateway: every call that was sent is answered with 200.

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Answer, Gateway, gateway::PATIENCE};

/// So many of them at one gateway.
pub struct Hungry {
    callers: JoinSet<Vec<String>>,
    enough: CancellationToken,
    served: watch::Receiver<u64>,
}

impl Hungry {
    pub fn at(gateway: &Gateway, path: &str, count: usize) -> Self {
        let (through, served) = watch::channel(0);
        let (mut callers, enough) = (JoinSet::new(), CancellationToken::new());
        for _ in 0..count {
            let (url, through, enough) = (gateway.url(path), through.clone(), enough.clone());
            callers.spawn(async move {
                // One connection for each, as a balancer has them before gateways that come and go.
                let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
                let client = client.retry(reqwest::retry::never()).build().unwrap();
                let mut failures = Vec::new();
                while !enough.is_cancelled() {
                    match call(&client, &url).await {
                        Ok(()) => through.send_modify(|calls| *calls += 1),
                        Err(Failure::NotTaken(_)) if enough.is_cancelled() => {}
                        Err(Failure::NotTaken(why) | Failure::Answered(why)) => failures.push(why),
                    }
                }
                failures
            });
        }
        Self { callers, enough, served }
    }

    /// So many more calls are through.
    pub async fn until_more(&mut self, calls: u64) {
        let wanted = *self.served.borrow() + calls;
        let came = timeout(PATIENCE, self.served.wait_for(|served| *served >= wanted)).await;
        assert!(came.is_ok_and(|still| still.is_ok()), "no {calls} more calls are through in time");
    }

    /// No more calls but those that are under way: the gateway may go.
    pub fn have_enough(&self) {
        self.enough.cancel();
    }

    /// All calls have their answers, and none failed.
    pub async fn end(self) {
        self.enough.cancel();
        let all = timeout(2 * PATIENCE, self.callers.join_all()).await.expect("no call hangs");
        let failures: Vec<String> = all.into_iter().flatten().collect();
        assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
    }
}

enum Failure {
    /// Nobody listens there.
    NotTaken(String),
    /// Or broken off.
    Answered(String),
}

async fn call(client: &reqwest::Client, url: &str) -> Result<(), Failure> {
    let told = |error: reqwest::Error| {
        let why = format!("{error:?}");
        if error.is_connect() { Failure::NotTaken(why) } else { Failure::Answered(why) }
    };
    let response = client.get(url).send().await.map_err(told)?;
    let answer = Answer::of(response).await;
    if answer.status == 200 { Ok(()) } else { Err(Failure::Answered(format!("{answer:?}"))) }
}
