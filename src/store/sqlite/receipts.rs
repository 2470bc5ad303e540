//! Receipts on SQLite.

use crate::model::Receipt;
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::receipts::{Filed, Receipts};
use crate::store::{Error, Result};

#[async_trait]
impl Receipts for SqliteStore {
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>> {
        let _ = (receipts, publish);
        Err(Error::Refused("not built".into()))
    }
}
