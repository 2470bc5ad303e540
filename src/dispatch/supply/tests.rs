//! Daemons that share a rate, whatever their clocks, requests, delays and deaths are like.

use std::num::NonZeroU32;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;
use crate::model::Rates;
use crate::provider::Departures;
use crate::store::rates::AHEAD;

const MS: u64 = 1_000_000;

/// A line as the store keeps it, in microseconds.
#[derive(Default)]
struct Line(Option<i64>);

impl Line {
    fn take(&mut self, wish: &Wish, now: i64) -> Offer {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap();
        let from = self.0.get_or_insert(now).max(&mut (now - micros(wish.behind))).to_owned();
        let taken = from <= now + micros(AHEAD);
        if taken {
            self.0 = Some(from + micros(wish.length));
        }
        Offer { from, now, taken }
    }

    fn give_back(&mut self, rest: Rest) {
        if self.0 == Some(rest.end / 1_000) {
            self.0 = Some(rest.from / 1_000 + 1);
        }
    }
}

/// A request on its way to the store, and back once it was there.
struct Request {
    asked: Asked<FakeRelativeClock>,
    wish: Wish,
    arrives: u64,
    back: u64,
    offer: Option<Offer>,
}

struct Daemon {
    limiter: Limiter<FakeRelativeClock>,
    clock: FakeRelativeClock,
    /// Millionths that its clock is fast.
    fast: i64,
    request: Option<Request>,
    /// When messages that have their permits come to the socket.
    on_the_way: Vec<u64>,
    sleeps_until: u64,
}

struct World {
    limit: Limit,
    line: Line,
    daemons: Vec<Daemon>,
    now: u64,
    left: Vec<u64>,
}

/// How long things take at one daemon's turn.
#[derive(Debug, Clone, Copy)]
struct Delays {
    there: u64,
    back: u64,
    socket: u64,
}

impl World {
    fn new(rate: &str, burst: u32, fast: &[i64]) -> World {
        let limit = Limit { rates: Rates(vec![rate.parse().unwrap()]), burst: NonZeroU32::new(burst) };
        let daemons = fast.iter().map(|fast| daemon(&limit, *fast)).collect();
        World { limit, line: Line::default(), daemons, now: 0, left: Vec::new() }
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        for daemon in &mut self.daemons {
            let time = time as i64 + time as i64 * daemon.fast / 1_000_000;
            daemon.clock.advance(Duration::from_nanos(time.unsigned_abs()));
        }
        let mut arriving: Vec<&mut Request> =
            self.daemons.iter_mut().filter_map(|daemon| daemon.request.as_mut()).collect();
        arriving.retain(|request| request.offer.is_none() && request.arrives <= self.now);
        arriving.sort_by_key(|request| request.arrives);
        for request in arriving {
            // Its clock is somewhere else altogether.
            let now = 1_700_000_000_000_000 + i64::try_from(request.arrives / 1_000).unwrap();
            request.offer = Some(self.line.take(&request.wish, now));
        }
    }

    /// What a desk and its workers do, with `waiting` messages.
    fn turn(&mut self, who: usize, waiting: u32, delays: Delays) {
        let now = self.now;
        let daemon = &mut self.daemons[who];
        if daemon.sleeps_until > now {
            return;
        }
        let scope = daemon.limiter.scope();
        let (arrived, on_the_way) = daemon.on_the_way.iter().copied().partition(|at| *at <= now);
        daemon.on_the_way = on_the_way;
        let arrived: Vec<u64> = arrived;
        for at in arrived {
            if scope.wait(1).is_zero() {
                scope.depart(1);
                self.left.push(now);
            } else {
                daemon.on_the_way.push(at);
            }
        }
        let dealt = daemon.limiter.available().min(waiting);
        daemon.limiter.reserve(dealt);
        daemon.on_the_way.extend((0..u64::from(dealt)).map(|n| now + delays.socket * (n % 4 + 1) / 4));
        self.ask(who, waiting, delays);
    }

