//! Four gateways, each with a cable of its own to one store, and a Genesys Cloud: what a step does to them.
//! It never goes on before a step has ended.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use genesys_proxy::simulator::{Handle, Options};
use serde_json::json;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::DropGuard;

use super::{
    CALLERS, ECHO, LIFE, LIMIT, SEATS, WINDOW,
    callers::{Callers, Target},
    ledger::{Ledger, Past},
    schedule::{Step, Trouble},
};
use crate::support::{
    Gateway,
    gateway::ADMIN,
    redis::{Data, Redis},
    relay::{Cable, Relay},
    unlimited,
    world::{simulator, upstream},
};

/// One gateway's place.
struct Seat {
    gateway: Option<Gateway>,
    relay: Relay,
    target: watch::Sender<Option<Arc<Target>>>,
    toml: String,
}

pub struct Stage {
    seats: Vec<Seat>,
    /// Told to go.
    leaving: Vec<Gateway>,
    pub redis: Redis,
    pub genesys: Handle,
    pub callers: Callers,
    pub ledger: Ledger,
    began: Instant,
    _stop: DropGuard,
}

impl Stage {
    pub async fn set() -> Self {
        let (genesys, stop) = simulator(Options { token_life: LIFE, ..unlimited() }).await;
        let began = Instant::now();
        let redis = Redis::start();
        let mut seats = Vec::new();
        for _ in 0..SEATS {
            let relay = Relay::to(redis.port).await;
            let toml = format!(
                "{}\n[store]\nurl = \"redis://{}\"\n[rate_limit]\nrequests_per_minute = {LIMIT}\n\
                 window = \"{}s\"\nmax_wait = \"60s\"",
                upstream(genesys.addr()),
                relay.address,
                WINDOW.as_secs(),
            );
            seats.push(Seat { gateway: None, relay, target: watch::Sender::new(None), toml });
        }
        let (callers, ledger) = (Callers::none(), Ledger::default());
        let mut stage = Self {
            seats,
            leaving: Vec::new(),
            redis,
            genesys,
            callers,
            ledger,
            began,
            _stop: stop,
        };
        for number in 0..SEATS {
            stage.begins(number);
            let place = stage.seats[number].target.subscribe();
            stage.callers.at(&place, &number.to_string(), CALLERS);
        }
        for gateway in stage.gateways() {
            gateway.knows_of(SEATS).await;
        }
        stage
    }

    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.seats.iter().filter_map(|seat| seat.gateway.as_ref())
    }

    /// As the simulator counts, to a few milliseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Every line of those who live, and of those who were told to go.
    pub fn logs(&self) -> Vec<String> {
        self.gateways().chain(&self.leaving).map(Gateway::log).collect()
    }

    /// A new one takes the place.
    fn begins(&mut self, number: usize) -> Option<Gateway> {
        let seat = &mut self.seats[number];
        let gateway = Gateway::start_with(&seat.toml, &[ADMIN]);
        seat.target.send_replace(Some(Arc::new(Target::new(gateway.url("")))));
        seat.gateway.replace(gateway)
    }

    /// One step to its end, and calls go on.
    pub async fn plays(&mut self, number: usize, step: Step) -> Result<(), String> {
        self.callers.told.step.store(number, Ordering::SeqCst);
        let began = self.now();
        self.strikes(step.trouble);
        // How long it lasts is what was drawn: nothing is waited for.
        match step.meanwhile {
            None => tokio::time::sleep(step.lasts).await,
            Some(more) => {
                tokio::time::sleep(step.lasts / 3).await;
                self.strikes(more);
                tokio::time::sleep(step.lasts / 3).await;
                self.ends(more);
                tokio::time::sleep(step.lasts / 3).await;
            }
        }
        self.ends(step.trouble);
        self.ledger.past(Past { number, step, began, ended: self.now() });
        let went_on = self.callers.until_more(20).await;
        self.ledger.keep(self.genesys.snapshot().records, ECHO);
        went_on.map_err(|why| format!("after step {number}, {step}: {why}"))
    }

    fn strikes(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::StoreKilled(data) => {
                if data == Data::Kept {
                    // What comes after this is lost.
                    self.redis.ask::<()>(&["SAVE"]);
                }
                self.redis.kill();
            }
            Trouble::StorePaused => self.redis.pause(),
            Trouble::StoreFlushed => self.redis.flush(),
            Trouble::StoreFull => self.redis.fill(),
            Trouble::StoreReadOnly => self.redis.read_only(),
            Trouble::Cut(seat, cable) => self.seats[seat].relay.is(cable),
            Trouble::Killed(seat) => {
                let seat = &mut self.seats[seat];
                let target = seat.target.send_replace(None).unwrap();
                target.killed.store(true, Ordering::SeqCst);
                seat.gateway = None;
            }
            Trouble::Replaced(number) => {
                let target = self.seats[number].target.borrow().clone().unwrap();
                let old = self.begins(number).unwrap();
                target.goes.store(true, Ordering::SeqCst);
                old.signal("TERM");
                self.leaving.push(old);
            }
            Trouble::Stopped(seat) => self.signal(seat, "STOP"),
            Trouble::Revoked => {
                self.genesys.revoke();
            }
            Trouble::SlowLogin => self.login("slow:1500"),
        }
    }

    fn ends(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::StoreKilled(data) => self.redis.restart(data),
            Trouble::StorePaused => self.redis.resume(),
            Trouble::StoreFull => self.redis.make_room(),
            Trouble::StoreReadOnly => self.redis.writable(),
            Trouble::Cut(seat, _) => self.seats[seat].relay.is(Cable::Whole),
            Trouble::Killed(number) => drop(self.begins(number)),
            Trouble::Stopped(seat) => self.signal(seat, "CONT"),
            Trouble::SlowLogin => self.login("ok"),
            Trouble::StoreFlushed | Trouble::Replaced(_) | Trouble::Revoked => {}
        }
    }

    fn signal(&self, seat: usize, name: &str) {
        self.seats[seat].gateway.as_ref().unwrap().signal(name);
    }

    fn login(&self, mode: &str) {
        self.genesys.faults(serde_json::from_value(json!({ "token": mode })).unwrap());
    }

    /// Nobody calls any more; those that were told to go have gone.
    pub async fn ends_all(&mut self) -> Result<Duration, String> {
        self.callers.end().await?;
        for gateway in &mut self.leaving {
            let status = gateway.wait();
            if !status.success() {
                return Err(format!("a gateway that was told to go: {status}"));
            }
        }
        self.ledger.keep(self.genesys.snapshot().records, ECHO);
        Ok(self.began.elapsed())
    }
}
