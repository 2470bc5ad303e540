//! Dispatching on SQLite.

use crate::model::{BatchNo, CampaignNo, Channel, Lane};
use crate::store::jobs::{Incarnation, PinnedTemplate};
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::dispatching::{Backlog, Dispatching, Lease, Recipient, Rescued, Sending, Tick};
use crate::store::{Error, Result};

#[async_trait]
impl Dispatching for SqliteStore {
    async fn join(&self, name: &str) -> Result<Incarnation> {
        let _ = (name,);
        self.claim()?;
        Err(Error::Refused("not built".into()))
    }

    async fn beat(&self, me: Incarnation) -> Result<Vec<(Incarnation, i64)>> {
        let _ = (me,);
        Err(Error::Refused("not built".into()))
    }

    async fn leave(&self, me: Incarnation) -> Result<()> {
        let _ = (me,);
        Err(Error::Refused("not built".into()))
    }

    async fn campaigns_due(&self, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>> {
        let _ = (channel,);
        Err(Error::Refused("not built".into()))
    }

    async fn stopped(&self, known: &[CampaignNo]) -> Result<Vec<CampaignNo>> {
        let _ = (known,);
        Err(Error::Refused("not built".into()))
    }

    async fn lease(&self, me: Incarnation, streams: &[(CampaignNo, Lane)], each: u32) -> Result<Vec<Lease>> {
        let _ = (me, streams, each);
        Err(Error::Refused("not built".into()))
    }

    async fn leased_at_acceptance(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        let _ = (me, channel);
        Err(Error::Refused("not built".into()))
    }

    async fn sending(&self, campaign: CampaignNo) -> Result<Option<Sending>> {
        let _ = (campaign,);
        Err(Error::Refused("not built".into()))
    }

    async fn template(&self, campaign: CampaignNo, hash: [u8; 32]) -> Result<Option<PinnedTemplate>> {
        let _ = (campaign, hash);
        Err(Error::Refused("not built".into()))
    }

    async fn tick(&self, me: Incarnation, tick: &Tick) -> Result<Vec<Option<Vec<Recipient>>>> {
        let _ = (me, tick);
        Err(Error::Refused("not built".into()))
    }

    async fn release(&self, me: Incarnation, batches: &[BatchNo]) -> Result<()> {
        let _ = (me, batches);
        Err(Error::Refused("not built".into()))
    }

    async fn rescue(&self, dead: Incarnation) -> Result<Rescued> {
        let _ = (dead,);
        Err(Error::Refused("not built".into()))
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        Err(Error::Refused("not built".into()))
    }
}