    /// Hears what the store answered, and asks for more.
    fn ask(&mut self, who: usize, waiting: u32, delays: Delays) {
        let now = self.now;
        let daemon = &mut self.daemons[who];
        if let Some(request) =
            daemon.request.take_if(|request| request.offer.is_some() && request.back <= now)
        {
            request.offer.into_iter().for_each(|offer| request.asked.receive(offer));
        }
        if daemon.request.is_none() {
            let mut order = Order::new();
            order.add(&daemon.limiter, waiting);
            order.rests.iter().for_each(|(_, rest)| self.line.give_back(*rest));
            daemon.request = order.wishes.pop().map(|(asked, wish)| Request {
                asked,
                wish,
                arrives: now + delays.there,
                back: now + delays.there + delays.back,
                offer: None,
            });
        }
    }

    fn crash(&mut self, who: usize) {
        let fast = self.daemons[who].fast;
        self.daemons[who] = daemon(&self.limit, fast);
    }

    /// How far the fullest window is above what it may hold.
    fn excess(&self) -> f64 {
        let rate = self.limit.rates.0[0].per_second();
        let (mut level, mut last, mut worst) = (0.0_f64, 0, 0.0_f64);
        for at in &self.left {
            level = (level - (at - last) as f64 / 1e9 * rate).max(0.0) + 1.0;
            last = *at;
            worst = worst.max(level);
        }
        worst - f64::from(self.limit.burst.unwrap().get())
    }

    /// The part of the rate that was reached over `time`, each daemon in turn every `step`.
    fn reached(&mut self, time: u64, step: u64, waiting: u32) -> f64 {
        let delays = Delays { there: MS, back: 2 * MS, socket: 2 * MS };
        let everyone = (0..self.daemons.len()).cycle();
        for (_, who) in (0..time / step).zip(everyone) {
            self.pass(step);
            self.turn(who, waiting, delays);
        }
        self.left.len() as f64 / (self.limit.rates.0[0].per_second() * time as f64 / 1e9)
    }
}

fn daemon(limit: &Limit, fast: i64) -> Daemon {
    let clock = FakeRelativeClock::default();
    let limiter = Limiter::with_clock(limit, Some("provider:relay"), clock.clone());
    Daemon { limiter, clock, fast, request: None, on_the_way: Vec::new(), sleeps_until: 0 }
}

#[test]
fn three_that_have_work_reach_the_rate() {
    let mut world = World::new("300/s", 30, &[0, 300, -300]);
    let reached = world.reached(30_000 * MS, MS, 75);
    assert!(reached > 0.98, "{reached}");
    assert!(world.excess() <= 1e-6);
}

#[test]
fn one_that_has_all_the_work_reaches_the_rate() {
    let mut world = World::new("300/s", 30, &[0]);
    let reached = world.reached(30_000 * MS, MS, 75);
    assert!(reached > 0.98, "{reached}");
}

#[test]
fn a_very_high_rate_is_reached_from_a_short_queue() {
    let mut world = World::new("100000/s", 10_000, &[0, 0]);
    let reached = world.reached(4_000 * MS, MS, 2_048);
    assert!(reached > 0.9, "{reached}");
}

/// A burst of one cannot make up for lateness, neither here nor with one daemon alone.
#[test]
fn a_slow_rate_loses_little() {
    let hour = 3_600_000 * MS;
    for (rate, time, step, waiting) in
        [("500000/d", hour / 12, MS, 2), ("14/s", hour / 60, MS, 3), ("10/h", 40 * hour, 100 * MS, 1)]
    {
        let mut world = World::new(rate, 1, &[0, 100, -100]);
        let reached = world.reached(time, step, waiting);
        assert!(reached > 0.88, "{rate}: {reached}");
        assert!(world.excess() <= 1e-6, "{rate}: {}", world.excess());
        let reached = World::new(rate, 1, &[0]).reached(time, step, waiting);
        assert!(reached > 0.96, "{rate}, alone: {reached}");
        let reached = World::new(rate, 2, &[0, 100, -100]).reached(time, step, waiting);
        assert!(reached > 0.95, "{rate}, two at once: {reached}");
    }
}

