//! Rate limits: one [`Limiter`] a scope (provider account, channel, campaign), asked by one dispatcher alone.
//!
//! A limiter never lets more than rate × t + burst through in any t seconds. It starts drained, so that neither a
//! restart nor a changed rate brings a second burst.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::model::{Rate, Rates};

/// All rates of one scope; each must hold.
#[derive(Debug)]
pub struct Limiter<C: Clock = DefaultClock> {
    meters: Vec<Meter<C>>,
    clock: C,
}

/// One GCRA, and what it had left when it was last asked: governor cannot refund, so the dispatcher looks at every
/// scope before it takes from any.
#[derive(Debug)]
struct Meter<C: Clock> {
    gcra: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    burst: u32,
    cell: Duration,
    left: u32,
    at: C::Instant,
}

impl Limiter {
    pub fn new(rates: &Rates, burst: Option<NonZeroU32>) -> Self {
        Self::with_clock(rates, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(rates: &Rates, burst: Option<NonZeroU32>, clock: C) -> Self {
        let meters = rates.0.iter().filter_map(|rate| Meter::new(*rate, burst, &clock)).collect();
        Limiter { meters, clock }
    }

    /// How many messages may go now; `u32::MAX` without a limit.
    pub fn available(&self) -> u32 {
        let now = self.clock.now();
        self.meters.iter().map(|meter| meter.available(now)).min().unwrap_or(u32::MAX)
    }

    /// Takes `n`, which [`Limiter::available`] has just promised.
    pub fn take(&mut self, n: u32) {
        for meter in &mut self.meters {
            meter.take(n, self.clock.now());
        }
    }

    /// How long until at least one message may go.
    pub fn wait(&self) -> Duration {
        let now = self.clock.now();
        self.meters.iter().map(|meter| meter.wait(now)).max().unwrap_or(Duration::ZERO)
    }

    /// Whether nothing is remembered: the limiter may be dropped and made anew without letting more through.
    pub fn is_rested(&self) -> bool {
        let now = self.clock.now();
        self.meters.iter().all(|meter| meter.available(now) == meter.burst)
    }
}

impl<C: Clock + Clone> Meter<C> {
    fn new(rate: Rate, burst: Option<NonZeroU32>, clock: &C) -> Option<Self> {
        let burst = burst.map_or_else(|| rate.default_burst(), NonZeroU32::get);
        let cell = rate.period.duration() / rate.count;
        let quota = Quota::with_period(cell)?.allow_burst(NonZeroU32::new(burst)?);
        let gcra = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        let mut meter = Meter { gcra, burst, cell, left: 0, at: clock.now() };
        meter.take(burst, clock.now());
        Some(meter)
    }

    fn available(&self, now: C::Instant) -> u32 {
        let since: Duration = now.duration_since(self.at).into();
        let regained = since.as_nanos() / self.cell.as_nanos().max(1);
        self.burst.min(self.left.saturating_add(u32::try_from(regained).unwrap_or(u32::MAX)))
    }

    fn take(&mut self, n: u32, now: C::Instant) {
        let Some(n) = NonZeroU32::new(n) else { return };
        self.at = now;
        self.left = match self.gcra.check_n(n) {
            Ok(Ok(snapshot)) => snapshot.remaining_burst_capacity(),
            // Not promised after all: wait for a whole cell.
            Ok(Err(_)) | Err(_) => 0,
        };
    }

    fn wait(&self, now: C::Instant) -> Duration {
        let since: Duration = now.duration_since(self.at).into();
        if self.left > 0 { Duration::ZERO } else { self.cell.saturating_sub(since) }
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
        let (mut limiter, clock) = limiter("100/s,120/m", 10);
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.available(), 10);
        limiter.take(10);
        clock.advance(Duration::from_millis(500));
        assert_eq!(limiter.available(), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (mut limiter, _) = (Limiter::new(&Rates::default(), None), ());
        limiter.take(1_000_000);
        assert_eq!((limiter.available(), limiter.wait()), (u32::MAX, Duration::ZERO));
    }

    /// A timer that fires a millisecond late costs nothing where the burst allows catching up.
    #[test]
    fn late_wakes_do_not_lower_the_rate() {
        let (mut limiter, clock) = limiter("50/s", 5);
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while now < Duration::from_secs(60) {
            let step = limiter.wait() + Duration::from_millis(1);
            clock.advance(step);
            now += step;
            let n = limiter.available().min(1);
            limiter.take(n);
            sent += n;
        }
        assert!((2_990..=3_005).contains(&sent), "{sent}");
    }

    proptest! {
        /// Whatever the dispatcher's rhythm.
        #[test]
        fn holds_in_every_window(rate in 1u32..2_000, burst in 1u32..50, steps in prop::collection::vec(1u64..5_000, 50..300)) {
            let (mut limiter, clock) = limiter(&format!("{rate}/s"), burst);
            let mut now = 0u64;
            let mut sent: Vec<(u64, u32)> = Vec::new();
            for step in steps {
                clock.advance(Duration::from_micros(step));
                now += step;
                let n = limiter.available();
                limiter.take(n);
                sent.push((now, n));
            }
            for from in 0..sent.len() {
                let mut sum = 0u64;
                for (at, n) in &sent[from..] {
                    sum += u64::from(*n);
                    let allowed = f64::from(rate) * ((at - sent[from].0) as f64 / 1e6) + f64::from(burst);
                    prop_assert!(sum as f64 <= allowed + 1e-6, "{sum} > {allowed}");
                }
            }
        }
    }
}
