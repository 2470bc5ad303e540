//! Keys by which a provider knows that a request came before: it answers again what it answered then, and sends nothing.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

/// Keys that are remembered at most: the oldest go first.
const MOST: usize = 1 << 22;

/// Of keys only hashes are kept.
#[derive(Debug)]
pub struct Repeats<V> {
    /// A key is remembered for so many seconds.
    life: i64,
    hash: RandomState,
    seen: Mutex<Seen<V>>,
}

#[derive(Debug)]
struct Seen<V> {
    answers: HashMap<u64, V>,
    order: VecDeque<(i64, u64)>,
}

impl<V: Clone> Repeats<V> {
    pub fn new(life: i64) -> Self {
        let seen = Seen { answers: HashMap::new(), order: VecDeque::new() };
        Repeats { life, hash: RandomState::new(), seen: Mutex::new(seen) }
    }

    /// What this key was answered before; where it is new, none, and from now on `answer`.
    pub fn earlier(&self, key: &str, now: i64, answer: V) -> Option<V> {
        let hash = self.hash.hash_one(key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { answers, order } = &mut *seen;
        while let Some((at, oldest)) = order.front().copied()
            && (at + self.life <= now || order.len() >= MOST)
        {
            order.pop_front();
            answers.remove(&oldest);
        }
        if let Some(answer) = answers.get(&hash) {
            return Some(answer.clone());
        }
        answers.insert(hash, answer);
        order.push_back((now, hash));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_holds_for_the_key_s_life() {
        let repeats = Repeats::new(600);
        assert_eq!(repeats.earlier("a", 0, 1), None);
        assert_eq!(repeats.earlier("b", 1, 2), None);
        assert_eq!(repeats.earlier("a", 599, 3), Some(1));
        assert_eq!(repeats.earlier("a", 600, 4), None);
        assert_eq!(repeats.earlier("b", 600, 5), Some(2));
    }
}
