//! Planning on SQLite.

use crate::model::CampaignNo;
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::planning::{Finished, Page, Planning};
use crate::store::{Error, Result};

#[async_trait]
impl Planning for SqliteStore {
    async fn campaigns_to_plan(&self) -> Result<Vec<CampaignNo>> {
        Err(Error::Refused("not built".into()))
    }

    async fn plan_page(&self, campaign: CampaignNo, span: u32) -> Result<Option<Page>> {
        let _ = (campaign, span);
        Err(Error::Refused("not built".into()))
    }

    async fn settle_stopped(&self) -> Result<u64> {
        Err(Error::Refused("not built".into()))
    }

    async fn finish_campaigns(&self, publish: bool) -> Result<Vec<Finished>> {
        let _ = (publish,);
        Err(Error::Refused("not built".into()))
    }

    async fn fold_counters(&self) -> Result<u64> {
        Err(Error::Refused("not built".into()))
    }
}
