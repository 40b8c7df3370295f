//! A line of ten, and of 10,000, far longer than the default lets it become: of one caller, or of
//! many.

use std::{
    fmt,
    net::Ipv4Addr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use divan::{Bencher, black_box};
use genesys_proxy::decide::{
    callers::Principal,
    queue::{Queue, Who},
    urgency::Urgency,
};

use crate::t0;

/// Of 300 a minute.
const PACE: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(60);
/// How many wait, and of how many callers.
const LINES: [Line; 5] =
    [Line(10, 1), Line(10, 10), Line(10_000, 1), Line(10_000, 10), Line(10_000, 1_000)];

#[derive(Clone, Copy)]
struct Line(u32, u32);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.0, self.1)
    }
}

fn who(queue: &mut Queue<u32>, caller: u32) -> Who {
    let principal = Principal::at(Ipv4Addr::from(caller).into());
    let (weight, urgency) = (NonZeroU32::MIN, Urgency::default());
    Who { principal, weight, urgency, ticket: queue.ticket(), asks: 0 }
}

/// The line, those in it, and the moment of the first arrival.
fn line(Line(waiting, callers): Line) -> (Queue<u32>, Vec<Who>, Instant) {
    let start = t0();
    let mut queue = Queue::new(PACE, WINDOW);
    let members = (0..waiting)
        .map(|n| {
            let who = who(&mut queue, n % callers);
            let deadline = start + Duration::from_secs(12) + Duration::from_micros(n.into());
            queue.join((&who, None), (start, deadline), n);
            who
        })
        .collect();
    (queue, members, start)
}

/// One joins at the end, the first has its turn: the line stays as long as it is.
#[divan::bench(args = LINES)]
fn join_and_serve_the_first(bencher: Bencher, length: Line) {
    let (mut queue, _, start) = line(length);
    let mut deadline = start + Duration::from_secs(20);
    let mut caller = 0;
    bencher.bench_local(|| {
        deadline += Duration::from_micros(1);
        caller = (caller + 1) % length.1;
        let who = who(&mut queue, caller);
        queue.join((&who, None), (start, black_box(deadline)), 0);
        queue.next(false)
    });
}

/// A caller in the middle hangs up and comes back, as after a 429.
#[divan::bench(args = LINES)]
fn leave_and_rejoin_in_the_middle(bencher: Bencher, length: Line) {
    let (mut queue, members, start) = line(length);
    let middle = members.get(members.len() / 2).copied().expect("the line is not empty");
    let deadline = start + Duration::from_secs(15);
    bencher.bench_local(|| {
        let left = queue.leave(black_box(middle.ticket));
        queue.join((&middle, None), (start, black_box(deadline)), 0);
        left
    });
}

/// How many turns come before a new arrival's.
#[divan::bench(args = LINES)]
fn ahead_of_a_newcomer(bencher: Bencher, length: Line) {
    let (mut queue, _, start) = line(length);
    let new = who(&mut queue, 0);
    bencher.bench_local(|| black_box(&queue).ahead(black_box(&new), (start, start)));
}

/// Nobody has run out of patience: asked whenever the pacer wakes.
#[divan::bench(args = LINES)]
fn nobody_is_impatient(bencher: Bencher, length: Line) {
    let (mut queue, _, start) = line(length);
    bencher.bench_local(|| queue.impatient(black_box(start)).is_some());
}
