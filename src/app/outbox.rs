//! The store's outbox as the publisher of events reads it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::amqp::{OutEvent, Outbox, OutboxAway};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};
use crate::telemetry::Outage;

/// Of several daemons one publishes at a time.
#[derive(Debug)]
pub(super) struct StoreOutbox {
    pub(super) store: Arc<dyn Store>,
    pub(super) me: Incarnation,
    pub(super) outage: Outage,
}

impl StoreOutbox {
    fn told<T>(&self, answer: Result<T, Error>) -> Result<T, OutboxAway> {
        match &answer {
            Ok(_) => self.outage.ends(),
            Err(error) => self.outage.goes_on(error),
        }
        answer.map_err(|_| OutboxAway)
    }
}

#[async_trait]
impl Outbox for StoreOutbox {
    async fn take(&self, most: usize) -> Result<Vec<OutEvent>, OutboxAway> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let rows = self.told(self.store.outbox(self.me, most).await)?;
        let event = |row: crate::store::tracking::OutboxRow| OutEvent {
            id: row.number,
            routing_key: row.routing_key,
            payload: row.payload.to_string().into(),
        };
        Ok(rows.into_iter().map(event).collect())
    }

    async fn done(&self, ids: &[i64]) -> Result<(), OutboxAway> {
        self.told(self.store.outbox_done(ids).await)
    }
}
