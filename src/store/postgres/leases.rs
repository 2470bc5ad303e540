//! Leases and heartbeats: which daemon sends which batch, and what becomes of a dead daemon's batches.

use std::sync::Arc;

use deadpool_postgres::{GenericClient, Transaction};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::counters::append_move;
use super::{PgStore, by_key, decode, deliveries_table};
use crate::model::{AddressNo, BatchNo, CampaignNo, Channel, ContactNo, Lane, Reason, State};
use crate::store::dispatching::{CRASHED, Doubt, Hold, Lease, Member, MessageOptions, Rescued, Resend};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

const COLUMNS: &str =
    "b.number, b.campaign, b.lane, b.epoch, b.attempt, b.watermark, b.size, b.template, b.options,
     b.contacts, b.occurrences, b.addresses, b.doubt, b.resend_until, b.resend_provider";

impl PgStore {
    pub(super) async fn take_leases(
        &self,
        me: Incarnation,
        streams: &[(CampaignNo, Lane)],
        each: u32,
    ) -> Result<Vec<Lease>> {
        let campaigns: Vec<i64> = streams.iter().map(|(campaign, _)| campaign.0).collect();
        let lanes: Vec<i16> = streams.iter().map(|(_, lane)| lane.code()).collect();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "WITH free AS MATERIALIZED (
                     SELECT w.number FROM unnest($2::bigint[], $3::smallint[]) AS n (campaign, lane),
                     LATERAL (SELECT b.number FROM batches b
                              WHERE b.channel = (SELECT k.channel FROM campaigns k WHERE k.number = n.campaign) AND b.lane = n.lane
                                AND b.campaign = n.campaign AND b.owner IS NULL AND b.due_at <= now() AND b.size > b.watermark
                              ORDER BY b.due_at LIMIT $4 FOR UPDATE SKIP LOCKED) w)
                 UPDATE batches b SET owner = $1, epoch = b.epoch + 1 FROM free
                 WHERE b.number = free.number RETURNING {COLUMNS}"
            ))
            .await?;
        let rows = client.query(&statement, &[&me.0, &campaigns, &lanes, &i64::from(each)]).await?;
        rows.iter().map(lease).collect()
    }

    /// Raising the epoch marks a batch as taken up. Whose it is and how it stands is asked again once its row is locked: a
    /// rescue may have come first.
    pub(super) async fn own_leases(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "UPDATE batches b SET epoch = 1 WHERE b.number = ANY (ARRAY(
                     SELECT w.number FROM batches w WHERE w.owner = $1 AND w.epoch = 0 AND w.channel = $2
                     ORDER BY w.lane, w.number LIMIT 500))
                   AND b.owner = $1 AND b.epoch = 0
                 RETURNING {COLUMNS}"
            ))
            .await?;
        let rows = client.query(&statement, &[&me.0, &channel.code()]).await?;
        rows.iter().map(lease).collect()
    }

    pub(super) async fn give_back(&self, me: Incarnation, holds: &[Hold]) -> Result<()> {
        for hold in holds {
            let which = "owner = $1 AND number = $2 AND epoch = $3 FOR UPDATE";
            self.free_batch(which, &[&me.0, &hold.batch.0, &hold.epoch]).await?;
        }
        Ok(())
    }

    /// One batch a transaction, so that a rescue never holds many locks; several daemons share the work.
    pub(super) async fn rescue_all(&self, dead: Incarnation) -> Result<Rescued> {
        let mut rescued = Rescued::default();
        while let Some(one) = self.free_batch("owner = $1 LIMIT 1 FOR UPDATE SKIP LOCKED", &[&dead.0]).await?
        {
            rescued += one;
        }
        self.forget(dead).await?;
        Ok(rescued)
    }

    /// Removes an incarnation that holds no lease.
    pub(super) async fn forget(&self, incarnation: Incarnation) -> Result<()> {
        let client = self.client().await?;
        client
            .execute(
                "DELETE FROM incarnations WHERE number = $1 AND NOT EXISTS (SELECT FROM batches WHERE owner = $1)",
                &[&incarnation.0],
            )
            .await?;
        Ok(())
    }

    /// Takes the lease off one batch that `which` finds and locks: what is in doubt is sent again or becomes unknown, the
    /// others wait for whoever leases next.
    async fn free_batch(&self, which: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<Option<Rescued>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Locking raises the epoch in a statement of its own: marking rows in the same one would see a stale snapshot.
        let row = transaction
            .query_opt(
                &format!(
                    "UPDATE batches SET epoch = epoch + 1 WHERE number = (SELECT number FROM batches WHERE {which})
                     RETURNING number, campaign, watermark, size, contacts, occurrences, addresses, attempt, doubt,
                               coalesce(resend_until > now(), false)"
                ),
                bound,
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (watermark, size): (i32, i32) = (row.get(2), row.get(3));
        let doubtful = Doubtful::read(&row);
        let mut rescued = Rescued { batches: 1, ..Rescued::default() };
        if row.get(9) {
            rescued.resent = doubtful.send_again(&transaction).await?;
        } else {
            rescued.unknown = doubtful.mark_unknown(&transaction).await?;
        }
        let settle = if watermark < size {
            "UPDATE batches SET owner = NULL WHERE number = $1"
        } else {
            "DELETE FROM batches WHERE number = $1"
        };
        transaction.execute(settle, &[&doubtful.batch]).await?;
        transaction.commit().await?;
        rescued.waiting = u64::try_from(i64::from(size) - i64::from(watermark)).unwrap_or(0);
        Ok(Some(rescued))
    }
}

