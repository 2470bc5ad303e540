//! Tracking on SQLite.

use crate::model::{CampaignNo, DeliveryKey, Event, LinkNo};
use async_trait::async_trait;
use jiff::Timestamp;

use super::SqliteStore;
use crate::store::tracking::{OutboxRow, Tracking};
use crate::store::{Error, Result};

#[async_trait]
impl Tracking for SqliteStore {
    async fn record_events(&self, events: &[Event], publish: bool) -> Result<u64> {
        let _ = (events, publish);
        Err(Error::Refused("not built".into()))
    }

    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>> {
        let _ = (campaign, link);
        Err(Error::Refused("not built".into()))
    }

    async fn sent_at(&self, delivery: DeliveryKey) -> Result<Option<(Timestamp, usize)>> {
        let _ = (delivery,);
        Err(Error::Refused("not built".into()))
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>> {
        let _ = (limit,);
        Err(Error::Refused("not built".into()))
    }

    async fn outbox_done(&self, numbers: &[i64]) -> Result<()> {
        let _ = (numbers,);
        Err(Error::Refused("not built".into()))
    }
}
