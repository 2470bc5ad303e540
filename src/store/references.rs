//! Deliveries by the ids that providers gave them, for providers whose receipts name nothing else.
//!
//! A receipt may overtake the answer that tells the id: it is parked until the ledger knows whose it is.

use async_trait::async_trait;
use jiff::SignedDuration;
use uuid::Uuid;

use super::Result;
use crate::model::{DeliveryKey, Receipt};

#[async_trait]
pub trait References: Send + Sync {
    /// The deliveries of `(provider, reference)`, in order; `None` where none is known (yet).
    async fn referenced(&self, references: &[(String, String)]) -> Result<Vec<Option<DeliveryKey>>>;

    /// Keeps receipts about references that are not known yet; repeats by id change nothing.
    async fn park(&self, receipts: &[Receipt]) -> Result<()>;

    /// Parked receipts whose deliveries are known by now, at most `limit`, as receipts about those. They stay parked.
    async fn parked(&self, limit: u32) -> Result<Vec<Receipt>>;

    /// Forgets parked receipts that are recorded.
    async fn unpark(&self, ids: &[Uuid]) -> Result<()>;

    /// Forgets references, and receipts that nobody ever asked for, of `age` and older; some thousands at a time.
    /// Returns how many.
    async fn forget_references(&self, age: SignedDuration) -> Result<u64>;
}
