//! Rates that several daemons share: a line of time a rate, from which each takes its slices.
//!
//! A slice is taken once: those of one line never overlap, whoever asks, so the sum of all daemons cannot exceed the
//! rate and nobody needs to know who else is there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Result;

/// A slice is taken at most so long before it begins.
pub const AHEAD: Duration = Duration::from_millis(300);

#[async_trait]
pub trait SharedRates: Send + Sync {
    /// Takes the next slice of each line that is free soon. An answer a wish, in order; `None` where the line was opened
    /// or pruned this very moment: ask again. A new line begins now: it brings no burst.
    async fn take(&self, wishes: &[Wish]) -> Result<Vec<Option<Offer>>>;

    /// Gives the end of a line back: what lies before `end` from `from` on, in microseconds of the store's clock.
    /// Changes nothing where the line has gone on.
    async fn give_back(&self, line: &str, from: i64, end: i64) -> Result<()>;

    /// Forgets lines that nobody took from for a day. Returns how many.
    async fn forget_lines(&self) -> Result<u64>;
}

/// What one daemon needs of one rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whose rate it is, and which, as `provider:relay 300/s`.
    pub line: Arc<str>,
    pub length: Duration,
    /// How far in the past the slice may begin where the line was idle: what a burst makes up for.
    pub behind: Duration,
}

/// In microseconds since 1970 by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Where the slice begins.
    pub from: i64,
    /// What the store's clock showed between the request and its answer.
    pub now: i64,
    /// Whether it was taken: not where it begins later than [`AHEAD`].
    pub taken: bool,
}
