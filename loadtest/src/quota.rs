//! A provider's limits: requests a second for the account, and messages to one recipient within a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Beijing's clock is ahead of UTC by so many seconds.
const BEIJING: i64 = 8 * 3600;

/// Lets so many requests a second pass, at most as many at once.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Rate {
    /// None lets everything pass.
    pub fn new(per_second: Option<f64>) -> Self {
        let per_second = per_second.unwrap_or(f64::INFINITY);
        Rate { per_second, state: Mutex::new((per_second.max(1.0), Instant::now())) }
    }

    /// Whether one more request may pass now.
    pub fn pass(&self) -> bool {
        if self.per_second.is_infinite() {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let most = self.per_second.max(1.0);
        let left = (state.0 + now.duration_since(state.1).as_secs_f64() * self.per_second).min(most);
        let pass = left >= 1.0;
        *state = (if pass { left - 1.0 } else { left }, now);
        pass
    }
}

/// Calls of the whole account within a window of the clock, such as a minute or a day, which starts where Beijing's does.
#[derive(Debug)]
pub struct Meter {
    /// In seconds.
    window: i64,
    most: u64,
    /// The window's number and the calls in it.
    state: Mutex<(i64, u64)>,
}

impl Meter {
    /// None lets everything pass.
    pub fn new(window: i64, most: Option<u64>) -> Self {
        Meter { window, most: most.unwrap_or(u64::MAX), state: Mutex::default() }
    }

    /// Counts one call; whether it may pass.
    pub fn pass(&self, now: i64) -> bool {
        let mut state = self.state(now);
        let pass = state.1 < self.most;
        state.1 += u64::from(pass);
        pass
    }

    pub fn most(&self) -> u64 {
        self.most
    }

    /// Calls that may still pass.
    pub fn left(&self, now: i64) -> u64 {
        self.most - self.state(now).1
    }

    /// Seconds until the next window.
    pub fn renewed_in(&self, now: i64) -> i64 {
        self.window - (now + BEIJING).rem_euclid(self.window)
    }

    /// From now on as if nothing had been called.
    pub fn clear(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (0, 0);
    }

    fn state(&self, now: i64) -> MutexGuard<'_, (i64, u64)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let window = (now + BEIJING).div_euclid(self.window);
        if state.0 != window {
            *state = (window, 0);
        }
        state
    }
}

/// How a cap measures its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The clock's minute or hour, by its length in seconds: it starts where Beijing's clock does.
    Clock(i64),
    /// So many seconds up to now.
    Last(i64),
}

/// At most `most` messages to one recipient within a window; above it the provider answers with `code` and `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    pub window: Window,
    pub most: usize,
    pub code: String,
    pub message: String,
}

/// Caps over keys (recipients, or recipients and texts). Remembers times for each key only where there are caps.
#[derive(Debug)]
pub struct Caps {
    caps: Vec<Cap>,
    hash: RandomState,
    times: Mutex<HashMap<u64, VecDeque<i64>>>,
}

impl Caps {
    pub fn new(caps: Vec<Cap>) -> Self {
        Caps { caps, hash: RandomState::new(), times: Mutex::default() }
    }

    /// Counts one message to each key, unless one of them is over a cap: then none is counted, and the cap is given.
    pub fn charge(&self, keys: &[&str], now: i64) -> Option<&Cap> {
        let most = self.caps.iter().map(|cap| cap.most).max()?;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: HashSet<u64> = keys.iter().map(|key| self.hash.hash_one(key)).collect();
        for key in &keys {
            let sent = times.get(key);
            let full = |cap: &&Cap| sent.is_some_and(|sent| count(sent, cap.window, now) >= cap.most);
            if let Some(cap) = self.caps.iter().find(full) {
                return Some(cap);
            }
        }
        for key in keys {
            let sent = times.entry(key).or_default();
            sent.push_back(now);
            if sent.len() > most {
                sent.pop_front();
            }
        }
        None
    }
}

fn count(sent: &VecDeque<i64>, window: Window, now: i64) -> usize {
    let since = match window {
        Window::Clock(length) => now - (now + BEIJING).rem_euclid(length),
        Window::Last(length) => now - length + 1,
    };
    sent.iter().filter(|at| **at >= since).count()
}

/// The newest values seen, bounded: a reused nonce is found as long as it is among them.
#[derive(Debug)]
pub struct Nonces {
    most: usize,
    seen: Mutex<(HashSet<u64>, VecDeque<u64>)>,
    hash: RandomState,
}

impl Nonces {
    /// Remembers so many.
    pub fn new(most: usize) -> Self {
        Nonces { most, seen: Mutex::default(), hash: RandomState::new() }
    }

    /// Whether the value is new; from now on it is not.
    pub fn fresh(&self, nonce: &str) -> bool {
        let hash = self.hash.hash_one(nonce);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, order) = &mut *seen;
        if !set.insert(hash) {
            return false;
        }
        order.push_back(hash);
        if order.len() > self.most
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(window: Window, most: usize, code: &str) -> Cap {
        Cap { window, most, code: code.to_owned(), message: String::new() }
    }

    #[test]
    fn caps_count_by_the_clock_or_back_from_now() {
        let caps = Caps::new(vec![cap(Window::Clock(60), 1, "minute"), cap(Window::Last(100), 2, "last")]);
        assert_eq!(caps.charge(&["a"], 59), None);
        assert_eq!(caps.charge(&["a"], 60), None, "a new minute of the clock");
        assert_eq!(caps.charge(&["b", "a"], 61).unwrap().code, "minute");
        assert_eq!(caps.charge(&["b"], 61), None, "a refused call counts for nobody");
        assert_eq!(caps.charge(&["a"], 120).unwrap().code, "last");
        assert_eq!(caps.charge(&["a"], 160), None);
    }

    #[test]
    fn nonces_are_fresh_once() {
        let nonces = Nonces::new(2);
        assert!(nonces.fresh("a") && nonces.fresh("b"));
        assert!(!nonces.fresh("a"));
        assert!(nonces.fresh("c") && nonces.fresh("a"), "the oldest is forgotten");
    }

    #[test]
    fn a_meter_starts_again_at_midnight_in_beijing() {
        let day = Meter::new(86_400, Some(1));
        let midnight = 16 * 3600;
        assert_eq!(day.renewed_in(midnight - 2), 2);
        assert!(day.pass(midnight - 2) && !day.pass(midnight - 1));
        assert_eq!((day.left(midnight - 1), day.left(midnight)), (0, 1));
        assert!(day.pass(midnight) && !day.pass(midnight));
    }

    #[test]
    fn a_rate_starts_with_a_second_worth() {
        let rate = Rate::new(Some(0.000_001));
        assert!(rate.pass());
        assert!(!rate.pass());
        assert!((0..1000).all(|_| Rate::new(None).pass()));
    }
}
