//! Tokens that were used: a signature that covers a token and not the body must not vouch for a second body.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

type Hash = [u8; 32];

/// Which body each token came with. The oldest are forgotten first.
#[derive(Debug)]
pub(super) struct UsedTokens {
    /// Tokens of each half, at most.
    half: usize,
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    younger: HashMap<Hash, Hash>,
    older: HashMap<Hash, Hash>,
}

impl UsedTokens {
    /// Keeps at least `half` tokens, and less than twice as many.
    pub(super) fn new(half: usize) -> Self {
        UsedTokens { half, halves: Mutex::default() }
    }

    /// Whether the token is new, or comes again with the same body, as services do until they hear that it was taken.
    pub(super) fn vouches(&self, token: &str, body: &[u8]) -> bool {
        let (token, body) = (hash(token.as_bytes()), hash(body));
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = halves.younger.get(&token).or_else(|| halves.older.get(&token)) {
            return *used == body;
        }
        if halves.younger.len() >= self.half {
            halves.older = std::mem::take(&mut halves.younger);
        }
        halves.younger.insert(token, body);
        true
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: usize = 10;

    #[test]
    fn a_token_vouches_for_one_body() {
        let used = UsedTokens::new(HALF);
        assert!(used.vouches("a", b"1") && used.vouches("a", b"1"));
        assert!(!used.vouches("a", b"2"));
        assert!(used.vouches("b", b"2"));
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_are_kept() {
        let used = UsedTokens::new(HALF);
        let tokens = 2 * HALF + 1;
        assert!((0..tokens).all(|token| used.vouches(&token.to_string(), b"1")));
        assert!((HALF..tokens).all(|token| !used.vouches(&token.to_string(), b"2")));
        let halves = used.halves.lock().unwrap();
        assert!(halves.younger.len() + halves.older.len() <= 2 * HALF);
    }
}
