//! Rate limits: one [`Limiter`] a scope (provider account, channel, campaign), asked by one desk alone.
//!
//! A limiter never lets more than rate × t + burst through in any t seconds, measured when messages leave. So a permit
//! is reserved when it is given and charged when its message leaves: one that was held up on its way to the socket
//! keeps its place in the burst, and must not meet there those that the time in between has earned. A limiter starts
//! drained, so that neither a restart nor a changed rate brings a second burst. What is counted are cells: one a message,
//! one a segment for SMS. A message of more cells than the burst goes when the burst is full, and what follows waits for
//! its debt, unless a restart comes between. Where several daemons share the scope, each of its rates has a [`Ration`]
//! besides.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Limit;
use super::ration::{Ration, nanos};
use crate::clock::Monotonic;
use crate::model::Rate;
use crate::provider::Departures;

/// A chunk leaves one message after the other, so it is a small part of the burst.
const CHUNKS_IN_BURST: u32 = 8;

/// All rates of one scope; each must hold.
#[derive(Debug)]
pub struct Limiter<C: Clock = Monotonic>(Arc<Scope<C>>);

#[derive(Debug)]
pub(super) struct Scope<C: Clock = Monotonic> {
    limit: Limit,
    pub(super) meters: Vec<Meter<C>>,
    /// Permits that were given and whose messages have not left.
    reserved: AtomicU32,
    clock: C,
    made: C::Instant,
}

/// One GCRA, and what it had left when it was last charged: governor cannot be asked without being charged.
#[derive(Debug)]
pub(super) struct Meter<C: Clock = Monotonic> {
    gcra: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    burst: u32,
    cell: Duration,
    level: Mutex<Level<C::Instant>>,
    pub(super) share: Option<Share>,
}

/// Our part of a rate that several daemons share.
#[derive(Debug)]
pub(super) struct Share {
    /// The rate's line in the store.
    pub(super) line: Arc<str>,
    ration: Mutex<Ration>,
}

#[derive(Debug, Clone, Copy)]
struct Level<I> {
    /// Cells that were left at `at`.
    left: u32,
    at: I,
    /// Cells that left and that the GCRA could not be charged with yet.
    debt: u32,
}

impl Limiter {
    /// `shared` names the scope to the other daemons, as `provider:relay`; `None` where there are none.
    pub fn new(limit: &Limit, shared: Option<&str>) -> Self {
        Self::with_clock(limit, shared, Monotonic::start())
    }

    /// Where the permits of this scope are charged; `None` without a limit.
    pub fn departures(&self) -> Option<Arc<dyn Departures>> {
        (!self.0.meters.is_empty()).then(|| self.0.clone() as Arc<dyn Departures>)
    }
}

impl<C: Clock + Clone> Limiter<C> {
    pub(super) fn with_clock(limit: &Limit, shared: Option<&str>, clock: C) -> Self {
        let meter = |rate: &Rate| {
            let line = shared.map(|scope| format!("{scope} {rate}"));
            Meter::new(*rate, limit.burst, line, &clock)
        };
        let mut meters: Vec<_> = limit.rates.0.iter().filter_map(meter).collect();
        // The slowest is asked first: what it does not let through is not asked of the others.
        meters.sort_by_key(|meter| std::cmp::Reverse(meter.cell));
        let (limit, made) = (limit.clone(), clock.now());
        Limiter(Arc::new(Scope { limit, meters, reserved: AtomicU32::new(0), clock, made }))
    }

    pub(super) fn scope(&self) -> &Arc<Scope<C>> {
        &self.0
    }

    /// What it was made of.
    pub fn limit(&self) -> &Limit {
        &self.0.limit
    }

    /// How many cells may go now; `u32::MAX` without a limit.
    pub fn available(&self) -> u32 {
        let (now, reserved) = (self.0.clock.now(), self.0.reserved());
        let left = self.0.meters.iter().map(|meter| meter.left(now).min(meter.granted(self.0.time())));
        left.min().map_or(u32::MAX, |left| left.saturating_sub(reserved))
    }

    /// How many messages may go to one session at a time.
    pub fn chunk(&self) -> u32 {
        let chunks = self.0.meters.iter().map(|meter| (meter.burst / CHUNKS_IN_BURST).max(1));
        chunks.min().unwrap_or(u32::MAX)
    }

