//! A line of 10,000, far longer than the default lets it become.

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use genesys_proxy::decide::queue::{Queue, Ticket};

use crate::t0;

const WAITING: u32 = 10_000;

/// The line, the tickets in it, and the moment of the first arrival.
fn line() -> (Queue<u32>, Vec<Ticket>, Instant) {
    let start = t0();
    let mut queue = Queue::new(WAITING as usize + 1);
    let tickets = (0..WAITING)
        .map(|caller| {
            let ticket = queue.ticket();
            let deadline = start + Duration::from_secs(12) + Duration::from_micros(caller.into());
            queue.join(ticket, deadline, caller).expect("the bound is above their number");
            ticket
        })
        .collect();
    (queue, tickets, start)
}

/// One joins at the end, the first has its turn: the line stays as long as it is.
#[divan::bench]
fn join_and_serve_the_first(bencher: Bencher) {
    let (mut queue, _, start) = line();
    let mut deadline = start + Duration::from_secs(20);
    bencher.bench_local(|| {
        deadline += Duration::from_micros(1);
        let ticket = queue.ticket();
        let joined = queue.join(ticket, black_box(deadline), 0);
        let served = queue.head().and_then(|first| queue.leave(first));
        (joined, served)
    });
}

/// A caller in the middle hangs up and comes back, as after a 429, to the same place.
#[divan::bench]
fn leave_and_rejoin_in_the_middle(bencher: Bencher) {
    let (mut queue, tickets, start) = line();
    let middle = tickets.get(tickets.len() / 2).copied().expect("the line is not empty");
    let deadline = start + Duration::from_secs(15);
    bencher.bench_local(|| {
        let left = queue.leave(black_box(middle));
        let joined = queue.join(middle, black_box(deadline), 0);
        (left, joined)
    });
}

/// How many stand before a new arrival.
#[divan::bench]
fn ahead_of_a_new_ticket(bencher: Bencher) {
    let (mut queue, _, _) = line();
    let new = queue.ticket();
    bencher.bench_local(|| black_box(&queue).ahead(black_box(new)));
}

/// How many stand before one that came back to the middle: these are counted.
#[divan::bench]
fn ahead_of_an_old_ticket(bencher: Bencher) {
    let (queue, tickets, _) = line();
    let middle = tickets.get(tickets.len() / 2).copied().expect("the line is not empty");
    bencher.bench_local(|| black_box(&queue).ahead(black_box(middle)));
}

/// Nobody has run out of patience: asked whenever the pacer wakes.
#[divan::bench]
fn nobody_is_impatient(bencher: Bencher) {
    let (mut queue, _, start) = line();
    bencher.bench_local(|| queue.impatient(black_box(start)));
}
