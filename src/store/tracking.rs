//! Events into the ledger, the contact and the counters; events out to the broker.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::Result;
use super::jobs::Incarnation;
use crate::model::{CampaignNo, DeliveryKey, Event, LinkNo};

#[async_trait]
pub trait Tracking: Send + Sync {
    /// Records events in one transaction; repeats by id change nothing, unknown deliveries are dropped.
    /// With `publish`, what is new goes to the outbox, too. Returns how many were new.
    async fn record_events(&self, events: &[Event], publish: bool) -> Result<u64>;

    /// A campaign's link as its template writes it.
    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>>;

    /// Of those deliveries that were handed over or still may be: when the provider took it, or its receipt says that it
    /// arrived, or now where it is still on its way; and how many links its campaign tracks.
    async fn sent_at(&self, deliveries: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, (Timestamp, usize)>>;

    /// The oldest outgoing events; none while another daemon publishes. Who asked last keeps the duty for some seconds.
    async fn outbox(&self, me: Incarnation, limit: u32) -> Result<Vec<OutboxRow>>;

    /// Forgets outgoing events that the broker confirmed.
    async fn outbox_done(&self, numbers: &[i64]) -> Result<()>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub number: i64,
    pub routing_key: String,
    pub payload: Value,
}
