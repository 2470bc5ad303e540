//! Campaigns as users see and control them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Result;
use crate::model::{CampaignStatus, Channel, Control, Lane, PauseCause, Purpose, Quality};

#[async_trait]
pub trait Campaigns: Send + Sync {
    /// Newest first.
    async fn campaigns(&self, limit: u32, offset: u32) -> Result<Vec<CampaignRecord>>;

    async fn campaign(&self, id: &str) -> Result<Option<CampaignRecord>>;

    /// `None` where there is no such campaign.
    async fn control(&self, id: &str, control: Control) -> Result<Option<CampaignStatus>>;

    /// Campaigns of the channel that send, with what speaks for or against their lists since each was last resumed.
    async fn running(&self, channel: Channel) -> Result<Vec<Running>>;

    /// Pauses a campaign for a cause that users see until it is resumed; with `publish`, tells the outbox, too. Returns
    /// whether it was sending.
    async fn pause(&self, id: &str, cause: PauseCause, publish: bool) -> Result<bool>;

    /// Settles an `unknown` delivery by hand.
    async fn resolve(&self, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignRecord {
    pub id: String,
    pub name: Option<String>,
    pub status: CampaignStatus,
    /// Why it was paused by itself; absent where a hand paused it.
    pub pause_cause: Option<PauseCause>,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub id: String,
    pub quality: Quality,
}

/// The routing key and the payload that tell of a pause.
pub(super) fn paused_event(id: &str, channel: Channel, cause: PauseCause, at: Timestamp) -> (String, Value) {
    let payload = serde_json::json!({
        "id": uuid::Uuid::now_v7(),
        "event": "campaign.paused",
        "at": at,
        "campaign": id,
        "channel": channel,
        "cause": cause,
    });
    ("campaign.paused".to_owned(), payload)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Done,
    /// There is no such delivery.
    NotFound,
    /// The delivery is not `unknown`.
    NotUnknown,
}
