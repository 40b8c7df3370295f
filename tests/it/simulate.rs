//! The token, its budget and the line before it, together, on a clock of their own: hundreds of
//! seeds of callers, lives, revocations, 429s and a login host in trouble. The shadow model is a
//! Genesys Cloud that knows nothing of how the gateway decides.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    num::NonZeroU32,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use genesys_proxy::{
    config::{Pacing, RateLimit},
    decide::{
        callers::{Granted, Principal},
        freshness::Verdict,
        lanes::{Lane, Spot},
        retry::{self, Facts, History, Next, Outcome},
        urgency::Urgency,
    },
    gateway::admit::{Admission, Asker, Asking},
    token::{
        Keeping, Token, Tokens,
        issuer::{Issuer, Kind, MintError, Minted},
        verify::{Alive, Check},
    },
};
use http::{HeaderValue, Method, uri::PathAndQuery};
use tokio::{
    runtime::Handle,
    task::LocalSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const PATH: &str = "/api/v2/users";
const SEEDS: u64 = 300;
const CALLS: usize = 150;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(180);
/// Waking takes no time here, so nobody's end is later than this after their patience.
const GRACE: Duration = Duration::from_secs(1);

/// The other side: what it issued, what it was sent.
#[derive(Default)]
struct Genesys {
    dice: fastrand::Rng,
    limit: u32,
    window: Duration,
    /// Fixed windows from a token's first call on, as Genesys counts.
    issued: BTreeMap<String, Issued>,
    mints_running: u32,
    mints: u32,
    /// Whole seconds in which logins fail.
    trouble: Vec<bool>,
    rate_limited: u32,
    expired_used: u32,
    failures: Vec<Instant>,
}

struct Issued {
    dies: Instant,
    revoked: bool,
    calls: Vec<Instant>,
}

impl Genesys {
    /// A call arrives: its status, as the API would say.
    fn call(&mut self, token: &str) -> u16 {
        let (now, window, limit) = (Instant::now(), self.window, self.limit);
        let issued = self.issued.get_mut(token).expect("no token that was never issued");
        if now >= issued.dies {
            self.expired_used += 1;
            return 401;
        }
        if issued.revoked {
            return 401;
        }
        issued.calls.push(now);
        let inside = issued.calls.iter().filter(|&&at| now - at < window).count();
        if inside > limit as usize {
            self.rate_limited += 1;
            return 429;
        }
        200
    }

    fn in_trouble(&self, begin: Instant) -> bool {
        let second = usize::try_from(begin.elapsed().as_secs()).unwrap();
        self.trouble.get(second).copied().unwrap_or_default()
    }
}

#[derive(Clone)]
struct Login {
    genesys: Arc<Mutex<Genesys>>,
    begin: Instant,
}

/// Nobody asks.
impl Check for Login {
    async fn check(&self, _: &HeaderValue) -> Alive {
        Alive::Unknown(String::new())
    }
}

impl Issuer for Login {
    fn client(&self) -> &'static str {
        "a-client"
    }

    async fn mint(&self) -> Result<Minted, MintError> {
        let (takes, kind) = {
            let mut genesys = self.genesys.lock().unwrap();
            genesys.mints_running += 1;
            assert_eq!(genesys.mints_running, 1, "one mint at a time");
            (genesys.dice.u64(1..1_500), genesys.dice.u8(0..10))
        };
        sleep(Duration::from_millis(takes)).await;
        let mut genesys = self.genesys.lock().unwrap();
        genesys.mints_running -= 1;
        if genesys.in_trouble(self.begin) {
            genesys.failures.push(Instant::now());
            let trouble = if kind < 8 { Kind::Status(500) } else { Kind::Throttled };
            let retry_after = (kind == 0).then_some(Duration::from_secs(2));
            return Err(MintError { retry_after, ..MintError::new(trouble, "simulated") });
        }
        genesys.mints += 1;
        let life = Duration::from_secs(genesys.dice.u64(3..60));
        let value = format!("Bearer {}", genesys.mints);
        let dies = Instant::now() + life;
        genesys.issued.insert(value.clone(), Issued { dies, revoked: false, calls: Vec::new() });
        let authorization = HeaderValue::try_from(value).unwrap();
        Ok(Minted::opaque(authorization, life))
    }
}