#[test]
fn a_message_alone_on_an_idle_line_leaves_soon() {
    for (rate, burst) in [("150/s", 15), ("30/s", 3), ("14/s", 1), ("1000/s", 100), ("5/s", 20)] {
        let mut world = World::new(rate, burst, &[0]);
        for messages in 1..=20 {
            // The line is idle before each.
            world.pass(10_000 * MS);
            let delays = Delays { there: 10 * MS, back: 10 * MS, socket: 5 * MS };
            let mut waiting = 1;
            for _ in 0..2_000 {
                world.pass(MS);
                let dealt = world.daemons[0].limiter.available().min(waiting);
                world.turn(0, waiting, delays);
                waiting -= dealt;
            }
            assert_eq!(world.left.len(), messages, "{rate}");
        }
        assert!(world.excess() <= 1e-6, "{rate}: {}", world.excess());
    }
}

#[test]
fn who_has_no_work_takes_nothing() {
    let mut world = World::new("300/s", 30, &[0, 0]);
    let delays = Delays { there: MS, back: MS, socket: MS };
    for _ in 0..2_000 {
        world.pass(MS);
        world.turn(0, 0, delays);
        world.turn(1, 75, delays);
    }
    assert!(world.daemons[0].request.is_none());
    assert!(world.left.len() > 560, "{}", world.left.len());
}

/// What a daemon took and cannot use goes back, so that nobody waits for six minutes.
#[test]
fn the_place_of_a_message_that_vanished_is_given_back() {
    let mut world = World::new("10/h", 1, &[0]);
    let delays = Delays { there: MS, back: MS, socket: MS };
    let held = |world: &World| {
        let scope = world.daemons[0].limiter.scope();
        scope.meters[0].share.as_ref().unwrap().ration().soon(scope.time(), 1_000_000_000)
    };
    while held(&world) == 0 {
        world.pass(10 * MS);
        world.ask(0, 1, delays);
    }
    let taken = world.line.0.unwrap();
    for _ in 0..400 {
        world.pass(10 * MS);
        world.ask(0, 0, delays);
    }
    assert!(world.line.0.unwrap() < taken - 350_000_000, "{:?} of {taken}", world.line.0);
}

#[derive(Debug, Clone)]
enum Fate {
    Turn,
    Sleep(u64),
    Crash,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        60 => Just(Fate::Turn),
        1 => (1u64..2_000).prop_map(Fate::Sleep),
        1 => Just(Fate::Crash),
    ]
}

proptest! {
    #[test]
    fn together_they_hold_the_rate_in_every_window(
        rate in 1u32..2_000,
        burst in 1u32..100,
        fast in prop::collection::vec(-400i64..400, 1..5),
        steps in prop::collection::vec(
            (0usize..4, 10u64..8_000, (0u64..30_000, 0u64..30_000, 0u64..150_000), fate()), 100..1_500),
    ) {
        let mut world = World::new(&format!("{rate}/s"), burst, &fast);
        for (who, step, (there, back, socket), fate) in steps {
            let who = who % world.daemons.len();
            world.pass(step * 1_000);
            match fate {
                Fate::Turn => {}
                Fate::Sleep(time) => world.daemons[who].sleeps_until = world.now + time * MS,
                Fate::Crash => world.crash(who),
            }
            let delays = Delays { there: there * 1_000, back: back * 1_000, socket: socket * 1_000 };
            world.turn(who, 100, delays);
        }
        prop_assert!(world.excess() <= 1e-6, "{}", world.excess());
    }
}
