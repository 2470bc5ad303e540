//! Numbers and rows behind `report` and `explain`.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::model::{CampaignStatus, Channel, Reason, State};

#[async_trait]
pub trait Reports: Send + Sync {
    /// A campaign's counters: sums and what was appended since, in one snapshot.
    async fn counts(&self, campaign: &str) -> Result<Option<Counts>>;

    /// How many deliveries the rows themselves hold, by state and reason: the check of the counters.
    async fn count_rows(&self, campaign: &str) -> Result<Vec<(State, Option<Reason>, i64)>>;

    /// Deliveries by contact number after `after`; the last one's number pages on.
    async fn deliveries(&self, campaign: &str, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>>;

    /// What the gauges show of all campaigns together.
    async fn totals(&self) -> Result<Totals>;

    /// Every decision and attempt about a contact in a campaign; empty where it was never targeted.
    async fn explain(&self, campaign: &str, external_id: &str) -> Result<Vec<Explanation>>;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub campaigns: Vec<(CampaignStatus, i64)>,
    /// Deliveries whose fate nobody knows.
    pub unknown: Vec<(Channel, i64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub states: Vec<(State, Option<Reason>, i64)>,
    /// Of `planned`, those before a watermark: may be on their way.
    pub sending: i64,
    pub sent: i64,
    pub opens: Engaged,
    pub clicks: Engaged,
    pub unsubscribes: i64,
    pub complaints: i64,
    /// What providers bill, for SMS.
    pub segments: i64,
    pub links: Vec<LinkCount>,
    pub series: Vec<HourCount>,
}

/// `unique` counts deliveries with a person's event, `total` a person's events, `machine` the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Engaged {
    pub unique: i64,
    pub total: i64,
    pub machine: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkCount {
    pub url: String,
    pub clicks: i64,
    pub unique: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HourCount {
    pub hour: Timestamp,
    pub sent: i64,
    pub opens: i64,
    pub clicks: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    pub state: Option<State>,
    /// The `cursor` of the last record seen.
    pub after: Option<(i64, i64)>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRecord {
    /// `None` once the contact was erased.
    pub external_id: Option<String>,
    pub occurrence: i64,
    pub state: State,
    pub reason: Option<Reason>,
    pub attempts: u16,
    pub provider: Option<String>,
    pub provider_ref: Option<String>,
    pub updated_at: Timestamp,
    #[serde(skip)]
    pub cursor: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub campaign: String,
    pub channel: Channel,
    #[serde(flatten)]
    pub delivery: DeliveryRecord,
    /// When a retry or a scheduled delivery is due.
    pub due_at: Option<Timestamp>,
    pub attempts_made: Vec<AttemptRecord>,
    pub events: Vec<EventRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    pub at: Timestamp,
    pub attempt: u16,
    pub provider: Option<String>,
    pub outcome: String,
    pub reason: Option<Reason>,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRecord {
    pub at: Timestamp,
    pub kind: String,
    pub link: Option<String>,
    pub machine: Option<String>,
    /// Why it bounced.
    pub reason: Option<Reason>,
    /// The provider's words, where it is a provider that tells.
    pub detail: Option<String>,
}