/// How a caller's request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Served,
    /// 429, ours or upstream's.
    Limited,
    /// 503: no token in time.
    NoToken,
    /// A second 401.
    Refused,
    /// The caller had enough.
    Left,
}

struct Gateway {
    tokens: Arc<Tokens>,
    admission: Arc<Admission>,
    genesys: Arc<Mutex<Genesys>>,
}

impl Gateway {
    /// One request, in the order of the gateway's own steps.
    async fn carry(&self, asker: Asker, deadline: Instant, travels: Duration) -> (End, u32) {
        let mut sends = 0;
        let target = PathAndQuery::from_static(PATH);
        let asking = |deadline| Asking { asker, method: &Method::GET, target: &target, deadline };
        let turn = self.admission.admit(Instant::now(), &asking(deadline), None).await;
        let Ok(mut permit) = turn else { return (End::Limited, sends) };
        let mut history = History::default();
        loop {
            let Ok(token) = self.token(deadline.max(Instant::now())).await else {
                return (End::NoToken, sends);
            };
            assert!(permit.bind(token.generation, token.share.belongs()));
            permit.spend(Instant::now());
            sends += 1;
            let status = self.genesys.lock().unwrap().call(token.authorization.to_str().unwrap());
            // The answer's way back is where other things happen.
            sleep(travels).await;
            if status != 401 {
                token.worked(Instant::now());
            }
            let facts = Facts {
                idempotent: false,
                replayable: true,
                deadline: deadline.into_std(),
                attempts: 1,
                dice: 0.0,
            };
            let outcome = Outcome::Answered { status, retry_after: None };
            let now = Instant::now().into_std();
            match retry::next(outcome, facts, history, now, MAX_RETRY_AFTER) {
                Next::Renew => {
                    if self.tokens.rejected(&token, 1) == Verdict::PassOn {
                        return (End::Refused, sends);
                    }
                    history.renewed = true;
                }
                Next::Fruitless => {
                    self.tokens.fruitless(&token, 1);
                    return (End::Refused, sends);
                }
                Next::Requeue { until } => {
                    self.admission.limited(&permit, (&Method::GET, PATH), until);
                    history.requeued += 1;
                }
                Next::HandOn { until } => {
                    self.admission.limited(&permit, (&Method::GET, PATH), until);
                    return (End::Limited, sends);
                }
                Next::Answer | Next::Again | Next::Retry { .. } | Next::Fail => {
                    if history.renewed {
                        self.tokens.recovered();
                    }
                    return (End::Served, sends);
                }
            }
            let ticket = permit.ticket;
            drop(permit);
            let patience = deadline.max(Instant::now());
            if history.renewed {
                let Ok(token) = self.token(patience).await else { return (End::NoToken, sends) };
                self.admission.seen(
                    Spot { generation: token.generation, ..Spot::default() },
                    token.share.belongs(),
                );
            }
            let again = self.admission.admit(Instant::now(), &asking(patience), Some(ticket)).await;
            let Ok(again) = again else { return (End::Limited, sends) };
            permit = again;
        }
    }

    async fn token(&self, deadline: Instant) -> Result<Arc<Token>, ()> {
        self.tokens.get(deadline).await.map_err(drop)
    }
}