    /// How many cells must be available for a message of `cells`.
    pub fn needed(&self, cells: u32) -> u32 {
        self.0.needed(cells)
    }

    /// Reserves cells, for which [`Limiter::available`] has just shown room; they are charged when their message departs.
    pub fn reserve(&self, cells: u32) {
        if !self.0.meters.is_empty() {
            self.0.reserved.fetch_add(cells, Ordering::AcqRel);
        }
    }

    /// How long until a message of `cells` may go, if what is reserved leaves at once.
    pub fn wait(&self, cells: u32) -> Duration {
        let (now, reserved) = (self.0.clock.now(), self.0.reserved());
        let time = self.0.time();
        let waits = self
            .0
            .meters
            .iter()
            .map(|meter| meter.wait(now, reserved, cells).max(meter.due(time, reserved, cells)));
        waits.max().unwrap_or(Duration::ZERO)
    }

    /// Whether nothing is remembered: the limiter may be dropped and made anew without letting more through.
    pub fn is_rested(&self) -> bool {
        let now = self.0.clock.now();
        let rests = |meter: &Meter<C>| {
            meter.left(now) == meter.burst
                && meter.share.as_ref().is_none_or(|share| share.ration().is_empty())
        };
        self.0.reserved() == 0 && self.0.meters.iter().all(rests)
    }
}

impl<C: Clock> Scope<C> {
    /// Nanoseconds by its clock.
    pub(super) fn time(&self) -> i64 {
        nanos(self.clock.now().duration_since(self.made).into())
    }

    pub(super) fn reserved(&self) -> u32 {
        self.reserved.load(Ordering::Acquire)
    }

    fn charge(&self, cells: u32, ration: impl Fn(&mut Ration, i64, u32)) {
        for meter in &self.meters {
            meter.charge(self.clock.now(), cells);
            if let Some(share) = &meter.share {
                ration(&mut share.ration(), self.time(), cells);
            }
        }
        self.reserved.fetch_sub(cells, Ordering::AcqRel);
    }

    /// Cells that this daemon's own pace lets leave within `time` in `meter`, those that are reserved included.
    pub(super) fn paced(&self, meter: &Meter<C>, time: Duration) -> u32 {
        let cells = time.as_nanos() / meter.cell.as_nanos().max(1);
        meter.left(self.clock.now()).saturating_add(u32::try_from(cells).unwrap_or(u32::MAX))
    }

    fn needed(&self, cells: u32) -> u32 {
        let time = self.time();
        let full = |meter: &Meter<C>| {
            let ration = meter.share.as_ref().map(Share::ration);
            ration.map_or(meter.burst, |ration| ration.full(time).min(meter.burst))
        };
        self.meters.iter().map(full).fold(cells, u32::min)
    }
}

impl<C: Clock> Departures for Scope<C>
where
    Self: std::fmt::Debug + Send + Sync,
{
    fn depart(&self, cells: u32) {
        self.charge(cells, Ration::spend);
    }

    fn stay(&self, cells: u32) {
        self.charge(cells, Ration::lose);
    }

    fn wait(&self, cells: u32) -> Duration {
        let needed = self.needed(cells);
        let waits = self.meters.iter().filter_map(|meter| meter.share.as_ref()).map(|share| {
            let wait = share.ration().wait(self.time(), needed);
            Duration::from_nanos(wait.unsigned_abs())
        });
        waits.max().unwrap_or(Duration::ZERO)
    }
}

impl Share {
    pub(super) fn ration(&self) -> MutexGuard<'_, Ration> {
        self.ration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock + Clone> Meter<C> {
    fn new(rate: Rate, burst: Option<NonZeroU32>, line: Option<String>, clock: &C) -> Option<Self> {
        let burst = burst.map_or_else(|| rate.default_burst(), NonZeroU32::get);
        let cell = rate.period.duration() / rate.count;
        let quota = Quota::with_period(cell)?.allow_burst(NonZeroU32::new(burst)?);
        let gcra = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        // A fresh GCRA holds its whole burst.
        gcra.check_n(NonZeroU32::new(burst)?).ok()?.ok()?;
        let level = Mutex::new(Level { left: 0, at: clock.now(), debt: 0 });
        let share =
            line.map(|line| Share { line: line.into(), ration: Mutex::new(Ration::new(nanos(cell), burst)) });
        Some(Meter { gcra, burst, cell, level, share })
    }
}

impl<C: Clock> Meter<C> {
    fn level(&self) -> MutexGuard<'_, Level<C::Instant>> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self, now: C::Instant) -> u32 {
        self.regained(*self.level(), now)
    }

