//! How campaigns end on SQLite: what a cancelled or expired one has not sent is settled, and what is done is closed.
//! In slices, since dispatching shares the writer.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::connection::Connection;
use super::counters::append_move;
use super::standing::month_of;
use super::values::At;
use super::{SqliteStore, decode, numbers};
use crate::model::{CampaignNo, CampaignStatus, Channel, Reason, State};
use crate::store::Result;
use crate::store::metric::METRIC_STATE;
use crate::store::planning::Finished;

/// Batches that one transaction settles.
const SLICE: u32 = 16;
/// Recipients' own data that one transaction deletes.
const DATA_SLICE: u32 = 5_000;
/// A month's standing campaigns stay open so long into the next, for what was accepted at its very end.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

impl SqliteStore {
    pub(super) async fn settle_all_stopped(&self) -> Result<u64> {
        self.write(|connection| {
            let expire = "UPDATE campaigns SET expired_at = ?1
                 WHERE finished_at IS NULL AND expired_at IS NULL AND NOT standing AND expires_at <= ?1";
            connection.prepare_cached(expire)?.execute([connection.now_us()])?;
            Ok(())
        })
        .await?;
        let mut settled = 0;
        loop {
            let (batches, deliveries) = self.write(settle_slice).await?;
            settled += deliveries;
            if batches < SLICE {
                return Ok(settled);
            }
        }
    }

    pub(super) async fn finish_all_done(&self, publish: bool) -> Result<Vec<Finished>> {
        let mut finished = Vec::new();
        for campaign in self.read(done).await? {
            while self.write(move |connection| forget_data(connection, campaign)).await? {}
            // Counting takes long in a large campaign, so it reads beside the writer; nothing waits any more, and what a
            // receipt moves moves row and counter together.
            let imbalance = self.read(move |connection| imbalance(connection, campaign)).await?;
            let closed = self.write(move |connection| close(connection, campaign, publish)).await?;
            finished.extend(closed.map(|id| Finished { id, imbalance }));
        }
        Ok(finished)
    }
}

/// Settles some batches' members at or past their watermarks. Returns how many batches and members.
fn settle_slice(connection: &Connection) -> Result<(u32, u64)> {
    let mut list = connection.prepare_cached(
        "SELECT b.number, b.campaign, b.watermark, b.owner IS NOT NULL, k.cancelled_at IS NOT NULL, b.doubt
         FROM campaigns k JOIN batches b ON b.campaign = k.number
         WHERE k.finished_at IS NULL AND (k.cancelled_at IS NOT NULL OR k.expired_at IS NOT NULL)
           AND b.size > b.watermark LIMIT ?1",
    )?;
    let rows = list.query_map([SLICE], |row| {
        let stopped = Stopped {
            batch: row.get(0)?,
            campaign: CampaignNo(row.get(1)?),
            watermark: row.get(2)?,
            owned: row.get(3)?,
        };
        Ok((stopped, row.get(4)?, row.get(5)?))
    })?;
    let stopped: Vec<(Stopped, bool, Option<i16>)> = rows.collect::<rusqlite::Result<_>>()?;
    let mut settled = 0;
    for (batch, cancelled, doubt) in &stopped {
        let (state, reason) = match (doubt, cancelled) {
            // What may have been sent is not told as never sent.
            (Some(doubt), _) => (State::Unknown, decode(*doubt, Reason::from_code)?),
            (None, true) => (State::Cancelled, Reason::CampaignCancelled),
            (None, false) => (State::Expired, Reason::CampaignExpired),
        };
        settled += batch.settle(connection, state, reason)?;
    }
    Ok((u32::try_from(stopped.len()).unwrap_or(u32::MAX), settled))
}

/// A batch of a campaign that has stopped.
struct Stopped {
    batch: i64,
    campaign: CampaignNo,
    watermark: u32,
    owned: bool,
}

