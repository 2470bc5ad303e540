//! Jobs on SQLite.

use async_trait::async_trait;

use super::SqliteStore;
use crate::store::jobs::{Acceptance, Incarnation, Jobs, Submission};
use crate::store::{Error, Result};

#[async_trait]
impl Jobs for SqliteStore {
    async fn accept(
        &self,
        submissions: &[Submission],
        owner: Option<Incarnation>,
    ) -> Result<Vec<Acceptance>> {
        let _ = (submissions, owner);
        Err(Error::Refused("not built".into()))
    }

    async fn prune_jobs(&self, days: u32) -> Result<u64> {
        let _ = (days,);
        Err(Error::Refused("not built".into()))
    }
}
