//! Contacts on SQLite.

use crate::model::Channel;
use crate::model::contact::Contact;
use async_trait::async_trait;

use super::SqliteStore;
use crate::store::contacts::{
    ContactRecord, Contacts, ForeignAddress, Suppression, SuppressionRecord, TimelineEntry, Upsert,
};
use crate::store::{Error, Result};

#[async_trait]
impl Contacts for SqliteStore {
    async fn upsert_contacts(
        &self,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let _ = (contacts, mode, source);
        Err(Error::Refused("not built".into()))
    }

    async fn contact(&self, external_id: &str) -> Result<Option<ContactRecord>> {
        let _ = (external_id,);
        Err(Error::Refused("not built".into()))
    }

    async fn owner_of(&self, address: &str) -> Result<Option<String>> {
        let _ = (address,);
        Err(Error::Refused("not built".into()))
    }

    async fn timeline(&self, external_id: &str, limit: u32) -> Result<Option<Vec<TimelineEntry>>> {
        let _ = (external_id, limit);
        Err(Error::Refused("not built".into()))
    }

    async fn erase_contact(&self, external_id: &str) -> Result<bool> {
        let _ = (external_id,);
        Err(Error::Refused("not built".into()))
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64> {
        let _ = (entries,);
        Err(Error::Refused("not built".into()))
    }

    async fn unsuppress(&self, channel: Channel, address: &str) -> Result<bool> {
        let _ = (channel, address);
        Err(Error::Refused("not built".into()))
    }

    async fn suppressions(&self, limit: u32) -> Result<Vec<SuppressionRecord>> {
        let _ = (limit,);
        Err(Error::Refused("not built".into()))
    }
}
