//! Two gateways as `deploy/compose` has them: one key opens both, and one of them may die, drain or be replaced
//! without a failed call.

use std::sync::Arc;

use http::Method;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Answer,
    deployed::{Deployed, ECHO, ME},
    gateway::PATIENCE,
    world,
};

/// Callers who never pause: GETs and POSTs in turn.
struct Steady {
    callers: JoinSet<Vec<Answer>>,
    end: CancellationToken,
    answered: watch::Receiver<u64>,
}

impl Steady {
    fn of(deployed: &Deployed, methods: &'static [Method]) -> Self {
        let (answers, answered) = watch::channel(0);
        let (mut callers, end, answers) =
            (JoinSet::new(), CancellationToken::new(), Arc::new(answers));
        for _ in 0..8 {
            let requests: Vec<_> =
                methods.iter().map(|method| deployed.request(method.clone(), ECHO)).collect();
            let (end, answers) = (end.clone(), Arc::clone(&answers));
            callers.spawn(async move {
                let mut bad = Vec::new();
                for request in requests.iter().cycle() {
                    if end.is_cancelled() {
                        break;
                    }
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    let answer = Answer::of(answer).await;
                    bad.extend((answer.status != 200).then_some(answer));
                    answers.send_modify(|answers| *answers += 1);
                }
                bad
            });
        }
        Self { callers, end, answered }
    }

    /// Waits for so many more answers.
    async fn go_on(&mut self, more: u64) {
        let wanted = *self.answered.borrow() + more;
        let came = timeout(PATIENCE, self.answered.wait_for(|answers| *answers >= wanted)).await;
        assert!(came.is_ok_and(|still| still.is_ok()), "callers have ended, or wait for ever");
    }

    /// None of them failed.
    async fn end(self) {
        self.end.cancel();
        let bad: Vec<_> = self.callers.join_all().await.into_iter().flatten().collect();
        assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), *self.answered.borrow(), bad.first());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_opens_both_gateways_and_the_balancer_before_them() {
    let deployed = Deployed::new().await;
    let balanced = format!("http://{}{ME}", deployed.balancer.address);
    for url in [deployed.gateways[0].url(ME), deployed.gateways[1].url(ME), balanced] {
        let request = world::client().get(&url);
        let answer = request.try_clone().unwrap().header("x-api-key", &deployed.key);
        assert_eq!(answer.send().await.unwrap().status(), 200, "{url}");
        assert_eq!(request.send().await.unwrap().status(), 401, "{url}");
    }
    // Bodies and streams pass as they are.
    let sent = vec![b'x'; 300_000];
    let answer = deployed.request(Method::POST, ECHO).body(sent).send().await.unwrap();
    assert_eq!(Answer::of(answer).await.json()["bodyBytes"], 300_000);
    let stream = "/api/v2/stream?chunks=3&gap_ms=50";
    let answer = deployed.request(Method::GET, stream).send().await.unwrap();
    assert!(answer.text().await.unwrap().ends_with("{\"chunk\":2}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_costs_no_failed_call_and_is_used_again_when_it_is_back() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET]);
    steady.go_on(100).await;
    deployed.gateways[0].signal("KILL");
    deployed.gateways[0].wait();
    steady.go_on(300).await;
    deployed.again(0);
    deployed.gateways[0].logged(ECHO).await;
    steady.go_on(100).await;
    steady.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_replaced_one_after_the_other_without_a_failed_call() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET, Method::POST]);
    for number in 0..2 {
        steady.go_on(100).await;
        deployed.gateways[number].signal("TERM");
        assert_eq!(deployed.gateways[number].wait().code(), Some(0));
        steady.go_on(100).await;
        deployed.again(number);
        deployed.gateways[number].logged(ECHO).await;
    }
    steady.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_killed_gateway_goes_to_the_other_unless_it_must_not_run_twice() {
    for (method, answers, sent) in [(Method::GET, [200, 200], 3), (Method::POST, [200, 502], 2)] {
        let mut deployed = Deployed::new().await;
        let before = deployed.genesys.counters().requests;
        let calls = deployed.two_held(method.clone()).await;
        deployed.gateways[0].signal("KILL");
        deployed.gateways[0].wait();
        let seen =
            deployed.genesys.until(|seen| seen.requests == before + 1 && seen.held == sent - 1);
        assert!(timeout(PATIENCE, seen).await.is_ok(), "{:?}", deployed.genesys.counters());
        deployed.let_go();
        let mut all = calls.join_all().await;
        all.sort_unstable();
        assert_eq!(all, answers, "{method}");
        assert_eq!(deployed.genesys.counters().requests - before, sent, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_draining_gateway_comes_to_its_end_there() {
    let mut deployed = Deployed::new().await;
    let before = deployed.genesys.counters().requests;
    let calls = deployed.two_held(Method::POST).await;
    deployed.gateways[0].signal("TERM");
    deployed.gateways[0].logged("draining").await;
    deployed.let_go();
    assert_eq!(calls.join_all().await, [200, 200]);
    assert_eq!(deployed.genesys.counters().requests - before, 2, "each once");
    assert_eq!(deployed.gateways[0].wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_calls_go_on() {
    let mut deployed = Deployed::new().await;
    let mut steady = Steady::of(&deployed, &[Method::GET, Method::POST]);
    steady.go_on(50).await;
    deployed.redis.kill();
    steady.go_on(200).await;
    steady.end().await;
}
