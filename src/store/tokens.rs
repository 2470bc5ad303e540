//! API tokens. The store keeps SHA-256 of a token and never the token: its 32 random bytes cannot be guessed, so a slow
//! hash, made for what people can remember, would only slow every request.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::model::access::Scopes;

#[async_trait]
pub trait Tokens: Send + Sync {
    /// Keeps a new token. A name is used once and for ever, so that the audit log never means two tokens by one name.
    async fn create_token(&self, token: &NewToken) -> Result<Created>;

    /// Every token that there ever was, by name.
    async fn tokens(&self) -> Result<Vec<TokenRecord>>;

    /// Those that are neither revoked nor expired: at most [`MOST_TOKENS`].
    async fn live_tokens(&self) -> Result<Vec<LiveToken>>;

    /// Notes when tokens were last used; an earlier time than the one known changes nothing.
    async fn tokens_used(&self, uses: &[(i64, Timestamp)]) -> Result<()>;

    /// `false` where no live token has this name.
    async fn revoke_token(&self, name: &str) -> Result<bool>;
}

/// Tokens that may be live at a time: every daemon holds them all in memory.
pub const MOST_TOKENS: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    pub hash: [u8; 32],
    pub scopes: Scopes,
    /// `None`: until it is revoked.
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Done,
    /// A token has, or had, this name.
    NameTaken,
    /// There are [`MOST_TOKENS`] already.
    TooMany,
}

/// A token that opens doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveToken {
    pub number: i64,
    pub name: String,
    pub hash: [u8; 32],
    pub scopes: Scopes,
    pub expires_at: Option<Timestamp>,
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRecord {
    pub name: String,
    pub scopes: Scopes,
    pub created_at: Timestamp,
    /// To the minute, about.
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}
