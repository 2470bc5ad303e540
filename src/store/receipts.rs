//! What providers say after their answer, into the ledger, the contact and the counters.

use async_trait::async_trait;

use super::Result;
use crate::model::Receipt;

#[async_trait]
pub trait Receipts: Send + Sync {
    /// Records receipts in one transaction; with `publish`, what is new goes to the outbox, too. One answer a receipt.
    ///
    /// A receipt moves its delivery as the state machine allows, also before the outcome of its attempt is recorded; it
    /// is kept as an event either way. A hard bounce and a complaint suppress the address, an opt-out unsubscribes the
    /// contact from the channel.
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>>;
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    New,
    /// It was here before and changed nothing.
    Repeated,
    /// No delivery or address here is meant: it was dropped.
    Stray,
}
