//! Rate limits: one [`Limiter`] a scope (provider account, channel, campaign), asked by one dispatcher alone.
//!
//! A limiter never lets more than rate × t + burst through in any t seconds, measured when messages leave. So a permit
//! that was given and is not yet spent keeps its place in the burst: a message that was held up on its way to the socket
//! must not meet there those that the time in between has earned. A limiter starts drained, so that neither a restart
//! nor a changed rate brings a second burst.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Rate, Rates};
use crate::provider::Departures;

/// A chunk leaves one message after the other, so it is a small part of the burst.
const CHUNKS_IN_BURST: u32 = 8;

/// All rates of one scope; each must hold.
#[derive(Debug)]
pub struct Limiter {
    meters: Vec<Meter>,
    unspent: u32,
    departures: Arc<Departures>,
}

/// A leaky bucket in exact numbers: credit grows by the rate's count every nanosecond, and a message costs the rate's
/// period in nanoseconds.
#[derive(Debug)]
struct Meter {
    rate: Rate,
    burst: u32,
    credit: u128,
    at: Instant,
}

impl Limiter {
    pub fn new(rates: &Rates, burst: Option<NonZeroU32>, now: Instant) -> Self {
        let burst = |rate: &Rate| burst.map_or_else(|| rate.default_burst(), NonZeroU32::get);
        let meter = |rate: &Rate| Meter { rate: *rate, burst: burst(rate), credit: 0, at: now };
        Limiter { meters: rates.0.iter().map(meter).collect(), unspent: 0, departures: Arc::default() }
    }

    /// How many messages may go now; `u32::MAX` without a limit.
    pub fn available(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.meters.iter().map(Meter::available).min().unwrap_or(u32::MAX)
    }

    /// How many messages may go to one session at a time.
    pub fn chunk(&self) -> u32 {
        let chunks = self.meters.iter().map(|meter| (meter.burst / CHUNKS_IN_BURST).max(1));
        chunks.min().unwrap_or(u32::MAX)
    }

    /// Takes `n`, which [`Limiter::available`] has just promised.
    pub fn take(&mut self, n: u32) {
        if self.meters.is_empty() {
            return;
        }
        self.unspent += n;
        for meter in &mut self.meters {
            meter.credit = meter.credit.saturating_sub(u128::from(n) * meter.cost());
        }
    }

    /// Where the permits of this scope are spent; `None` without a limit.
    pub fn departures(&self) -> Option<Arc<Departures>> {
        (!self.meters.is_empty()).then(|| self.departures.clone())
    }

    /// How long until at least one message may go.
    pub fn wait(&self) -> Duration {
        self.meters.iter().map(Meter::wait).max().unwrap_or(Duration::ZERO)
    }

    /// Whether nothing is remembered: the limiter may be dropped and made anew without letting more through.
    pub fn is_rested(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.meters.iter().all(|meter| meter.available() == meter.burst)
    }

    fn advance(&mut self, now: Instant) {
        if self.meters.is_empty() {
            return;
        }
        let mut spent = self.departures.drain();
        spent.sort_unstable();
        for at in spent {
            self.earn_until(at);
            self.unspent = self.unspent.saturating_sub(1);
        }
        self.earn_until(now);
    }

    fn earn_until(&mut self, now: Instant) {
        for meter in &mut self.meters {
            meter.earn_until(now, self.unspent);
        }
    }
}

impl Meter {
    fn cost(&self) -> u128 {
        self.rate.period.duration().as_nanos()
    }

    fn earn_until(&mut self, now: Instant, unspent: u32) {
        let earned = now.saturating_duration_since(self.at).as_nanos() * u128::from(self.rate.count);
        let most = u128::from(self.burst.saturating_sub(unspent)) * self.cost();
        self.credit = (self.credit + earned).min(most);
        self.at = self.at.max(now);
    }

    fn available(&self) -> u32 {
        u32::try_from(self.credit / self.cost()).unwrap_or(u32::MAX)
    }

