//! When to try again: the schedule of a message's retries, and the pace of redialling a lost service.
//!
//! Pure: the random number is an argument (uniform in 0..1), and nothing here waits.

use std::time::Duration;

/// The longest wait that a provider may ask for.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Waits before the second, third, ... attempt of a message, spread by ±20 % so that what failed together does
/// not come back together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Schedule {
    pub fn new(waits: Vec<Duration>) -> Self {
        Self(waits)
    }

    /// How long to wait after `attempt` (1 for the first) failed; `None` when the schedule is exhausted.
    ///
    /// `retry_after` is what the provider asked for. It only ever lengthens the wait, up to 24 h; what it lengthens
    /// is spread upwards alone, since a provider that is asked too early counts that against the account.
    pub fn delay(&self, attempt: u16, retry_after: Option<Duration>, random: f64) -> Option<Duration> {
        let base = *self.0.get(usize::from(attempt).checked_sub(1)?)?;
        let spread = 0.4 * random.clamp(0.0, 1.0);
        Some(match retry_after {
            Some(asked) => asked.min(LONGEST).max(base).mul_f64(1.0 + spread / 2.0).min(LONGEST.max(base)),
            None => base.mul_f64(0.8 + spread),
        })
    }
}

/// The pace of dialling a service that went away: exponential from 0.5 s to 30 s with full jitter, so that many
/// daemons do not dial a returning service at the same instant.
#[derive(Debug, Clone, Default)]
pub struct Redial {
    failures: u32,
}

impl Redial {
    const FIRST: Duration = Duration::from_millis(500);
    const CEILING: Duration = Duration::from_secs(30);

    /// How long to wait after one more failure.
    pub fn delay(&mut self, random: f64) -> Duration {
        let ceiling = Self::FIRST.saturating_mul(1 << self.failures.min(6)).min(Self::CEILING);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.clamp(0.0, 1.0))
    }

    /// The service answered: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_schedule_ends() {
        let schedule = Schedule::new(vec![seconds(60), seconds(300)]);
        assert_eq!(schedule.delay(1, None, 0.5), Some(seconds(60)));
        assert_eq!(schedule.delay(2, None, 0.5), Some(seconds(300)));
        assert_eq!(schedule.delay(3, None, 0.5), None);
        assert_eq!(schedule.delay(0, None, 0.5), None);
        assert_eq!(Schedule::new(Vec::new()).delay(1, Some(seconds(5)), 0.5), None);
    }

    #[test]
    fn redialling_slows_down_and_starts_again() {
        let mut redial = Redial::default();
        let ceilings: Vec<f64> = (0..8).map(|_| redial.delay(1.0).as_secs_f64()).collect();
        assert_eq!(ceilings, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        redial.reset();
        assert_eq!(redial.delay(0.5), Duration::from_millis(250));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_fifth(base in 1u64..200_000, random in 0.0..1.0f64) {
            let delay = Schedule::new(vec![seconds(base)]).delay(1, None, random).unwrap();
            prop_assert!(delay >= seconds(base).mul_f64(0.8) && delay <= seconds(base).mul_f64(1.2));
        }

        #[test]
        fn a_provider_never_shortens_a_wait_nor_stretches_it_past_a_day(
            base in 1u64..200_000, asked in 0u64..1_000_000, random in 0.0..1.0f64,
        ) {
            let delay = Schedule::new(vec![seconds(base)]).delay(1, Some(seconds(asked)), random).unwrap();
            prop_assert!(delay >= seconds(base));
            prop_assert!(delay >= seconds(asked).min(LONGEST));
            prop_assert!(delay <= LONGEST.max(seconds(base)));
        }

        #[test]
        fn redialling_never_waits_longer_than_half_a_minute(failures in 0usize..100, random in 0.0..1.0f64) {
            let mut redial = Redial::default();
            for _ in 0..=failures {
                prop_assert!(redial.delay(random) <= Redial::CEILING);
            }
        }
    }
}
