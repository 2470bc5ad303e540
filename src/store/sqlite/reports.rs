//! Reports on SQLite.

use crate::model::{Reason, State};
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::reports::{Counts, DeliveryQuery, DeliveryRecord, Explanation, Reports, Totals};
use crate::store::{Error, Result};

#[async_trait]
impl Reports for SqliteStore {
    async fn counts(&self, campaign: &str) -> Result<Option<Counts>> {
        let _ = (campaign,);
        Err(Error::Refused("not built".into()))
    }

    async fn count_rows(&self, campaign: &str) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let _ = (campaign,);
        Err(Error::Refused("not built".into()))
    }

    async fn deliveries(&self, campaign: &str, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>> {
        let _ = (campaign, query);
        Err(Error::Refused("not built".into()))
    }

    async fn totals(&self) -> Result<Totals> {
        Err(Error::Refused("not built".into()))
    }

    async fn explain(&self, campaign: &str, external_id: &str) -> Result<Vec<Explanation>> {
        let _ = (campaign, external_id);
        Err(Error::Refused("not built".into()))
    }
}
