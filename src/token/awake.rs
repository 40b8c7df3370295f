//! Notices that the machine slept: tokens age meanwhile, and the clock that times them does not run.
//! It never uses the wall clock, which may be set at any time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

/// How often it looks: a token that died in its sleep is used at most so long after waking.
const LOOK: Duration = Duration::from_secs(1);
/// Less is the time between the two readings.
const NAP: Duration = Duration::from_millis(500);

/// How long the machine has slept since it booted.
fn asleep() -> Duration {
    let read = |clock| {
        let at = clock_gettime(clock);
        let nanos = u32::try_from(at.tv_nsec).unwrap_or_default();
        Duration::new(u64::try_from(at.tv_sec).unwrap_or_default(), nanos)
    };
    // CLOCK_BOOTTIME counts sleep, CLOCK_MONOTONIC (the clock of all timers) does not.
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

/// Calls `slept` after every sleep. Does not end.
pub async fn watch(slept: impl Fn(Duration)) {
    follow(asleep, slept).await;
}

async fn follow(asleep: impl Fn() -> Duration, slept: impl Fn(Duration)) {
    let mut known = asleep();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = asleep();
        let nap = now.saturating_sub(known);
        if nap >= NAP {
            known = now;
            slept(nap);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_told_once_and_the_time_between_two_readings_never() {
        let (clock, told) = (Cell::new(Duration::from_secs(9)), RefCell::new(Vec::new()));
        let watch = follow(|| clock.get(), |nap| told.borrow_mut().push(nap));
        let day = async {
            for asleep in [9_000, 9_003, 9_001, 3_609_001, 3_609_002] {
                clock.set(Duration::from_millis(asleep));
                tokio::time::sleep(LOOK * 2).await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = day => {}
        }
        assert_eq!(told.into_inner(), [Duration::from_millis(3_600_001)]);
    }

    #[test]
    fn the_two_clocks_agree_unless_the_machine_slept() {
        let first = asleep();
        assert!(asleep().abs_diff(first) < NAP);
    }
}
