//! Deliveries that receipts move: read, judged by the state machine, written back.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::connection::Connection;
use super::counters::Deltas;
use super::values::At;
use super::{decode, numbers};
use crate::model::{DeliveryKey, Reason, Receipt, State};
use crate::store::Result;

/// A delivery's row as a receipt finds it.
pub(super) struct Found {
    state: State,
    reason: Option<Reason>,
    at: Timestamp,
    /// It is planned, and lies before its batch's watermark or is to be sent again: the provider may have it.
    in_doubt: bool,
    pub(super) provider: Option<String>,
}

impl Found {
    /// When the provider took it, while no receipt has said more.
    pub(super) fn accepted_at(&self) -> Option<Timestamp> {
        (self.state == State::Accepted).then_some(self.at)
    }

    /// Where a receipt moves the delivery to, and when.
    fn next(&self, receipt: &Receipt, now: Timestamp) -> Option<(State, Timestamp)> {
        let left = self.state != State::Planned || self.in_doubt;
        let next = receipt.news.state().filter(|next| left && next.predecessors().contains(&self.state))?;
        // A provider's clock neither runs ahead of ours nor back behind what is known.
        Some((next, self.at.max(receipt.at.min(now))))
    }
}

pub(super) fn find_sql() -> String {
    format!(
        "SELECT d.state, d.reason, d.updated_at, p.name, d.contact, d.occurrence,
                substr(m.contacts, 1, 8 * b.watermark), substr(m.occurrences, 1, 8 * b.watermark), b.doubt IS NOT NULL
         FROM deliveries d LEFT JOIN providers p ON p.number = d.provider
         LEFT JOIN batches b ON b.number = d.batch AND d.state = {} AND (b.watermark > 0 OR b.doubt IS NOT NULL)
         LEFT JOIN batch_members m ON m.batch = b.number
         WHERE d.campaign = ?1 AND d.contact = ?2 AND d.occurrence = ?3",
        State::Planned.code()
    )
}

pub(super) fn find(connection: &Connection, key: DeliveryKey) -> Result<Option<Found>> {
    let mut statement = connection.prepare_cached(&find_sql())?;
    let mut rows = statement.query([key.campaign.0, key.contact.0, key.occurrence])?;
    rows.next()?.map(read).transpose()
}

fn read(row: &Row<'_>) -> Result<Found> {
    let reason: Option<i16> = row.get(1)?;
    Ok(Found {
        state: decode(row.get(0)?, State::from_code)?,
        reason: reason.map(|code| decode(code, Reason::from_code)).transpose()?,
        at: row.get::<_, At>(2)?.instant(),
        in_doubt: row.get(8)? || numbers::hold(row, 6, (row.get(4)?, row.get(5)?))?,
        provider: row.get(3)?,
    })
}

/// Moves a delivery as the state machine allows; tells whether the receipt did.
pub(super) fn apply(
    connection: &Connection,
    key: DeliveryKey,
    found: &Found,
    receipt: &Receipt,
    deltas: &mut Deltas,
) -> Result<bool> {
    let Some((next, at)) = found.next(receipt, connection.now()) else { return Ok(false) };
    let reason = receipt.news.reason();
    let sql = "UPDATE deliveries SET state = ?1, reason = ?2, updated_at = ?3
         WHERE campaign = ?4 AND contact = ?5 AND occurrence = ?6";
    connection.prepare_cached(sql)?.execute(params![
        next.code(),
        reason.map(Reason::code),
        At(at),
        key.campaign.0,
        key.contact.0,
        key.occurrence,
    ])?;
    deltas.add_move(key.campaign, (found.state, found.reason), (next, reason), at.as_microsecond());
    Ok(true)
}
