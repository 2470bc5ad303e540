//! Campaigns on SQLite.

use crate::model::{CampaignStatus, Control};
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::campaigns::{CampaignRecord, Campaigns, Resolution};
use crate::store::{Error, Result};

#[async_trait]
impl Campaigns for SqliteStore {
    async fn campaigns(&self, limit: u32, offset: u32) -> Result<Vec<CampaignRecord>> {
        let _ = (limit, offset);
        Err(Error::Refused("not built".into()))
    }

    async fn campaign(&self, id: &str) -> Result<Option<CampaignRecord>> {
        let _ = (id,);
        Err(Error::Refused("not built".into()))
    }

    async fn control(&self, id: &str, control: Control) -> Result<Option<CampaignStatus>> {
        let _ = (id, control);
        Err(Error::Refused("not built".into()))
    }

    async fn resolve(&self, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution> {
        let _ = (campaign, external_id, sent);
        Err(Error::Refused("not built".into()))
    }
}
