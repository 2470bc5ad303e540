//! Campaigns as a list shows them: a page of them with the few numbers that a line has.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Result;
use crate::model::{CampaignStatus, Channel};

#[async_trait]
pub trait Overviews: Send + Sync {
    /// Newest first, those whose id or name has `search` in it: all where that is empty; ASCII letters match in either
    /// case. Reads the counters of its own page alone, in a number of statements that does not grow with the store.
    async fn overview(&self, search: &str, limit: u32, offset: u32) -> Result<Vec<Overview>>;
}

/// One line of the list; all counts are of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    pub id: String,
    pub name: Option<String>,
    pub status: CampaignStatus,
    pub channel: Channel,
    pub accepted_at: Timestamp,
    pub send_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub targeted: i64,
    /// Neither planned nor sending any more.
    pub settled: i64,
    /// The provider took it: `accepted`, `delivered` and `bounced`.
    pub sent: i64,
    pub delivered: i64,
    /// With a person's open or click.
    pub opened: i64,
    /// With a person's click.
    pub clicked: i64,
}