impl Stopped {
    fn settle(&self, connection: &Connection, state: State, reason: Reason) -> Result<u64> {
        let select = "SELECT contacts, occurrences FROM batch_members WHERE batch = ?1";
        let (contacts, occurrences): (Vec<u8>, Vec<u8>) = connection
            .prepare_cached(select)?
            .query_row([self.batch], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let members = numbers::decode(&contacts)?.into_iter().zip(numbers::decode(&occurrences)?);
        let mut update = connection.prepare_cached(
            "UPDATE deliveries SET state = ?4, reason = ?5, updated_at = ?6
             WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3 AND state = ?7 AND batch = ?8",
        )?;
        let (at, waiting) = (connection.now_us(), State::Planned.code());
        let mut moved = 0;
        for (contact, occurrence) in members.skip(self.watermark as usize) {
            let key = (self.campaign.0, contact, occurrence);
            moved += update.execute(params![
                key.0,
                key.1,
                key.2,
                state.code(),
                reason.code(),
                at,
                waiting,
                self.batch
            ])?;
        }
        let n = i64::try_from(moved).unwrap_or(i64::MAX);
        append_move(connection, self.campaign, (waiting, 0), (state.code(), reason.code()), n)?;
        // A batch that nobody owns has no doubtful members; an owned one vanishes with its last outcome.
        let shrink: &[&str] = match self.owned {
            true => &["UPDATE batches SET size = watermark WHERE number = ?1"],
            false => &["DELETE FROM batches WHERE number = ?1", "DELETE FROM batch_members WHERE batch = ?1"],
        };
        for statement in shrink {
            connection.prepare_cached(statement)?.execute([self.batch])?;
        }
        Ok(moved as u64)
    }
}

/// Campaigns that are planned and have no batch any more.
fn done(connection: &Connection) -> Result<Vec<CampaignNo>> {
    let mut list = connection.prepare_cached(
        "SELECT number FROM campaigns k WHERE finished_at IS NULL AND planned_at IS NOT NULL
           AND (NOT standing OR month < ?1) AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.campaign = k.number)",
    )?;
    let month = month_of(connection.now() - GRACE);
    let numbers = list.query_map([month], |row| Ok(CampaignNo(row.get(0)?)))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

/// Returns whether there may be more.
fn forget_data(connection: &Connection, campaign: CampaignNo) -> Result<bool> {
    let sql = "DELETE FROM recipient_data WHERE campaign = ?1 AND (contact, occurrence) IN (
             SELECT contact, occurrence FROM recipient_data WHERE campaign = ?1 LIMIT ?2)";
    Ok(connection.prepare_cached(sql)?.execute(params![campaign.0, DATA_SLICE])? == DATA_SLICE as usize)
}

/// The counters of a campaign's states, folded and not.
const COUNTED: &str = "
    SELECT state, reason, n FROM counters WHERE campaign = ?1 AND metric = ?2
    UNION ALL
    SELECT state, reason, n FROM counter_deltas WHERE campaign = ?1 AND metric = ?2";

/// How far a campaign's rows are from its counters.
fn imbalance(connection: &Connection, campaign: CampaignNo) -> Result<i64> {
    let mut off: HashMap<(i16, i16), i64> = HashMap::new();
    let mut counted = connection.prepare_cached(COUNTED)?;
    let mut rows = counted.query(params![campaign.0, METRIC_STATE])?;
    while let Some(row) = rows.next()? {
        *off.entry((row.get(0)?, row.get(1)?)).or_default() += row.get::<_, i64>(2)?;
    }
    let sql = "SELECT state, coalesce(reason, 0), count(*) FROM deliveries WHERE campaign = ?1 GROUP BY 1, 2";
    let mut counted = connection.prepare_cached(sql)?;
    let mut rows = counted.query([campaign.0])?;
    while let Some(row) = rows.next()? {
        *off.entry((row.get(0)?, row.get(1)?)).or_default() -= row.get::<_, i64>(2)?;
    }
    Ok(off.values().map(|n| n.abs()).sum())
}

/// Returns the campaign's id where it was still open and has nothing on its way.
fn close(connection: &Connection, campaign: CampaignNo, publish: bool) -> Result<Option<String>> {
    let close = "UPDATE campaigns SET finished_at = ?2 WHERE number = ?1 AND finished_at IS NULL
         AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.campaign = ?1) RETURNING id";
    let closed = connection
        .prepare_cached(close)?
        .query_row([campaign.0, connection.now_us()], |row| row.get(0))
        .optional()?;
    if publish && closed.is_some() {
        announce(connection, campaign)?;
    }
    Ok(closed)
}

/// Tells the outbox that a bulk campaign has ended, and how.
fn announce(connection: &Connection, campaign: CampaignNo) -> Result<()> {
    let sql = "SELECT id, channel, standing, cancelled_at IS NOT NULL, finished_at FROM campaigns WHERE number = ?1";
    let (id, channel, standing, cancelled, at): (String, i16, bool, bool, At) =
        connection.prepare_cached(sql)?.query_row([campaign.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
    if standing {
        return Ok(());
    }
    let sql = format!("SELECT state, sum(n) FROM ({COUNTED}) GROUP BY state HAVING sum(n) <> 0");
    let mut counted = connection.prepare_cached(&sql)?;
    let mut rows = counted.query(params![campaign.0, METRIC_STATE])?;
    let (mut states, mut targeted) = (serde_json::Map::new(), 0);
    while let Some(row) = rows.next()? {
        let n: i64 = row.get(1)?;
        states.insert(decode(row.get(0)?, State::from_code)?.to_string(), n.into());
        targeted += n;
    }
    let status = if cancelled { CampaignStatus::Cancelled } else { CampaignStatus::Finished };
    let payload = serde_json::json!({
        "id": uuid::Uuid::now_v7(),
        "event": "campaign.finished",
        "at": at.0,
        "campaign": id,
        "channel": decode(channel, Channel::from_code)?,
        "status": status,
        "targeted": targeted,
        "states": states,
    });
    let insert = "INSERT INTO outbox (routing_key, payload) VALUES ('campaign.finished', ?1)";
    connection.prepare_cached(insert)?.execute([payload.to_string()])?;
    Ok(())
}
