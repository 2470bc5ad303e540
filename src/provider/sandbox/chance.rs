//! Chance that follows from a seed: the same question gets the same answer, on every machine and after every restart.

use std::time::Duration;

/// The standard score that one draw in a hundred exceeds.
const Z_99: f64 = 2.326_347_9;

/// A stream of draws that belongs to one question.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The draws for the question that `words` ask.
    pub(super) fn of<const N: usize>(seed: u64, words: [u64; N]) -> Self {
        let mut chance = Chance(seed);
        for word in words {
            chance.0 = chance.draw() ^ word;
        }
        chance
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub(super) fn share(&mut self) -> f64 {
        // 53 bits are what an f64 holds.
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True for `share` of all questions.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// Log-normal: half of the draws are below `median`, one in a hundred is above `p99`.
    pub(super) fn log_normal(&mut self, median: Duration, p99: Duration) -> Duration {
        if median.is_zero() {
            return Duration::ZERO;
        }
        let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / Z_99;
        let median = median.as_secs_f64();
        Duration::try_from_secs_f64(median * (sigma * self.normal()).exp()).unwrap_or(Duration::MAX)
    }

    /// The standard normal distribution, by Box and Muller's transform.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_gets_the_same_answer_and_another_one_its_own() {
        let draws = |seed, words| Chance::of(seed, words).share();
        assert_eq!(draws(1, [2, 3]), draws(1, [2, 3]));
        let others = [draws(1, [3, 2]), draws(2, [2, 3]), draws(1, [2, 4]), draws(1, [0, 0])];
        assert!(others.iter().all(|other| *other != draws(1, [2, 3])));
    }

    #[test]
    fn neighbouring_questions_spread_evenly() {
        let mut tenths = [0u32; 10];
        for question in 0..100_000 {
            let draw = Chance::of(7, [question]).share();
            let tenth = (0..10u8).rev().find(|tenth| draw >= f64::from(*tenth) / 10.0).unwrap();
            tenths[usize::from(tenth)] += 1;
        }
        assert!(tenths.iter().all(|n| (9_700..10_300).contains(n)), "{tenths:?}");
    }

    #[test]
    fn latencies_have_their_median_and_their_tail() {
        let (median, p99) = (Duration::from_millis(20), Duration::from_millis(100));
        let draws: Vec<_> = (0..100_000).map(|call| Chance::of(1, [call]).log_normal(median, p99)).collect();
        let above = |bound| draws.iter().filter(|draw| **draw > bound).count();
        assert!((49_000..51_000).contains(&above(median)), "{}", above(median));
        assert!((850..1_150).contains(&above(p99)), "{}", above(p99));
        assert_eq!(Chance::of(1, [1]).log_normal(Duration::ZERO, p99), Duration::ZERO);
    }
}
