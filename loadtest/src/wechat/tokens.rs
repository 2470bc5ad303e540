//! Access tokens as WeChat gives them out: `token` replaces the last one, `stable_token` gives the same one again.
//!
//! Both kinds live apart. A token that was replaced stays valid for five minutes, unless a forced refresh ended it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::quota::Meter;

/// A replaced token stays valid so long, and `stable_token` gives a new one so long before the end: seconds, or half of
/// a token's life where that is shorter.
const OVERLAP: i64 = 300;
/// Forced refreshes: so many a day, and so many seconds apart.
const FORCED_A_DAY: u64 = 20;
const FORCED_APART: i64 = 30;
/// Tokens that are remembered, to tell one that has ended from one that never was.
const REMEMBERED: usize = 64;

/// How often tokens were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `/cgi-bin/token`.
    pub plain: u64,
    /// Calls of `/cgi-bin/stable_token`, forced ones too.
    pub stable: u64,
    pub forced: u64,
    /// Different tokens that were given out.
    pub issued: u64,
}

/// Which route asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Stable,
    Forced,
}

#[derive(Debug)]
pub(super) struct Tokens {
    /// Of a new token, in seconds.
    life: i64,
    forced: Meter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    issued: VecDeque<Token>,
    counts: Counts,
    forced_at: Option<i64>,
}

#[derive(Debug, Clone)]
struct Token {
    value: String,
    stable: bool,
    /// Seconds since 1970.
    until: i64,
    /// No newer one of its kind has been given out.
    newest: bool,
}

impl Tokens {
    pub(super) fn new(life: i64) -> Self {
        Tokens { life, forced: Meter::new(86_400, Some(FORCED_A_DAY)), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token and the seconds that it still lives, or the errcode.
    pub(super) fn give(&self, mode: Mode, now: i64) -> Result<(String, i64), i64> {
        let mut state = self.state();
        match mode {
            Mode::Plain => state.counts.plain += 1,
            Mode::Stable | Mode::Forced => state.counts.stable += 1,
        }
        // Too soon after the last, a forced refresh refreshes nothing.
        let forced = mode == Mode::Forced && state.forced_at.is_none_or(|last| now - last >= FORCED_APART);
        if forced {
            if !self.forced.pass(now) {
                return Err(45009);
            }
            state.counts.forced += 1;
            state.forced_at = Some(now);
        }
        let stable = mode != Mode::Plain;
        let overlap = OVERLAP.min(self.life / 2);
        let last = state.issued.iter_mut().rev().find(|token| token.newest && token.stable == stable);
        if let Some(last) = last {
            if stable && !forced && last.until - now > overlap {
                return Ok((last.value.clone(), last.until - now));
            }
            last.newest = false;
            // Both are valid for a while, so that whoever holds the old one can finish; one that has ended stays so.
            last.until = if forced { now.min(last.until) } else { replaced(last.until, now, overlap) };
        }
        let value = state.issue(stable, now + self.life);
        Ok((value, self.life))
    }

    /// Whether a request may go on with this token; else the errcode.
    pub(super) fn check(&self, token: &str, now: i64) -> Result<(), i64> {
        if token.is_empty() {
            return Err(41001);
        }
        let state = self.state();
        match state.issued.iter().find(|issued| issued.value == token) {
            Some(issued) if issued.until > now => Ok(()),
            Some(issued) if issued.newest => Err(42001),
            Some(_) => Err(40001),
            None => Err(40014),
        }
    }

    /// All that were given out end now.
    pub(super) fn expire(&self, now: i64) {
        for token in &mut self.state().issued {
            token.until = token.until.min(now);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }
}

/// Until when a replaced token is valid.
fn replaced(until: i64, now: i64, overlap: i64) -> i64 {
    if until > now { now + overlap } else { until }
}

impl State {
    fn issue(&mut self, stable: bool, until: i64) -> String {
        self.counts.issued += 1;
        let kind = if stable { "stable" } else { "plain" };
        // Real ones are this long; customers are told to make room for 512.
        let value = format!("{kind}_{:0>136}", self.counts.issued);
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        self.issued.push_back(Token { value: value.clone(), stable, until, newest: true });
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stable_token_is_given_again_until_its_last_five_minutes() {
        let tokens = Tokens::new(7200);
        let (first, life) = tokens.give(Mode::Stable, 0).unwrap();
        assert_eq!((first.len() > 100, life), (true, 7200));
        assert_eq!(tokens.give(Mode::Stable, 6899).unwrap(), (first.clone(), 301));
        let (second, life) = tokens.give(Mode::Stable, 6900).unwrap();
        assert_eq!((second != first, life), (true, 7200));
        assert_eq!((tokens.check(&first, 7199), tokens.check(&second, 7199)), (Ok(()), Ok(())));
        assert_eq!(tokens.check(&first, 7200), Err(40001));
        assert_eq!(tokens.check(&second, 6900 + 7200), Err(42001));
        assert_eq!(tokens.counts(), Counts { stable: 3, issued: 2, ..Counts::default() });
    }

    #[test]
    fn a_plain_token_replaces_the_last_but_touches_no_stable_one() {
        let tokens = Tokens::new(7200);
        let (stable, _) = tokens.give(Mode::Stable, 0).unwrap();
        let (first, _) = tokens.give(Mode::Plain, 0).unwrap();
        let (second, _) = tokens.give(Mode::Plain, 10).unwrap();
        assert_eq!(tokens.check(&first, 309), Ok(()));
        assert_eq!(tokens.check(&first, 310), Err(40001));
        assert_eq!((tokens.check(&second, 310), tokens.check(&stable, 310)), (Ok(()), Ok(())));
        assert_eq!((tokens.check("", 0), tokens.check("x", 0)), (Err(41001), Err(40014)));
    }

    #[test]
    fn a_forced_refresh_ends_the_last_at_once_but_not_too_often() {
        let tokens = Tokens::new(7200);
        let (first, _) = tokens.give(Mode::Stable, 0).unwrap();
        let (second, _) = tokens.give(Mode::Forced, 0).unwrap();
        assert_eq!(tokens.check(&first, 0), Err(40001));
        assert_eq!(tokens.give(Mode::Forced, 29).unwrap().0, second, "too soon");
        for n in 1..20 {
            assert_ne!(tokens.give(Mode::Forced, n * 30).unwrap().0, second);
        }
        assert_eq!(tokens.give(Mode::Forced, 600), Err(45009));
    }

    #[test]
    fn what_has_ended_is_not_given_again() {
        let tokens = Tokens::new(7200);
        let (first, _) = tokens.give(Mode::Stable, 0).unwrap();
        tokens.expire(5);
        assert_eq!(tokens.check(&first, 5), Err(42001));
        assert_ne!(tokens.give(Mode::Stable, 5).unwrap().0, first);
        assert_eq!(tokens.check(&first, 5), Err(40001));
    }
}
