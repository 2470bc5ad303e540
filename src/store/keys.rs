//! Keys of tracking tokens. They live in the store, so that every daemon has the same and a restart changes nothing.

use async_trait::async_trait;

use super::Result;
use crate::model::TrackingKey;
use crate::model::tracking_key::Retirement;

#[async_trait]
pub trait Keys: Send + Sync {
    /// Every key that there ever was, by number. Makes the first where there is none.
    async fn tracking_keys(&self) -> Result<Vec<TrackingKey>>;

    /// Makes another key, and returns its number; `None` where no number is free.
    async fn rotate_tracking_key(&self) -> Result<Option<u8>>;

    /// Forgets a key's secret, where [`crate::model::tracking_key::retirement`] says that it may go.
    async fn retire_tracking_key(&self, id: u8) -> Result<Retirement>;
}
