//! Campaigns as users see and control them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::model::{CampaignStatus, Channel, Control, Lane, Purpose};

#[async_trait]
pub trait Campaigns: Send + Sync {
    /// Newest first.
    async fn campaigns(&self, limit: u32, offset: u32) -> Result<Vec<CampaignRecord>>;

    async fn campaign(&self, id: &str) -> Result<Option<CampaignRecord>>;

    /// `None` where there is no such campaign.
    async fn control(&self, id: &str, control: Control) -> Result<Option<CampaignStatus>>;

    /// Settles an `unknown` delivery by hand.
    async fn resolve(&self, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignRecord {
    pub id: String,
    pub name: Option<String>,
    pub status: CampaignStatus,
    pub channel: Channel,
    pub purpose: Purpose,
    pub lane: Lane,
    pub template: String,
    pub provider: Option<String>,
    pub rate: Vec<String>,
    pub send_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub accepted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub targeted: i64,
    /// Handed to a provider that took it.
    pub sent: i64,
    /// Neither planned nor sending any more.
    pub settled: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Done,
    /// There is no such delivery.
    NotFound,
    /// The delivery is not `unknown`.
    NotUnknown,
}
