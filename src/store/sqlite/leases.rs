//! Leases and heartbeats: which daemon sends which batch, and what becomes of a dead daemon's batches.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::counters::append_move;
use super::values::{At, Json};
use super::{SqliteStore, decode, numbers};
use crate::model::{AddressNo, BatchNo, CampaignNo, Channel, ContactNo, Lane, Reason, State};
use crate::store::dispatching::{CRASHED, Doubt, Hold, Lease, Member, Rescued, Resend};
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

    pub(super) async fn give_back(&self, me: Incarnation, holds: &[Hold]) -> Result<()> {
        let holds = holds.to_vec();
        self.write(move |connection| {
            let held = "SELECT 1 FROM batches WHERE number = ?1 AND owner = ?2 AND epoch = ?3";
            let mut held = connection.prepare_cached(held)?;
            for Hold { batch, epoch } in holds {
                if held.exists(params![batch.0, me.0, epoch])? {
                    free_batch(connection, me, batch.0)?;
                }
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
            rescued += some;
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
        rescued += free_batch(connection, dead, batch)?.unwrap_or_default();
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

/// Takes `owner`'s lease off a batch: what is in doubt is sent again or becomes unknown, the others wait for whoever
/// leases next.
fn free_batch(connection: &Connection, owner: Incarnation, batch: i64) -> Result<Option<Rescued>> {
    let found = connection
        .prepare_cached(
            "SELECT b.campaign, b.watermark, b.size, b.attempt, b.doubt, coalesce(b.resend_until > ?3, 0),
                    m.contacts, m.occurrences, m.addresses
             FROM batches b JOIN batch_members m ON m.batch = b.number WHERE b.number = ?1 AND b.owner = ?2",
        )?
        .query_row(params![batch, owner.0, connection.now_us()], |row| {
            let lists = (row.get::<_, Vec<u8>>(6)?, row.get::<_, Vec<u8>>(7)?, row.get::<_, Vec<u8>>(8)?);
            let doubtful = Doubtful {
                connection,
                batch,
                campaign: CampaignNo(row.get(0)?),
                attempts: row.get::<_, u16>(3)?.saturating_add(1),
                reason: row.get::<_, Option<i16>>(4)?.unwrap_or(Reason::Crash.code()),
            };
            Ok((doubtful, row.get::<_, u32>(1)?, row.get::<_, u32>(2)?, row.get::<_, bool>(5)?, lists))
        })
        .optional()?;
    let Some((doubtful, watermark, size, again, (contacts, occurrences, addresses))) = found else {
        return Ok(None);
    };
    let members = numbers::pairs(&contacts, &occurrences)?.zip(numbers::decode(&addresses)?);
    let members: Vec<((i64, i64), i64)> = members.take(watermark as usize).collect();
    let waiting = u64::from(size.saturating_sub(watermark));
    let mut rescued = Rescued { batches: 1, waiting, ..Rescued::default() };
    if again {
        rescued.resent = doubtful.send_again(&members)?;
    } else {
        rescued.unknown = doubtful.mark_unknown(&members)?;
    }
    if watermark < size {
        let sql = "UPDATE batches SET owner = NULL, epoch = epoch + 1 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute([batch])?;
    } else {
        connection.prepare_cached("DELETE FROM batches WHERE number = ?1")?.execute([batch])?;
        connection.prepare_cached("DELETE FROM batch_members WHERE batch = ?1")?.execute([batch])?;
    }
    Ok(Some(rescued))
}

/// Members of a batch before its watermark: those of them that have no outcome may be with a provider.
struct Doubtful<'c> {
    connection: &'c Connection,
    batch: i64,
    campaign: CampaignNo,
    /// Attempts that this one makes.
    attempts: u16,
    reason: i16,
}

impl Doubtful<'_> {
    fn mark_unknown(&self, members: &[((i64, i64), i64)]) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE deliveries SET state = ?1, reason = ?2, updated_at = ?3
             WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6 AND batch = ?7 AND state = ?8",
        )?;
        let (planned, unknown) = (State::Planned.code(), State::Unknown.code());
        let mut marked = 0;
        for ((contact, occurrence), _) in members {
            marked += statement.execute(params![
                unknown,
                self.reason,
                self.connection.now_us(),
                self.campaign.0,
                contact,
                occurrence,
                self.batch,
                planned
            ])?;
        }
        let n = i64::try_from(marked).unwrap_or(i64::MAX);
        append_move(self.connection, self.campaign, (planned, 0), (unknown, self.reason), n)?;
        Ok(marked as u64)
    }

    /// Moves them to a batch of their own that is due at once; each keeps the attempt in its history.
    fn send_again(&self, members: &[((i64, i64), i64)]) -> Result<u64> {
        let connection = self.connection;
        connection
            .prepare_cached(
                "INSERT INTO batches (campaign, channel, lane, attempt, due_at, template, options, size, doubt, resend_until,
                                      resend_provider)
                 SELECT campaign, channel, lane, ?2, ?3, template, options, 0, ?4, resend_until, resend_provider
                 FROM batches WHERE number = ?1",
            )?
            .execute(params![self.batch, self.attempts, connection.now_us(), self.reason])?;
        let new = connection.last_insert_rowid();
        let mut update = connection.prepare_cached(
            "UPDATE deliveries SET batch = ?1, attempts = ?2, updated_at = ?3
             WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6 AND state = ?7 AND batch = ?8",
        )?;
        let mut tried = connection.prepare_cached(
            "INSERT INTO attempts (campaign, contact, occurrence, at, attempt, reason, outcome, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'retry', ?7)",
        )?;
        let mut moved = Vec::new();
        for member in members {
            let (campaign, ((contact, occurrence), _)) = (self.campaign.0, member);
            let planned = State::Planned.code();
            let to = params![
                new,
                self.attempts,
                connection.now_us(),
                campaign,
                contact,
                occurrence,
                planned,
                self.batch
            ];
            if update.execute(to)? > 0 {
                let attempt = params![
                    campaign,
                    contact,
                    occurrence,
                    connection.now_us(),
                    self.attempts,
                    self.reason,
                    CRASHED
                ];
                tried.execute(attempt)?;
                moved.push(*member);
            }
        }
        if moved.is_empty() {
            connection.prepare_cached("DELETE FROM batches WHERE number = ?1")?.execute([new])?;
            return Ok(0);
        }
        let column =
            |of: fn(&((i64, i64), i64)) -> i64| numbers::encode(&moved.iter().map(of).collect::<Vec<_>>());
        connection
            .prepare_cached("UPDATE batches SET size = ?1 WHERE number = ?2")?
            .execute([i64::try_from(moved.len()).unwrap_or(i64::MAX), new])?;
        let members =
            "INSERT INTO batch_members (batch, contacts, occurrences, addresses) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(members)?.execute(params![
            new,
            column(|((contact, _), _)| *contact),
            column(|((_, occurrence), _)| *occurrence),
            column(|(_, address)| *address),
        ])?;
        Ok(moved.len() as u64)
    }
}

/// Makes a batch this incarnation's, and reads it.
fn take_up(connection: &Connection, me: Incarnation, batch: i64) -> Result<Lease> {
    connection
        .prepare_cached("UPDATE batches SET owner = ?1, epoch = epoch + 1 WHERE number = ?2")?
        .execute([me.0, batch])?;
    let mut statement = connection.prepare_cached(
        "SELECT b.number, b.campaign, b.lane, b.epoch, b.attempt, b.watermark, b.template, b.options, b.size,
                m.contacts, m.occurrences, m.addresses, b.doubt, b.resend_until, b.resend_provider
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
        doubt: doubt(row)?,
        members: members(row)?.into_iter().take(size as usize).skip(watermark as usize).collect(),
    })
}

fn doubt(row: &Row<'_>) -> Result<Option<Doubt>> {
    let Some(reason) = row.get(12)? else { return Ok(None) };
    let until = row.get::<_, Option<At>>(13)?.map_or(Timestamp::UNIX_EPOCH, At::instant);
    let provider = row.get::<_, Option<String>>(14)?.map(Arc::from);
    Ok(Some(Doubt { reason: decode(reason, Reason::from_code)?, resend: Resend { until, provider } }))
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
