//! Campaigns that are paused by themselves: what their lists look like since they were last resumed, and the pause.

use rusqlite::{OptionalExtension, params};

use super::connection::Connection;
use super::values::Json;
use super::{SqliteStore, decode};
use crate::model::{Channel, PauseCause, Quality, Reason, State};
use crate::store::Result;
use crate::store::campaigns::{Running, paused_event};
use crate::store::metric::{METRIC_COMPLAINTS, METRIC_STATE};

/// The counts of campaign `k` that a pause goes by, as one document.
pub(super) fn quality() -> String {
    format!(
        "(SELECT json_object(
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

impl SqliteStore {
    pub(super) async fn running_on(&self, channel: Channel) -> Result<Vec<Running>> {
        self.read(move |connection| {
            let sql = format!(
                "SELECT k.id, {}, k.judged_from FROM campaigns k
                 WHERE k.finished_at IS NULL AND k.channel = ?1 AND NOT k.paused AND k.cancelled_at IS NULL
                   AND k.started_at IS NOT NULL",
                quality()
            );
            let mut list = connection.prepare_cached(&sql)?;
            let mut rows = list.query([channel.code()])?;
            let mut running = Vec::new();
            while let Some(row) = rows.next()? {
                let Json(now): Json<Quality> = row.get(1)?;
                let before: Option<Json<Quality>> = row.get(2)?;
                running
                    .push(Running { id: row.get(0)?, quality: now.since(before.map(|Json(before)| before)) });
            }
            Ok(running)
        })
        .await
    }

    pub(super) async fn pause_for(&self, id: &str, cause: PauseCause, publish: bool) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| pause(connection, &id, cause, publish)).await
    }
}

fn pause(connection: &Connection, id: &str, cause: PauseCause, publish: bool) -> Result<bool> {
    let select = "SELECT channel FROM campaigns
         WHERE id = ?1 AND NOT paused AND finished_at IS NULL AND cancelled_at IS NULL LIMIT 1";
    let found = connection.prepare_cached(select)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(channel) = found else { return Ok(false) };
    let update = "UPDATE campaigns SET paused = 1, pause_cause = ?2
         WHERE id = ?1 AND NOT paused AND finished_at IS NULL AND cancelled_at IS NULL";
    connection.prepare_cached(update)?.execute(params![id, cause.code()])?;
    if publish {
        let (key, payload) = paused_event(id, decode(channel, Channel::from_code)?, cause, connection.now());
        let insert = "INSERT INTO outbox (routing_key, payload) VALUES (?1, ?2)";
        connection.prepare_cached(insert)?.execute(params![key, payload.to_string()])?;
    }
    Ok(true)
}