    fn wait(&self) -> Duration {
        let missing = self.cost().saturating_sub(self.credit).div_ceil(u128::from(self.rate.count));
        Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(rate: &str, burst: u32) -> (Limiter, Instant) {
        let now = Instant::now();
        let rates = Rates(rate.split(',').map(|rate| rate.parse().unwrap()).collect());
        (Limiter::new(&rates, NonZeroU32::new(burst), now), now)
    }

    fn spend(limiter: &Limiter, n: u32, at: Instant) {
        for _ in 0..n {
            limiter.departures().unwrap().note(at);
        }
    }

    #[test]
    fn starts_drained_and_fills_to_its_burst() {
        let (mut limiter, start) = limiter("50/s", 5);
        assert_eq!(limiter.available(start), 0);
        assert_eq!(limiter.available(start + Duration::from_millis(20)), 1);
        assert_eq!(limiter.available(start + Duration::from_secs(9)), 5);
        assert!(limiter.is_rested(start + Duration::from_secs(9)));
    }

    #[test]
    fn the_narrowest_of_several_rates_holds() {
        let (mut limiter, start) = limiter("100/s,120/m", 10);
        let minute = start + Duration::from_secs(60);
        assert_eq!(limiter.available(minute), 10);
        limiter.take(10);
        spend(&limiter, 10, minute);
        assert_eq!(limiter.available(minute + Duration::from_millis(500)), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let now = Instant::now();
        let mut limiter = Limiter::new(&Rates::default(), None, now);
        limiter.take(1_000_000);
        assert_eq!((limiter.available(now), limiter.wait()), (u32::MAX, Duration::ZERO));
    }

    #[test]
    fn what_has_not_left_keeps_its_place() {
        let (mut limiter, start) = limiter("50/s", 5);
        assert_eq!(limiter.available(start + Duration::from_secs(1)), 5);
        limiter.take(2);
        assert_eq!(limiter.available(start + Duration::from_secs(2)), 3);
        spend(&limiter, 2, start + Duration::from_secs(2));
        assert_eq!(limiter.available(start + Duration::from_millis(2_020)), 4);
    }

    /// A timer that fires a millisecond late costs nothing where the burst allows catching up.
    #[test]
    fn late_wakes_do_not_lower_the_rate() {
        let (mut limiter, start) = limiter("50/s", 5);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(60) {
            now += limiter.wait() + Duration::from_millis(1);
            let n = limiter.available(now).min(1);
            limiter.take(n);
            spend(&limiter, n, now + Duration::from_micros(300));
            sent += n;
        }
        assert!((2_990..=3_005).contains(&sent), "{sent}");
    }

    proptest! {
        /// Whatever the dispatcher's rhythm, and however long messages take from their permit to the socket.
        #[test]
        fn holds_in_every_window(
            rate in 1u32..2_000,
            burst in 1u32..50,
            steps in prop::collection::vec((1u64..5_000, 0u64..20_000), 50..300),
        ) {
            let (mut limiter, start) = limiter(&format!("{rate}/s"), burst);
            let at = |micros| start + Duration::from_micros(micros);
            let (mut now, mut on_the_way, mut left) = (0u64, Vec::new(), Vec::new());
            for (step, delay) in steps {
                now += step;
                on_the_way.retain(|leaves| {
                    if *leaves <= now {
                        limiter.departures().unwrap().note(at(*leaves));
                        left.push(*leaves);
                    }
                    *leaves > now
                });
                let n = limiter.available(at(now));
                limiter.take(n);
                on_the_way.extend(std::iter::repeat_n(now + delay, n as usize));
            }
            left.extend(on_the_way);
            left.sort_unstable();
            for from in 0..left.len() {
                for to in from..left.len() {
                    let allowed = u64::from(rate) * (left[to] - left[from]) + u64::from(burst) * 1_000_000;
                    prop_assert!((to - from + 1) as u64 * 1_000_000 <= allowed);
                }
            }
        }
    }
}
