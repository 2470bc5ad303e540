//! Leases and heartbeats: which daemon sends which batch, and what becomes of a dead daemon's batches.

use std::sync::Arc;

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::counters::append_move;
use super::{PgStore, by_key, decode, deliveries_table};
use crate::model::{AddressNo, BatchNo, CampaignNo, Channel, ContactNo, Lane, Reason, State};
use crate::store::dispatching::{Lease, Member, MessageOptions, Rescued};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

const COLUMNS: &str =
    "b.number, b.campaign, b.lane, b.epoch, b.attempt, b.watermark, b.size, b.template, b.options,
     b.contacts, b.occurrences, b.addresses";

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

    /// Raising the epoch marks a batch as taken up.
    pub(super) async fn own_leases(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "UPDATE batches b SET epoch = 1 WHERE b.number = ANY (ARRAY(
                     SELECT w.number FROM batches w WHERE w.owner = $1 AND w.epoch = 0 AND w.channel = $2
                     ORDER BY w.lane, w.number LIMIT 500))
                 RETURNING {COLUMNS}"
            ))
            .await?;
        let rows = client.query(&statement, &[&me.0, &channel.code()]).await?;
        rows.iter().map(lease).collect()
    }

    pub(super) async fn give_back(&self, me: Incarnation, batches: &[BatchNo]) -> Result<()> {
        for batch in batches {
            self.free_batch("owner = $1 AND number = $2", &[&me.0, &batch.0]).await?;
        }
        Ok(())
    }

    /// One batch a transaction, so that a rescue never holds many locks.
    pub(super) async fn rescue_all(&self, dead: Incarnation) -> Result<Rescued> {
        let mut rescued = Rescued::default();
        while let Some(one) = self.free_batch("owner = $1", &[&dead.0]).await? {
            rescued.batches += 1;
            rescued.unknown += one.unknown;
            rescued.waiting += one.waiting;
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

    /// Takes the lease off one batch that `which` names: doubtful members become unknown, the others wait for whoever
    /// leases next.
    async fn free_batch(&self, which: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<Option<Rescued>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Locking raises the epoch in a statement of its own: marking rows in the same one would see a stale snapshot.
        let row = transaction
            .query_opt(
                &format!(
                    "UPDATE batches SET epoch = epoch + 1
                     WHERE number = (SELECT number FROM batches WHERE {which} LIMIT 1 FOR UPDATE)
                     RETURNING number, campaign, watermark, size, contacts, occurrences"
                ),
                bound,
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (number, campaign) = (row.get::<_, i64>(0), CampaignNo(row.get(1)));
        let (watermark, size): (i32, i32) = (row.get(2), row.get(3));
        let doubtful = usize::try_from(watermark).unwrap_or(0);
        let (contacts, occurrences): (Vec<i64>, Vec<i64>) = (row.get(4), row.get(5));
        let unknown =
            mark_unknown(&transaction, campaign, number, (&contacts[..doubtful], &occurrences[..doubtful]))
                .await?;
        let settle = if watermark < size {
            "UPDATE batches SET owner = NULL WHERE number = $1"
        } else {
            "DELETE FROM batches WHERE number = $1"
        };
        transaction.execute(settle, &[&number]).await?;
        transaction.commit().await?;
        let waiting = u64::try_from(i64::from(size) - i64::from(watermark)).unwrap_or(0);
        Ok(Some(Rescued { batches: 1, unknown, waiting }))
    }
}

/// Members before a watermark that have no outcome: the provider may have them.
async fn mark_unknown(
    transaction: &Transaction<'_>,
    campaign: CampaignNo,
    batch: i64,
    (contacts, occurrences): (&[i64], &[i64]),
) -> Result<u64> {
    let unknown = transaction
        .execute(
            &format!(
                "UPDATE {} d SET state = $4, reason = $5, updated_at = now()
                 FROM unnest($2::bigint[], $3::bigint[]) AS n (contact, occurrence), {}
                 WHERE d.ctid = t.ctid AND d.batch = $6 AND d.state = $7",
                deliveries_table(campaign),
                by_key(campaign)
            ),
            &[
                &campaign.0,
                &contacts,
                &occurrences,
                &State::Unknown.code(),
                &Reason::Crash.code(),
                &batch,
                &State::Planned.code(),
            ],
        )
        .await?;
    if unknown > 0 {
        let (from, to) = ((State::Planned.code(), 0), (State::Unknown.code(), Reason::Crash.code()));
        append_move(transaction, campaign, from, to, i64::try_from(unknown).unwrap_or(i64::MAX)).await?;
    }
    Ok(unknown)
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
    Ok(Lease {
        batch: BatchNo(row.get(0)),
        campaign: CampaignNo(row.get(1)),
        lane: decode(row.get(2), Lane::from_code)?,
        epoch: row.get(3),
        attempt: u16::try_from(row.get::<_, i16>(4)).unwrap_or(0),
        watermark: u32::try_from(watermark).unwrap_or(0),
        template: hash(row.get(7))?,
        options: options.map(|Json(options)| Arc::new(options)),
        members,
    })
}

pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::Refused("a template's hash does not have 32 bytes".into()))
}
