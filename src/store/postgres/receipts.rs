//! Receipts on PostgreSQL.

use async_trait::async_trait;

use super::PgStore;
use crate::model::Receipt;
use crate::store::receipts::{Filed, Receipts};
use crate::store::{Error, Result};

#[async_trait]
impl Receipts for PgStore {
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>> {
        let _ = (receipts, publish);
        Err(Error::Refused("not built".into()))
    }
}
