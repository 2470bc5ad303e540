//! What a seed decides: how bad the weather is between daemons, store and provider, and every throw of the dice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;

/// How often things go wrong while the weather is foul; chances are of 1.
#[derive(Debug, Clone)]
pub(super) struct Climate {
    /// A call never reaches the store.
    pub(super) unreached: f64,
    /// A call is done, and its answer is lost.
    pub(super) unanswered: f64,
    /// A call takes long, on its way there or back.
    pub(super) slow: f64,
    pub(super) slowest: Duration,
    /// The provider refuses, throttles, cuts or hangs.
    pub(super) moody: f64,
    /// A daemon dies or stands still while it hands over a message.
    pub(super) deadly: f64,
    /// That run side by side.
    pub(super) daemons: usize,
}

#[derive(Debug)]
pub(super) struct Weather {
    dice: Mutex<Rng>,
    pub(super) climate: Climate,
    fair: AtomicBool,
    /// The store, and accounts by their names.
    away: Mutex<HashSet<&'static str>>,
}

/// Who else may be away than an account.
pub(super) const STORE: &str = "store";

/// What becomes of one call to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Unreached,
    Unanswered,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut one_of = |all: &[f64]| all[dice.usize(0..all.len())];
        let climate = Climate {
            unreached: one_of(&[0.0, 0.01, 0.1]),
            unanswered: one_of(&[0.0, 0.05, 0.3]),
            slow: one_of(&[0.0, 0.1, 0.5]),
            slowest: Duration::from_millis([20, 200, 4_000][dice.usize(0..3)]),
            moody: [0.0, 0.1, 0.3, 0.6][dice.usize(0..4)],
            deadly: [0.0, 0.02, 0.06][dice.usize(0..3)],
            daemons: [1, 2, 2][dice.usize(0..3)],
        };
        Weather { dice: Mutex::new(dice), climate, fair: AtomicBool::new(false), away: Mutex::default() }
    }

    pub(super) fn dice(&self) -> MutexGuard<'_, Rng> {
        self.dice.lock().unwrap()
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn clear_up(&self) {
        self.fair.store(true, Ordering::Relaxed);
        self.away.lock().unwrap().clear();
    }

    pub(super) fn is_away(&self, who: &str) -> bool {
        self.away.lock().unwrap().contains(who)
    }

    pub(super) fn goes_away(&self, who: &'static str) {
        self.away.lock().unwrap().insert(who);
    }

    pub(super) fn comes_back(&self, who: &str) {
        self.away.lock().unwrap().remove(who);
    }

    pub(super) fn strikes(&self, chance: f64) -> bool {
        !self.fair.load(Ordering::Relaxed) && self.dice().f64() < chance
    }

    pub(super) fn fate(&self) -> Fate {
        if self.is_away(STORE) || self.strikes(self.climate.unreached) {
            Fate::Unreached
        } else if self.strikes(self.climate.unanswered) {
            Fate::Unanswered
        } else {
            Fate::Done
        }
    }

    /// How long a call is on its way, in one direction.
    pub(super) fn way(&self) -> Duration {
        if self.strikes(self.climate.slow) { self.up_to(self.climate.slowest) } else { Duration::ZERO }
    }

    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.dice().f64())
    }
}
