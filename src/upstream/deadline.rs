//! Deadlines of a worker, looked at twice a second by its sweeper.
//! They never set a timer: a request's deadlines nearly never pass, so they cost a note, not a
//! place in a timer wheel. In exchange one is up to a tick late, and never early.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;

/// Ticks in a second.
const RATE: u32 = 2;
/// How often the sweeper looks.
pub const TICK: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// All deadlines of one worker, and its coarse time: ticks since its start.
#[derive(Debug, Default)]
pub struct Deadlines {
    now: AtomicU32,
    waiting: Mutex<Slab<(u32, Waker)>>,
}

/// A moment at which somebody gives up. Dropped, it is forgotten.
#[derive(Debug)]
pub struct Deadline {
    all: Arc<Deadlines>,
    at: u32,
    place: Option<usize>,
}

impl Deadlines {
    /// One tick: wakes everybody whose deadline has come.
    pub fn tick(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let late: Vec<Waker> = self
            .waiting()
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(_, (_, waker))| waker.clone())
            .collect();
        for waker in late {
            waker.wake();
        }
    }

    /// A deadline `timeout` from now.
    pub fn after(self: &Arc<Self>, timeout: Duration) -> Deadline {
        Deadline { all: Arc::clone(self), at: self.in_ticks(timeout), place: None }
    }

    fn in_ticks(&self, timeout: Duration) -> u32 {
        // The tick under way is not a whole one.
        let begun = timeout.subsec_nanos().div_ceil(1_000_000_000 / RATE) + 1;
        let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        let ticks = seconds.saturating_mul(RATE).saturating_add(begun);
        self.now.load(Ordering::Relaxed).saturating_add(ticks)
    }

    fn waiting(&self) -> MutexGuard<'_, Slab<(u32, Waker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline {
    /// Ready when it has passed.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.all.now.load(Ordering::Relaxed) >= self.at {
            return Poll::Ready(());
        }
        let mut waiting = self.all.waiting();
        match self.place.and_then(|place| waiting.get_mut(place)) {
            Some((at, waker)) => {
                *at = self.at;
                waker.clone_from(cx.waker());
            }
            None => self.place = Some(waiting.insert((self.at, cx.waker().clone()))),
        }
        Poll::Pending
    }

    /// Begins anew: it passes `timeout` from now.
    pub fn restart(&mut self, timeout: Duration) {
        // What waits under the old moment wakes too early, looks, and waits again.
        self.at = self.all.in_ticks(timeout);
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.all.waiting().try_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_is_at_most_a_tick_late_never_early_and_wakes_its_task() {
        let (all, woken) = (Arc::<Deadlines>::default(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut deadline = all.after(TICK * 2);
        for _ in 0..2 {
            assert!(deadline.poll_passed(&mut cx).is_pending());
            all.tick();
            assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        }
        assert!(deadline.poll_passed(&mut cx).is_pending(), "two ticks may be one and a bit");
        all.tick();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(deadline.poll_passed(&mut cx).is_ready());
    }

    #[test]
    fn a_restarted_deadline_passes_later() {
        let all = Arc::<Deadlines>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut deadline = all.after(TICK);
        assert!(deadline.poll_passed(&mut cx).is_pending());
        all.tick();
        deadline.restart(TICK);
        all.tick();
        assert!(deadline.poll_passed(&mut cx).is_pending());
        all.tick();
        assert!(deadline.poll_passed(&mut cx).is_ready());
    }

    #[test]
    fn a_deadline_that_is_dropped_is_forgotten() {
        let all = Arc::<Deadlines>::default();
        let mut deadline = all.after(TICK);
        assert!(deadline.poll_passed(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(all.waiting().len(), 1);
        drop(deadline);
        assert!(all.waiting().is_empty());
    }
}
