//! Campaigns to deliveries and batches: set-based in the store, one page a transaction.

use async_trait::async_trait;

use super::Result;
use crate::model::{CampaignNo, Channel, Reason, State};

/// Deliveries in one batch, at most.
pub const BATCH_SIZE: u32 = 500;

#[async_trait]
pub trait Planning: Send + Sync {
    /// Starts campaigns whose time has come: fixes the instant and the highest contact number.
    /// Returns every campaign that is still to be planned, started ones included.
    async fn campaigns_to_plan(&self) -> Result<Vec<CampaignNo>>;

    /// Plans the next page of a campaign. `None` where another daemon holds it or nothing is left.
    ///
    /// `span` is how many contact numbers or list entries the page looks at.
    async fn plan_page(&self, campaign: CampaignNo, span: u32) -> Result<Option<Page>>;

    /// Settles what a cancelled or expired campaign has not sent. Returns how many deliveries that were.
    async fn settle_stopped(&self) -> Result<u64>;

    /// Closes campaigns of which nothing is planned or sending any more; with `publish`, tells the outbox.
    async fn finish_campaigns(&self, publish: bool) -> Result<Vec<Finished>>;

    /// Adds the appended counters to their sums.
    async fn fold_counters(&self) -> Result<u64>;
}

/// What one page brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub channel: Channel,
    pub counts: Vec<(State, Option<Reason>, i64)>,
    /// Nothing is left to plan.
    pub done: bool,
}

impl Page {
    pub fn recipients(&self) -> i64 {
        self.counts.iter().map(|(_, _, n)| n).sum()
    }
}

/// A campaign that was just closed, and how far its rows were from its counters: must be 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub id: String,
    pub imbalance: i64,
}
