//! Campaigns that are paused by themselves: what their lists look like since they were last resumed, and the pause.

use deadpool_postgres::GenericClient;
use tokio_postgres::types::Json;

use super::{PgStore, decode};
use crate::model::{Channel, PauseCause, Quality, Reason, State};
use crate::store::Result;
use crate::store::campaigns::{Running, paused_event};
use crate::store::metric::{METRIC_COMPLAINTS, METRIC_STATE};

/// The counts of campaign `k` that a pause goes by, as one document.
pub(super) fn quality() -> String {
    format!(
        "(SELECT jsonb_build_object(
             'sent', coalesce(sum(n) FILTER (WHERE metric = {METRIC_STATE} AND (state IN ({accepted}, {delivered}, {bounced}) OR {dead})), 0),
             'bounced', coalesce(sum(n) FILTER (WHERE metric = {METRIC_STATE} AND (state = {bounced} OR {dead})), 0),
             'complained', coalesce(sum(n) FILTER (WHERE metric = {METRIC_COMPLAINTS}), 0))
          FROM (SELECT metric, state, reason, n FROM counters c WHERE c.campaign = k.number
                UNION ALL
                SELECT metric, state, reason, n FROM counter_deltas c WHERE c.campaign = k.number) parts)",
        accepted = State::Accepted.code(),
        delivered = State::Delivered.code(),
        bounced = State::Bounced.code(),
        dead = format_args!(
            "state = {} AND reason = {}",
            State::Rejected.code(),
            Reason::UnknownRecipient.code()
        ),
    )
}

impl PgStore {
    pub(super) async fn running_on(&self, channel: Channel) -> Result<Vec<Running>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT k.id, {}, k.judged_from FROM campaigns k
                 WHERE k.finished_at IS NULL AND k.channel = $1 AND NOT k.paused AND k.cancelled_at IS NULL
                   AND k.started_at IS NOT NULL",
                quality()
            ))
            .await?;
        let rows = client.query(&statement, &[&channel.code()]).await?;
        let running = |row: &tokio_postgres::Row| {
            let (Json(now), before): (Json<Quality>, Option<Json<Quality>>) = (row.get(1), row.get(2));
            Running { id: row.get(0), quality: now.since(before.map(|Json(before)| before)) }
        };
        Ok(rows.iter().map(running).collect())
    }

    pub(super) async fn pause_for(&self, id: &str, cause: PauseCause, publish: bool) -> Result<bool> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let paused = transaction
            .query(
                "UPDATE campaigns SET paused = true, pause_cause = $2
                 WHERE id = $1 AND NOT paused AND finished_at IS NULL AND cancelled_at IS NULL RETURNING channel, now()",
                &[&id, &cause.code()],
            )
            .await?;
        let Some(row) = paused.first() else { return Ok(false) };
        if publish {
            let channel = decode(row.get(0), Channel::from_code)?;
            let event = paused_event(id, channel, cause, row.get(1));
            super::tracking::enqueue(&transaction, &[event]).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
