//! An API token: made here once, shown once, known by its hash ever after.

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// So that a token is known for one wherever it leaks to.
const PREFIX: &str = "cmpd_";
const RANDOM_BYTES: usize = 32;

/// The token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random bytes, so no token can be made")]
pub struct NoRandomness;

impl Token {
    /// # Errors
    /// When there is no randomness to be had.
    pub fn generate() -> Result<Token, NoRandomness> {
        let mut random = [0; RANDOM_BYTES];
        rand::fill(&mut random).map_err(|_| NoRandomness)?;
        Ok(Token(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random))))
    }

    /// For the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store keeps.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// SHA-256 of a text that claims to be a token.
pub(super) fn hash(presented: &str) -> [u8; 32] {
    Sha256::digest(presented).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_do_not_show() {
        let (one, two) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!((one.reveal().len(), one.reveal().starts_with("cmpd_")), (48, true));
        assert!(!format!("{one:?}").contains(one.reveal()));
        assert_ne!(one.hash(), two.hash());
    }

    /// FIPS 180-4's example.
    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(
            hex::encode(hash("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
