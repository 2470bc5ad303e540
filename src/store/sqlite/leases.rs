//! Leases and heartbeats: which daemon sends which batch, and what becomes of a dead daemon's batches.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::counters::append_move;
use super::values::Json;
use super::{SqliteStore, decode, numbers};
use crate::model::{AddressNo, BatchNo, CampaignNo, Channel, ContactNo, Lane, Reason, State};
use crate::store::dispatching::{Lease, Member, Rescued};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

/// Batches that a rescue frees in one transaction, so that it never holds the writer up for long.
const RESCUED_AT_ONCE: u32 = 64;
/// Messages that are taken up at once.
const TAKEN_UP: u32 = 500;

/// Batches of a campaign's lane that are due, the oldest first.
pub(super) const FREE: &str = "SELECT number FROM batches
     WHERE channel = (SELECT k.channel FROM campaigns k WHERE k.number = ?1) AND lane = ?2 AND campaign = ?1
       AND owner IS NULL AND due_at <= ?3 AND size > watermark
     ORDER BY due_at LIMIT ?4";

impl SqliteStore {
    pub(super) async fn take_leases(
        &self,
        me: Incarnation,
        streams: &[(CampaignNo, Lane)],
        each: u32,
    ) -> Result<Vec<Lease>> {
        let streams = streams.to_vec();
        let take = move |connection: &Connection| {
            let mut free = connection.prepare_cached(FREE)?;
            let mut leases = Vec::new();
            for (campaign, lane) in streams {
                let due = params![campaign.0, lane.code(), connection.now_us(), each];
                let batches =
                    free.query_map(due, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
                for batch in batches {
                    leases.push(take_up(connection, me, batch)?);
                }
            }
            Ok(leases)
        };
        self.write(take).await
    }

    /// An epoch of 0 marks a batch that was not taken up yet.
    pub(super) async fn own_leases(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        let take = move |connection: &Connection| {
            let own = connection
                .prepare_cached(
                    "SELECT number FROM batches WHERE owner = ?1 AND epoch = 0 AND channel = ?2
                     ORDER BY lane, number LIMIT ?3",
                )?
                .query_map(params![me.0, channel.code(), TAKEN_UP], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<i64>>>()?;
            own.into_iter().map(|batch| take_up(connection, me, batch)).collect()
        };
        self.write(take).await
    }

    pub(super) async fn give_back(&self, me: Incarnation, batches: &[BatchNo]) -> Result<()> {
        let batches = batches.to_vec();
        self.write(move |connection| {
            for batch in batches {
                free_batch(connection, me, batch.0)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn rescue_all(&self, dead: Incarnation) -> Result<Rescued> {
        let mut rescued = Rescued::default();
        loop {
            let some = self.write(move |connection| rescue_some(connection, dead)).await?;
            if some.batches == 0 {
                return Ok(rescued);
            }
            rescued.batches += some.batches;
            rescued.unknown += some.unknown;
            rescued.waiting += some.waiting;
        }
    }
}

/// Frees some of a dead incarnation's batches; once none is left, forgets it.
fn rescue_some(connection: &Connection, dead: Incarnation) -> Result<Rescued> {
    let batches = connection
        .prepare_cached("SELECT number FROM batches WHERE owner = ?1 LIMIT ?2")?
        .query_map(params![dead.0, RESCUED_AT_ONCE], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut rescued = Rescued::default();
    for batch in batches {
        if let Some(one) = free_batch(connection, dead, batch)? {
            rescued.batches += 1;
            rescued.unknown += one.unknown;
            rescued.waiting += one.waiting;
        }
    }
    if rescued.batches == 0 {
        forget(connection, dead)?;
    }
    Ok(rescued)
}

/// Removes an incarnation that holds no lease.
pub(super) fn forget(connection: &Connection, incarnation: Incarnation) -> Result<()> {
    let sql =
        "DELETE FROM incarnations WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM batches WHERE owner = ?1)";
    connection.prepare_cached(sql)?.execute([incarnation.0])?;
    Ok(())
}

/// What one batch held when its lease was taken off.
struct Freed {
    unknown: u64,
    waiting: u64,
}

/// Takes `owner`'s lease off a batch: doubtful members become unknown, the others wait for whoever leases next.
fn free_batch(connection: &Connection, owner: Incarnation, batch: i64) -> Result<Option<Freed>> {
    let found = connection
        .prepare_cached(
            "SELECT b.campaign, b.watermark, b.size, m.contacts, m.occurrences
             FROM batches b JOIN batch_members m ON m.batch = b.number WHERE b.number = ?1 AND b.owner = ?2",
        )?
        .query_row([batch, owner.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Vec<u8>>(3)?, row.get::<_, Vec<u8>>(4)?))
        })
        .optional()?;
    let Some((campaign, watermark, size, contacts, occurrences)) = found else { return Ok(None) };
    let (watermark, size): (u32, u32) = (watermark, size);
    let doubtful = numbers::pairs(&contacts, &occurrences)?.take(watermark as usize);
    let unknown = mark_unknown(connection, CampaignNo(campaign), batch, doubtful)?;
    if watermark < size {
        let sql = "UPDATE batches SET owner = NULL, epoch = epoch + 1 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute([batch])?;
    } else {
        connection.prepare_cached("DELETE FROM batches WHERE number = ?1")?.execute([batch])?;
        connection.prepare_cached("DELETE FROM batch_members WHERE batch = ?1")?.execute([batch])?;
    }
    Ok(Some(Freed { unknown, waiting: u64::from(size.saturating_sub(watermark)) }))
}

/// Members before a watermark that have no outcome: the provider may have them.
fn mark_unknown(
    connection: &Connection,
    campaign: CampaignNo,
    batch: i64,
    members: impl Iterator<Item = (i64, i64)>,
) -> Result<u64> {
    let mut statement = connection.prepare_cached(
        "UPDATE deliveries SET state = ?1, reason = ?2, updated_at = ?3
         WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6 AND batch = ?7 AND state = ?8",
    )?;
    let (planned, unknown) = (State::Planned.code(), State::Unknown.code());
    let crash = Reason::Crash.code();
    let mut marked = 0;
    for (contact, occurrence) in members {
        marked += statement.execute(params![
            unknown,
            crash,
            connection.now_us(),
            campaign.0,
            contact,
            occurrence,
            batch,
            planned
        ])?;
    }
    append_move(
        connection,
        campaign,
        (planned, 0),
        (unknown, crash),
        i64::try_from(marked).unwrap_or(i64::MAX),
    )?;
    Ok(marked as u64)
}

/// Makes a batch this incarnation's, and reads it.
fn take_up(connection: &Connection, me: Incarnation, batch: i64) -> Result<Lease> {
    connection
        .prepare_cached("UPDATE batches SET owner = ?1, epoch = epoch + 1 WHERE number = ?2")?
        .execute([me.0, batch])?;
    let mut statement = connection.prepare_cached(
        "SELECT b.number, b.campaign, b.lane, b.epoch, b.attempt, b.watermark, b.template, b.options, b.size,
                m.contacts, m.occurrences, m.addresses
         FROM batches b JOIN batch_members m ON m.batch = b.number WHERE b.number = ?1",
    )?;
    let mut rows = statement.query([batch])?;
    let row = rows.next()?.ok_or_else(|| Error::Refused(format!("batch {batch} has no members").into()))?;
    lease(row)
}

fn lease(row: &Row<'_>) -> Result<Lease> {
    let (watermark, size): (u32, u32) = (row.get(5)?, row.get(8)?);
    let options: Option<Json<_>> = row.get(7)?;
    Ok(Lease {
        batch: BatchNo(row.get(0)?),
        campaign: CampaignNo(row.get(1)?),
        lane: decode(row.get(2)?, Lane::from_code)?,
        epoch: row.get(3)?,
        attempt: row.get(4)?,
        watermark,
        template: row.get(6)?,
        options: options.map(|Json(options)| Arc::new(options)),
        members: members(row)?.into_iter().take(size as usize).skip(watermark as usize).collect(),
    })
}

fn members(row: &Row<'_>) -> Result<Vec<Member>> {
    let list = |at: usize| numbers::decode(&row.get::<_, Vec<u8>>(at)?);
    let (contacts, occurrences, addresses) = (list(9)?, list(10)?, list(11)?);
    let pairs = contacts.into_iter().zip(occurrences).zip(addresses);
    Ok(pairs
        .map(|((contact, occurrence), address)| Member {
            contact: ContactNo(contact),
            occurrence,
            address: AddressNo(address),
        })
        .collect())
}
