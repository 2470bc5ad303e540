//! Access tokens that live for a while: given out, looked at, ended.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tokens that are remembered.
const REMEMBERED: usize = 64;

#[derive(Debug)]
pub struct Bearers {
    prefix: &'static str,
    /// Seconds.
    life: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    given: u64,
    /// Each with the second since 1970 when it ends.
    tokens: VecDeque<(String, i64)>,
}

impl Bearers {
    pub fn new(prefix: &'static str, life: i64) -> Self {
        Bearers { prefix, life, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token; earlier ones live on.
    pub fn give(&self, now: i64) -> String {
        let mut state = self.state();
        state.given += 1;
        let token = format!("{}{:0>64}", self.prefix, state.given);
        if state.tokens.len() == REMEMBERED {
            state.tokens.pop_front();
        }
        state.tokens.push_back((token.clone(), now + self.life));
        token
    }

    /// Seconds that a new token lives.
    pub fn life(&self) -> i64 {
        self.life
    }

    pub fn alive(&self, token: &str, now: i64) -> bool {
        self.state().tokens.iter().any(|(given, until)| given == token && *until > now)
    }

    /// All end now.
    pub fn expire(&self) {
        self.state().tokens.clear();
    }

    /// How many were given out.
    pub fn given(&self) -> u64 {
        self.state().given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_it_should() {
        let bearers = Bearers::new("ya29.", 3599);
        let first = bearers.give(0);
        let second = bearers.give(1);
        assert!(bearers.alive(&first, 3598) && !bearers.alive(&first, 3599));
        assert!(bearers.alive(&second, 3599) && !bearers.alive("", 0));
        bearers.expire();
        assert!(!bearers.alive(&second, 1));
        assert_eq!(bearers.given(), 2);
    }
}