    /// Cells that the others leave us now.
    fn granted(&self, time: i64) -> u32 {
        self.share.as_ref().map_or(u32::MAX, |share| share.ration().left(time))
    }

    /// How long until the others leave us `cells` behind those that are reserved.
    fn due(&self, time: i64, reserved: u32, cells: u32) -> Duration {
        let Some(share) = &self.share else { return Duration::ZERO };
        let ration = share.ration();
        let cells = cells.min(ration.full(time)).saturating_add(reserved);
        Duration::from_nanos(ration.wait(time, cells).unsigned_abs())
    }

    fn regained(&self, Level { left, at, debt }: Level<C::Instant>, now: C::Instant) -> u32 {
        let since: Duration = now.duration_since(at).into();
        let cells = u32::try_from(since.as_nanos() / self.cell.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.burst.min(left.saturating_add(cells.saturating_sub(debt)))
    }

    fn charge(&self, now: C::Instant, cells: u32) {
        let mut level = self.level();
        // The GCRA knows no debt: what it regained while one was paid off is taken from it first.
        let true_left = (level.debt > 0).then(|| self.regained(*level, now));
        let (mut charged, mut left) = (0, u32::MAX);
        while charged < cells || true_left.is_some_and(|true_left| left > true_left.saturating_sub(cells)) {
            let Ok(snapshot) = self.gcra.check() else {
                left = 0;
                break;
            };
            left = snapshot.remaining_burst_capacity();
            charged += 1;
        }
        let debt = cells.saturating_sub(true_left.unwrap_or(charged));
        *level = Level { left, at: now, debt };
    }

    fn wait(&self, now: C::Instant, reserved: u32, cells: u32) -> Duration {
        let needed = reserved.saturating_add(cells).min(self.burst);
        if self.left(now) >= reserved.saturating_add(cells.min(self.burst)) {
            return Duration::ZERO;
        }
        let Level { left, at, debt } = *self.level();
        let missing = needed.saturating_sub(left).saturating_add(debt).max(1);
        let since: Duration = now.duration_since(at).into();
        match self.cell.saturating_mul(missing).saturating_sub(since) {
            // Everything is reserved: the next cell counts from a departure that is still to come.
            Duration::ZERO => self.cell,
            wait => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Rates;

    fn limiter(rate: &str, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rates = Rates(rate.split(',').map(|rate| rate.parse().unwrap()).collect());
        let limit = Limit { rates, burst: NonZeroU32::new(burst) };
        (Limiter::with_clock(&limit, None, clock.clone()), clock)
    }

    fn depart(limiter: &Limiter<FakeRelativeClock>, n: u32) {
        for _ in 0..n {
            limiter.0.depart(1);
        }
    }

    #[test]
    fn starts_drained_and_fills_to_its_burst() {
        let (limiter, clock) = limiter("50/s", 5);
        assert_eq!(limiter.available(), 0);
        clock.advance(Duration::from_millis(20));
        assert_eq!(limiter.available(), 1);
        clock.advance(Duration::from_secs(9));
        assert_eq!(limiter.available(), 5);
        assert!(limiter.is_rested());
    }

    #[test]
    fn the_narrowest_of_several_rates_holds() {
        let (limiter, clock) = limiter("100/s,120/m", 10);
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.available(), 10);
        limiter.reserve(10);
        depart(&limiter, 10);
        clock.advance(Duration::from_millis(500));
        assert_eq!(limiter.available(), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limiter = Limiter::new(&Limit::default(), Some("channel:email"));
        limiter.reserve(1_000_000);
        assert_eq!((limiter.available(), limiter.wait(1)), (u32::MAX, Duration::ZERO));
        assert!(limiter.departures().is_none());
    }

    #[test]
    fn what_has_not_left_keeps_its_place() {
        let (limiter, clock) = limiter("50/s", 5);
        clock.advance(Duration::from_secs(1));
        limiter.reserve(2);
        clock.advance(Duration::from_secs(1));
        assert_eq!(limiter.available(), 3);
        depart(&limiter, 2);
        clock.advance(Duration::from_millis(20));
        assert_eq!(limiter.available(), 4);
    }

    #[test]
    fn waits_are_never_nothing_while_nothing_may_go() {
        let (limiter, clock) = limiter("10/s", 1);
        clock.advance(Duration::from_secs(1));
        limiter.reserve(1);
        assert_eq!((limiter.available(), limiter.wait(1)), (0, Duration::from_millis(100)));
        depart(&limiter, 1);
        clock.advance(Duration::from_millis(40));
        assert_eq!(limiter.wait(1), Duration::from_millis(60));
    }

    /// A timer that fires a millisecond late costs nothing where the burst allows catching up.
    #[test]
    fn late_wakes_do_not_lower_the_rate() {
        let (limiter, clock) = limiter("50/s", 5);
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while now < Duration::from_secs(60) {
            let step = limiter.wait(1) + Duration::from_millis(1);
            clock.advance(step);
            now += step;
            let n = limiter.available().min(1);
            limiter.reserve(n);
            depart(&limiter, n);
            sent += n;
        }
        assert!((2_990..=3_005).contains(&sent), "{sent}");
    }

    #[test]
    fn a_message_of_more_cells_than_the_burst_goes_and_leaves_its_debt() {
        let (limiter, clock) = limiter("10/s", 2);
        clock.advance(Duration::from_secs(1));
        assert_eq!((limiter.available(), limiter.needed(5)), (2, 2));
        limiter.reserve(5);
        limiter.0.depart(5);
        assert_eq!((limiter.available(), limiter.wait(1)), (0, Duration::from_millis(400)));
        clock.advance(Duration::from_millis(400));
        assert_eq!(limiter.available(), 1);
        limiter.reserve(1);
        limiter.0.depart(1);
        clock.advance(Duration::from_millis(100));
        assert_eq!(limiter.available(), 1);
    }

    proptest! {
        /// A message of more cells than the burst counts as if it had waited for them: over time the rate holds.
        #[test]
        fn messages_of_many_cells_hold_the_rate(sizes in prop::collection::vec(1u32..9, 1..200)) {
            let (limiter, clock) = limiter("100/s", 4);
            let (mut now, mut sent) = (Duration::ZERO, 0u64);
            for cells in sizes {
                while limiter.available() < limiter.needed(cells) {
                    let wait = limiter.wait(cells);
                    prop_assert!(!wait.is_zero());
                    clock.advance(wait);
                    now += wait;
                }
                limiter.reserve(cells);
                limiter.0.depart(cells);
                prop_assert!(u128::from(sent) * 1_000 <= now.as_millis() * 100 + 4_000);
                sent += u64::from(cells);
            }
        }

        /// Whatever the desk's rhythm, and however long messages take from their permit to the socket.
        #[test]
        fn holds_in_every_window(
            rate in 1u32..2_000,
            burst in 1u32..50,
            steps in prop::collection::vec((1u64..5_000, 0u64..20_000), 50..300),
        ) {
            let (limiter, clock) = limiter(&format!("{rate}/s"), burst);
            let (mut now, mut on_the_way, mut left) = (0u64, Vec::new(), Vec::new());
            for (step, delay) in steps {
                let until = now + step;
                on_the_way.sort_unstable();
                while on_the_way.first().is_some_and(|leaves| *leaves <= until) {
                    let leaves: u64 = on_the_way.remove(0);
                    clock.advance(Duration::from_micros(leaves - now));
                    now = leaves;
                    limiter.0.depart(1);
                    left.push(leaves);
                }
                clock.advance(Duration::from_micros(until - now));
                now = until;
                let n = limiter.available();
                limiter.reserve(n);
                on_the_way.extend(std::iter::repeat_n(now + delay, n as usize));
            }
            for from in 0..left.len() {
                for to in from..left.len() {
                    let allowed = u64::from(rate) * (left[to] - left[from]) + u64::from(burst) * 1_000_000;
                    prop_assert!((to - from + 1) as u64 * 1_000_000 <= allowed);
                }
            }
        }
    }
}
