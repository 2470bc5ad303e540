//! Rate limits: one [`Limiter`] a scope (provider account, channel, campaign), asked by one desk alone.
//!
//! A limiter never lets more than rate × t + burst through in any t seconds, measured when messages leave. So a permit
//! is reserved when it is given and charged when its message leaves: one that was held up on its way to the socket
//! keeps its place in the burst, and must not meet there those that the time in between has earned. A limiter starts
//! drained, so that neither a restart nor a changed rate brings a second burst.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::model::{Rate, Rates};
use crate::provider::Departures;

/// A chunk leaves one message after the other, so it is a small part of the burst.
const CHUNKS_IN_BURST: u32 = 8;

/// All rates of one scope; each must hold.
#[derive(Debug)]
pub struct Limiter<C: Clock = DefaultClock>(Arc<Scope<C>>);

#[derive(Debug)]
struct Scope<C: Clock> {
    meters: Vec<Meter<C>>,
    /// Permits that were given and whose messages have not left.
    reserved: AtomicU32,
    clock: C,
}

/// One GCRA, and what it had left when it was last charged: governor cannot be asked without being charged.
#[derive(Debug)]
struct Meter<C: Clock> {
    gcra: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    burst: u32,
    cell: Duration,
    left: Mutex<(u32, C::Instant)>,
}

impl Limiter {
    pub fn new(rates: &Rates, burst: Option<NonZeroU32>) -> Self {
        Self::with_clock(rates, burst, DefaultClock::default())
    }

    /// Where the permits of this scope are charged; `None` without a limit.
    pub fn departures(&self) -> Option<Arc<dyn Departures>> {
        (!self.0.meters.is_empty()).then(|| self.0.clone() as Arc<dyn Departures>)
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(rates: &Rates, burst: Option<NonZeroU32>, clock: C) -> Self {
        let meters = rates.0.iter().filter_map(|rate| Meter::new(*rate, burst, &clock)).collect();
        Limiter(Arc::new(Scope { meters, reserved: AtomicU32::new(0), clock }))
    }

    /// How many messages may go now; `u32::MAX` without a limit.
    pub fn available(&self) -> u32 {
        let (now, reserved) = (self.0.clock.now(), self.0.reserved.load(Ordering::Acquire));
        let meters = self.0.meters.iter().map(|meter| meter.left(now).saturating_sub(reserved));
        meters.min().unwrap_or(u32::MAX)
    }

    /// How many messages may go to one session at a time.
    pub fn chunk(&self) -> u32 {
        let chunks = self.0.meters.iter().map(|meter| (meter.burst / CHUNKS_IN_BURST).max(1));
        chunks.min().unwrap_or(u32::MAX)
    }

    /// Reserves `n`, which [`Limiter::available`] has just promised; each is charged when it departs.
    pub fn reserve(&self, n: u32) {
        if !self.0.meters.is_empty() {
            self.0.reserved.fetch_add(n, Ordering::AcqRel);
        }
    }

    /// How long until at least one message may go, if what is reserved leaves at once.
    pub fn wait(&self) -> Duration {
        let (now, reserved) = (self.0.clock.now(), self.0.reserved.load(Ordering::Acquire));
        self.0.meters.iter().map(|meter| meter.wait(now, reserved)).max().unwrap_or(Duration::ZERO)
    }

    /// Whether nothing is remembered: the limiter may be dropped and made anew without letting more through.
    pub fn is_rested(&self) -> bool {
        let now = self.0.clock.now();
        self.0.reserved.load(Ordering::Acquire) == 0
            && self.0.meters.iter().all(|meter| meter.left(now) == meter.burst)
    }
}

impl<C: Clock> Departures for Scope<C>
where
    Self: std::fmt::Debug + Send + Sync,
{
    fn depart(&self) {
        for meter in &self.meters {
            meter.charge(self.clock.now());
        }
        self.reserved.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<C: Clock + Clone> Meter<C> {
    fn new(rate: Rate, burst: Option<NonZeroU32>, clock: &C) -> Option<Self> {
        let burst = burst.map_or_else(|| rate.default_burst(), NonZeroU32::get);
        let cell = rate.period.duration() / rate.count;
        let quota = Quota::with_period(cell)?.allow_burst(NonZeroU32::new(burst)?);
        let gcra = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        // A fresh GCRA holds its whole burst.
        gcra.check_n(NonZeroU32::new(burst)?).ok()?.ok()?;
        Some(Meter { gcra, burst, cell, left: Mutex::new((0, clock.now())) })
    }
}

impl<C: Clock> Meter<C> {
    fn left(&self, now: C::Instant) -> u32 {
        let (left, at) = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let since: Duration = now.duration_since(at).into();
        let regained = since.as_nanos() / self.cell.as_nanos().max(1);
        self.burst.min(left.saturating_add(u32::try_from(regained).unwrap_or(u32::MAX)))
    }

    fn charge(&self, now: C::Instant) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // Refused only where it was not reserved; then a whole cell must pass.
        *left = (self.gcra.check().map_or(0, |snapshot| snapshot.remaining_burst_capacity()), now);
    }

    fn wait(&self, now: C::Instant, reserved: u32) -> Duration {
        if self.left(now) > reserved {
            return Duration::ZERO;
        }
        let (left, at) = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = (reserved.saturating_add(1)).min(self.burst).saturating_sub(left).max(1);
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

    fn limiter(rate: &str, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rates = Rates(rate.split(',').map(|rate| rate.parse().unwrap()).collect());
        (Limiter::with_clock(&rates, NonZeroU32::new(burst), clock.clone()), clock)
    }

    fn depart(limiter: &Limiter<FakeRelativeClock>, n: u32) {
        for _ in 0..n {
            limiter.0.depart();
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
        let limiter = Limiter::new(&Rates::default(), None);
        limiter.reserve(1_000_000);
        assert_eq!((limiter.available(), limiter.wait()), (u32::MAX, Duration::ZERO));
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
        assert_eq!((limiter.available(), limiter.wait()), (0, Duration::from_millis(100)));
        depart(&limiter, 1);
        clock.advance(Duration::from_millis(40));
        assert_eq!(limiter.wait(), Duration::from_millis(60));
    }

    /// A timer that fires a millisecond late costs nothing where the burst allows catching up.
    #[test]
    fn late_wakes_do_not_lower_the_rate() {
        let (limiter, clock) = limiter("50/s", 5);
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while now < Duration::from_secs(60) {
            let step = limiter.wait() + Duration::from_millis(1);
            clock.advance(step);
            now += step;
            let n = limiter.available().min(1);
            limiter.reserve(n);
            depart(&limiter, n);
            sent += n;
        }
        assert!((2_990..=3_005).contains(&sent), "{sent}");
    }

    proptest! {
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
                    limiter.0.depart();
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
