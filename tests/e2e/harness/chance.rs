//! Random moments that can be had again: their seed is printed, and `CAMPAIGND_TEST_SEED` sets it.

use std::ops::Range;

/// A seed of its own each run, unless the environment names one.
pub fn dice() -> fastrand::Rng {
    let seed = match std::env::var("CAMPAIGND_TEST_SEED") {
        Ok(seed) => seed.parse().expect("CAMPAIGND_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("CAMPAIGND_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// `n` numbers of the range, in order.
pub fn moments(dice: &mut fastrand::Rng, n: usize, range: Range<u64>) -> Vec<u64> {
    let mut moments: Vec<u64> = (0..n).map(|_| dice.u64(range.clone())).collect();
    moments.sort_unstable();
    moments
}

#[test]
fn moments_follow_from_the_seed() {
    let of = |seed| moments(&mut fastrand::Rng::with_seed(seed), 5, 0..1_000);
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    assert!(of(7).is_sorted() && of(7).iter().all(|moment| *moment < 1_000));
}