/// One seed, from its first caller to its last.
async fn live(seed: u64) -> BTreeMap<&'static str, u32> {
    let mut dice = fastrand::Rng::with_seed(seed);
    fastrand::seed(seed);
    let (limit, window) = (dice.u32(1..30), Duration::from_secs(dice.u64(2..30)));
    let begin = Instant::now();
    let trouble = (0..1_000).map(|second| (second / 20) % 3 == 0 && dice.u8(0..10) < 4).collect();
    let genesys = Arc::new(Mutex::new(Genesys {
        dice: dice.fork(),
        limit,
        window,
        trouble,
        ..Genesys::default()
    }));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let login = Login { genesys: Arc::clone(&genesys), begin };
    let runtime = Handle::current();
    let refresh_before = Duration::from_secs(dice.u64(0..400));
    let keeping = Keeping::new(refresh_before, &tasks, &runtime, stop.clone());
    let tokens = Tokens::spawn(Arc::new(login), (), Lane::default(), &Arc::default(), &keeping);
    let limits = RateLimit {
        requests_per_minute: NonZeroU32::new(limit),
        window,
        pacing: if dice.bool() { Pacing::Burst } else { Pacing::Even },
        reserve: dice.u32(0..limit.div_ceil(3)),
        max_wait: Duration::from_secs(12),
        max_queue: 40,
        max_retry_after: MAX_RETRY_AFTER,
        families: Vec::new(),
    };
    let admission =
        Admission::spawn(limits, (1, Granted::default()), &tasks, &runtime, stop.clone());
    let (followed, budget) = (Arc::clone(&tokens), Arc::clone(&admission));
    let until = stop.clone();
    tasks.spawn(async move {
        until.run_until_cancelled(budget.follow(Lane::default(), &followed)).await;
    });
    let gateway = Rc::new(Gateway { tokens, admission, genesys: Arc::clone(&genesys) });
    let ends = Rc::new(RefCell::new(BTreeMap::new()));
    let callers = LocalSet::new();
    let load = async {
        for _ in 0..CALLS {
            let patience = Duration::from_millis(dice.u64(0..20_000));
            let stays = Duration::from_millis(dice.u64(0..60_000));
            let travels = Duration::from_millis(dice.u64(1..800));
            let asker = Asker {
                principal: Principal::Named(dice.u16(0..3)),
                urgency: Urgency::of(&format!("u={}", dice.u8(0..8))).unwrap_or_default(),
            };
            let (gateway, ends) = (Rc::clone(&gateway), Rc::clone(&ends));
            tokio::task::spawn_local(async move {
                let came = Instant::now();
                let carried = timeout(stays, gateway.carry(asker, came + patience, travels)).await;
                let (end, sends) = carried.unwrap_or((End::Left, 0));
                assert!(sends <= 1 + 1 + 20, "seed {seed}: {sends} sends");
                let lasted = came.elapsed();
                let bound = patience + travels * sends.max(1) + GRACE;
                match end {
                    // A replay is given its time for a mint; the rest ends with the patience.
                    End::Served | End::Refused | End::NoToken | End::Left => {}
                    End::Limited => {
                        assert!(lasted <= bound, "seed {seed}: 429 after {lasted:?}, {patience:?}");
                    }
                }
                if sends == 0 && end == End::NoToken {
                    assert!(lasted <= patience + GRACE, "seed {seed}: 503 after {lasted:?}");
                }
                *ends.borrow_mut().entry(format!("{end:?}")).or_insert(0) += 1_u32;
            });
            if dice.u8(0..25) == 0 {
                let mut genesys = genesys.lock().unwrap();
                genesys.issued.values_mut().for_each(|token| token.revoked = true);
            }
            sleep(Duration::from_millis(dice.u64(0..1_000))).await;
        }
    };
    callers.run_until(load).await;
    callers.await;
    // Everything is given back.
    assert_eq!((gateway.admission.waiting(), gateway.admission.in_flight()), (0, 0), "seed {seed}");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let genesys = genesys.lock().unwrap();
    assert_eq!(genesys.expired_used, 0, "seed {seed}: an expired token was used");
    assert_eq!(genesys.rate_limited, 0, "seed {seed}: the limit of {limit} in {window:?} overrun");
    for (token, issued) in &genesys.issued {
        for &end in &issued.calls {
            let inside = issued.calls.iter().filter(|&&at| at <= end && end - at < window).count();
            assert!(inside <= limit as usize, "seed {seed}: {inside} in a window of {token}");
        }
    }
    // A login host in trouble sees the schedule, not the crowd: never two failures in 100 ms.
    for pair in genesys.failures.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(100), "seed {seed}: a storm of logins");
    }
    let ends = Rc::try_unwrap(ends).unwrap().into_inner();
    assert_eq!(ends.values().sum::<u32>() as usize, CALLS, "seed {seed}: every caller ends");
    let known = ["Served", "Limited", "NoToken", "Refused", "Left"];
    known.map(|name| (name, ends.get(name).copied().unwrap_or_default())).into()
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_the_token_the_budget_and_the_line_keep_their_promises() {
    let mut all: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        for (name, count) in live(seed).await {
            *all.entry(name).or_default() += count;
        }
    }
    println!("{all:?}");
    // The seeds reach every ending, or they prove little.
    assert!(all.values().all(|&count| count > 0), "{all:?}");
    assert!(all["Served"] > all.values().sum::<u32>() / 4, "{all:?}");
}
