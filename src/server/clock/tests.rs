//! When callers are cut, parked and counted.

use super::*;

fn patience() -> Patience {
    Patience { keep_alive: 150, head: 20, stall: 120 }
}

fn ticks_until_expired(prepare: impl Fn(&Clock)) -> Option<u32> {
    let ticker = Arc::new(Ticker::default());
    let connection = ticker.connection(Arc::new(Caller::alone()));
    prepare(&connection.clock);
    (1..400).find(|_| {
        ticker.tick(patience());
        connection.order() == Order::End
    })
}

#[test]
fn a_silent_connection_is_held_to_the_header_timeout_and_an_idle_one_to_keep_alive() {
    assert_eq!(ticks_until_expired(|_| {}), Some(21));
    assert_eq!(ticks_until_expired(|clock| clock.phase(Phase::Head)), Some(21));
    assert_eq!(ticks_until_expired(|clock| clock.phase(Phase::Idle)), Some(151));
}

#[test]
fn a_request_in_flight_keeps_its_connection_and_a_reader_that_stalls_does_not() {
    let busy = |clock: &Clock| {
        clock.phase(Phase::Idle);
        clock.begin();
    };
    assert_eq!(ticks_until_expired(busy), None);
    let stalled = |clock: &Clock| {
        clock.begin();
        clock.stalled(true);
    };
    assert_eq!(ticks_until_expired(stalled), Some(121));
}

#[test]
fn a_connection_is_parked_after_an_idle_tick_and_not_in_mid_request() {
    let ticker = Arc::new(Ticker::default());
    let connection = ticker.connection(Arc::new(Caller::alone()));
    let _warm = connection.warm();
    connection.clock.phase(Phase::Idle);
    ticker.tick(patience());
    assert!(!connection.may_park(), "its first request may be on its way");
    connection.begin();
    ticker.tick(patience());
    assert!(!connection.may_park());
    connection.request.store(2, Ordering::Relaxed);
    connection.clock.end();
    assert!(!connection.may_park(), "the next request may follow at once");
    ticker.tick(patience());
    assert!(connection.may_park());
    for (flag, name) in [(&connection.flushed, "flushed"), (&connection.switched, "switched")] {
        flag.fetch_xor(true, Ordering::Relaxed);
        assert!(!connection.may_park(), "{name}");
        flag.fetch_xor(true, Ordering::Relaxed);
    }
    connection.clock.stalled(true);
    assert!(!connection.may_park(), "an interim answer is on its way out");
    connection.clock.stalled(false);
    connection.request.store(3, Ordering::Relaxed);
    assert!(!connection.may_park(), "hyper holds another request");
}

#[test]
fn a_crowd_is_parked_at_once() {
    let ticker = Arc::new(Ticker::default());
    let crowd: Vec<_> = (0..=WARM).map(|_| ticker.connection(Arc::new(Caller::alone()))).collect();
    let mut warm: Vec<_> = crowd.iter().map(|connection| connection.warm()).collect();
    let connection = &crowd[0];
    connection.begin();
    connection.request.store(2, Ordering::Relaxed);
    connection.clock.phase(Phase::Idle);
    connection.clock.end();
    assert!(connection.may_park());
    warm.pop();
    assert!(!connection.may_park());
}

#[test]
fn between_two_requests_of_http1_a_drain_waits_a_while_for_the_next() {
    let ticker = Arc::new(Ticker::default());
    let connection = ticker.connection(Arc::new(Caller::alone()));
    connection.begin();
    connection.answer(StatusCode::OK);
    ticker.drain(Drain::Begun);
    // Its answer's head has left without a word of this being the last one.
    assert_eq!((connection.order_http1(), connection.order()), (Order::Stay, Order::Leave));
    connection.clock.end();
    assert_eq!(connection.order_http1(), Order::Stay);
    connection.begin();
    assert_eq!(connection.order_http1(), Order::Leave, "this one will say so");
    connection.answer(StatusCode::OK);
    ticker.drain(Drain::All);
    assert_eq!(connection.order_http1(), Order::Leave);
    ticker.drain(Drain::Cut);
    assert_eq!(connection.order_http1(), Order::End);
}

#[test]
fn a_drain_tells_those_that_have_spoken_first() {
    let ticker = Arc::new(Ticker::default());
    let [silent, begun] = [(), ()].map(|()| ticker.connection(Arc::new(Caller::alone())));
    begun.begin();
    for (drain, orders) in [
        (Drain::Begun, [Order::Stay, Order::Leave]),
        (Drain::All, [Order::Leave, Order::Leave]),
        (Drain::Begun, [Order::Leave, Order::Leave]),
        (Drain::Cut, [Order::End, Order::End]),
    ] {
        ticker.drain(drain);
        assert_eq!([silent.order(), begun.order()], orders, "{drain:?}");
    }
}

#[test]
fn the_sweeper_forgets_connections_that_are_gone() {
    let ticker = Arc::new(Ticker::default());
    drop(ticker.connection(Arc::new(Caller::alone())));
    ticker.tick(patience());
    assert!(ticker.connections.lock().unwrap().is_empty());
}
