//! Deliveries that receipts move: locked in the order of their keys, judged by the state machine, written back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::counters::Deltas;
use super::{by_key, decode, deliveries_table};
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Reason, Receipt, State};
use crate::store::Result;

/// A delivery's row while this transaction has it locked.
pub(super) struct Locked {
    first: (State, Option<Reason>),
    state: State,
    reason: Option<Reason>,
    at: Timestamp,
    batch: Option<i64>,
    /// It is planned, and lies before its batch's watermark or is to be sent again: the provider may have it.
    in_doubt: bool,
    pub(super) provider: Option<String>,
}

impl Locked {
    /// Applies what a receipt says; tells whether that moved the delivery.
    pub(super) fn apply(&mut self, receipt: &Receipt, now: Timestamp) -> bool {
        let Some(next) = receipt.news.state() else { return false };
        let sent = self.state != State::Planned || self.in_doubt;
        if !sent || !next.predecessors().contains(&self.state) {
            return false;
        }
        self.state = next;
        self.reason = receipt.news.reason();
        // A provider's clock neither runs ahead of ours nor back behind what is known.
        self.at = self.at.max(receipt.at.min(now));
        true
    }

    /// When the provider took it, while no receipt has said more.
    pub(super) fn accepted_at(&self) -> Option<Timestamp> {
        (self.state == State::Accepted).then_some(self.at)
    }
}

/// Locks the deliveries among `keys` that exist; their partitions do.
pub(super) async fn lock(
    transaction: &Transaction<'_>,
    keys: BTreeSet<DeliveryKey>,
) -> Result<HashMap<DeliveryKey, Locked>> {
    let mut locked = HashMap::with_capacity(keys.len());
    for (campaign, keys) in by_campaign(keys.into_iter().map(|key| (key, ()))) {
        let contacts: Vec<i64> = keys.iter().map(|(key, ())| key.contact.0).collect();
        let occurrences: Vec<i64> = keys.iter().map(|(key, ())| key.occurrence).collect();
        let statement = transaction
            .prepare_cached(&format!(
                "SELECT d.contact, d.occurrence, d.state, d.reason, d.updated_at, d.batch, p.name
                 FROM unnest($2::bigint[], $3::bigint[]) AS n (contact, occurrence)
                 CROSS JOIN LATERAL (SELECT * FROM {} x WHERE x.campaign = $1 AND x.contact = n.contact
                                         AND x.occurrence = n.occurrence LIMIT 1 FOR UPDATE) d
                 LEFT JOIN providers p ON p.number = d.provider",
                deliveries_table(campaign)
            ))
            .await?;
        for row in transaction.query(&statement, &[&campaign.0, &contacts, &occurrences]).await? {
            let key = DeliveryKey { campaign, contact: ContactNo(row.get(0)), occurrence: row.get(1) };
            locked.insert(key, read(&row)?);
        }
    }
    mark_doubtful(transaction, &mut locked).await?;
    Ok(locked)
}

fn read(row: &Row) -> Result<Locked> {
    let state = decode(row.get(2), State::from_code)?;
    let reason = row.get::<_, Option<i16>>(3).map(|code| decode(code, Reason::from_code)).transpose()?;
    Ok(Locked {
        first: (state, reason),
        state,
        reason,
        at: row.get(4),
        batch: row.get(5),
        in_doubt: false,
        provider: row.get(6),
    })
}

/// A statement of its own, after the locks: one that waited for them would see batches as they were before.
async fn mark_doubtful(
    transaction: &Transaction<'_>,
    locked: &mut HashMap<DeliveryKey, Locked>,
) -> Result<()> {
    let mut planned: Vec<(&DeliveryKey, &mut Locked)> =
        locked.iter_mut().filter(|(_, row)| row.state == State::Planned && row.batch.is_some()).collect();
    if planned.is_empty() {
        return Ok(());
    }
    let batches: Vec<Option<i64>> = planned.iter().map(|(_, row)| row.batch).collect();
    let contacts: Vec<i64> = planned.iter().map(|(key, _)| key.contact.0).collect();
    let occurrences: Vec<i64> = planned.iter().map(|(key, _)| key.occurrence).collect();
    let statement = transaction
        .prepare_cached(
            "SELECT b.number, n.contact, n.occurrence
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (batch, contact, occurrence)
             JOIN batches b ON b.number = n.batch
             WHERE b.doubt IS NOT NULL OR
                   EXISTS (SELECT FROM unnest(b.contacts[1:b.watermark], b.occurrences[1:b.watermark]) AS m (contact, occurrence)
                           WHERE m.contact = n.contact AND m.occurrence = n.occurrence)",
        )
        .await?;
    let rows = transaction.query(&statement, &[&batches, &contacts, &occurrences]).await?;
    let intended: HashSet<(Option<i64>, i64, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    for (key, row) in &mut planned {
        row.in_doubt = intended.contains(&(row.batch, key.contact.0, key.occurrence));
    }
    Ok(())
}

/// Writes back what moved, and counts it.
pub(super) async fn write_moved(
    transaction: &Transaction<'_>,
    locked: &HashMap<DeliveryKey, Locked>,
    deltas: &mut Deltas,
) -> Result<()> {
    let moved: BTreeMap<DeliveryKey, &Locked> = locked
        .iter()
        .filter(|(_, row)| row.first != (row.state, row.reason))
        .map(|(key, row)| (*key, row))
        .collect();
    for (campaign, rows) in by_campaign(moved.into_iter()) {
        for (_, row) in &rows {
            deltas.add_move(campaign, row.first, (row.state, row.reason), row.at);
        }
        let contacts: Vec<i64> = rows.iter().map(|(key, _)| key.contact.0).collect();
        let occurrences: Vec<i64> = rows.iter().map(|(key, _)| key.occurrence).collect();
        let states: Vec<i16> = rows.iter().map(|(_, row)| row.state.code()).collect();
        let reasons: Vec<Option<i16>> = rows.iter().map(|(_, row)| row.reason.map(Reason::code)).collect();
        let at: Vec<Timestamp> = rows.iter().map(|(_, row)| row.at).collect();
        let statement = transaction
            .prepare_cached(&format!(
                "UPDATE {} d SET state = n.state, reason = n.reason, updated_at = n.at
                 FROM unnest($2::bigint[], $3::bigint[], $4::smallint[], $5::smallint[], $6::timestamptz[])
                     AS n (contact, occurrence, state, reason, at), {}
                 WHERE d.ctid = t.ctid",
                deliveries_table(campaign),
                by_key(campaign)
            ))
            .await?;
        transaction
            .execute(&statement, &[&campaign.0, &contacts, &occurrences, &states, &reasons, &at])
            .await?;
    }
    Ok(())
}

fn by_campaign<T>(
    rows: impl Iterator<Item = (DeliveryKey, T)>,
) -> BTreeMap<CampaignNo, Vec<(DeliveryKey, T)>> {
    let mut groups: BTreeMap<CampaignNo, Vec<(DeliveryKey, T)>> = BTreeMap::new();
    for (key, row) in rows {
        groups.entry(key.campaign).or_default().push((key, row));
    }
    groups
}