/// Members of a batch before its watermark: those of them that have no outcome may be with a provider.
struct Doubtful {
    batch: i64,
    campaign: CampaignNo,
    contacts: Vec<i64>,
    occurrences: Vec<i64>,
    addresses: Vec<i64>,
    /// Attempts that this one makes.
    attempts: i16,
    reason: i16,
}

impl Doubtful {
    fn read(row: &Row) -> Self {
        let watermark = usize::try_from(row.get::<_, i32>(2)).unwrap_or(0);
        let list = |at| {
            let mut members: Vec<i64> = row.get(at);
            members.truncate(watermark);
            members
        };
        Doubtful {
            batch: row.get(0),
            campaign: CampaignNo(row.get(1)),
            contacts: list(4),
            occurrences: list(5),
            addresses: list(6),
            attempts: row.get::<_, i16>(7).saturating_add(1),
            reason: row.get::<_, Option<i16>>(8).unwrap_or(Reason::Crash.code()),
        }
    }

    async fn mark_unknown(&self, transaction: &Transaction<'_>) -> Result<u64> {
        let (planned, unknown) = (State::Planned.code(), State::Unknown.code());
        let marked = transaction
            .execute(
                &format!(
                    "UPDATE {} d SET state = $4, reason = $5, updated_at = now()
                     FROM unnest($2::bigint[], $3::bigint[]) AS n (contact, occurrence), {}
                     WHERE d.ctid = t.ctid AND d.batch = $6 AND d.state = $7",
                    deliveries_table(self.campaign),
                    by_key(self.campaign)
                ),
                &[
                    &self.campaign.0,
                    &self.contacts,
                    &self.occurrences,
                    &unknown,
                    &self.reason,
                    &self.batch,
                    &planned,
                ],
            )
            .await?;
        if marked > 0 {
            let n = i64::try_from(marked).unwrap_or(i64::MAX);
            append_move(transaction, self.campaign, (planned, 0), (unknown, self.reason), n).await?;
        }
        Ok(marked)
    }

    /// Moves them to a batch of their own that is due at once; each keeps the attempt in its history.
    async fn send_again(&self, transaction: &Transaction<'_>) -> Result<u64> {
        let sql = format!(
            "WITH new AS (SELECT nextval('batch_numbers') AS number),
             moved AS (
                 UPDATE {} d SET batch = new.number, attempts = $5, updated_at = now()
                 FROM new, unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS n (contact, occurrence, address), {}
                 WHERE d.ctid = t.ctid AND d.state = {} AND d.batch = $6
                 RETURNING n.contact, n.occurrence, n.address),
             tried AS (
                 INSERT INTO attempts (campaign, contact, occurrence, at, attempt, reason, outcome, detail)
                 SELECT $1, contact, occurrence, now(), $5, $7, 'retry', $8 FROM moved)
             INSERT INTO batches (number, campaign, channel, lane, attempt, due_at, template, options, size, contacts,
                                  occurrences, addresses, doubt, resend_until, resend_provider)
             SELECT new.number, b.campaign, b.channel, b.lane, $5, now(), b.template, b.options, m.size, m.contacts,
                    m.occurrences, m.addresses, $7, b.resend_until, b.resend_provider
             FROM new, batches b, (
                 SELECT count(*) AS size, array_agg(contact ORDER BY contact, occurrence) AS contacts,
                        array_agg(occurrence ORDER BY contact, occurrence) AS occurrences,
                        array_agg(address ORDER BY contact, occurrence) AS addresses FROM moved) m
             WHERE b.number = $6 AND m.size > 0 RETURNING size",
            deliveries_table(self.campaign),
            by_key(self.campaign),
            State::Planned.code(),
        );
        let bound: [&(dyn ToSql + Sync); 8] = [
            &self.campaign.0,
            &self.contacts,
            &self.occurrences,
            &self.addresses,
            &self.attempts,
            &self.batch,
            &self.reason,
            &CRASHED,
        ];
        let row = transaction.query_opt(&sql, &bound).await?;
        Ok(row.map_or(0, |row| u64::try_from(row.get::<_, i32>(0)).unwrap_or(0)))
    }
}

fn lease(row: &Row) -> Result<Lease> {
    let (watermark, size): (i32, i32) = (row.get(5), row.get(6));
    let first = usize::try_from(watermark).unwrap_or(0);
    let last = usize::try_from(size).unwrap_or(0);
    let (contacts, occurrences, addresses): (Vec<i64>, Vec<i64>, Vec<i64>) =
        (row.get(9), row.get(10), row.get(11));
    let members = (first..last.min(contacts.len()))
        .map(|at| Member {
            contact: ContactNo(contacts[at]),
            occurrence: occurrences[at],
            address: AddressNo(addresses[at]),
        })
        .collect();
    let options: Option<Json<MessageOptions>> = row.get(8);
    let doubt: Option<i16> = row.get(12);
    Ok(Lease {
        batch: BatchNo(row.get(0)),
        campaign: CampaignNo(row.get(1)),
        lane: decode(row.get(2), Lane::from_code)?,
        epoch: row.get(3),
        attempt: u16::try_from(row.get::<_, i16>(4)).unwrap_or(0),
        watermark: u32::try_from(watermark).unwrap_or(0),
        template: hash(row.get(7))?,
        options: options.map(|Json(options)| Arc::new(options)),
        doubt: doubt
            .map(|code| {
                let until = row.get::<_, Option<Timestamp>>(13).unwrap_or(Timestamp::UNIX_EPOCH);
                let provider = row.get::<_, Option<&str>>(14).map(Arc::from);
                Ok::<_, Error>(Doubt {
                    reason: decode(code, Reason::from_code)?,
                    resend: Resend { until, provider },
                })
            })
            .transpose()?,
        members,
    })
}

pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::Refused("a template's hash does not have 32 bytes".into()))
}
