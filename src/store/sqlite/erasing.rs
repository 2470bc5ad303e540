//! Erasure on SQLite: what names the person goes, rows and counts stay.

use jiff::SignedDuration;
use rusqlite::{OptionalExtension, params};

use super::connection::Connection;
use super::values::At;
use crate::store::Result;

/// What is kept under a contact's number, `?1`. Repeating it changes nothing more.
const DETAILS: [&str; 7] = [
    "DELETE FROM addresses WHERE contact = ?1",
    "DELETE FROM recipient_data WHERE campaign IN (SELECT number FROM campaigns) AND contact = ?1",
    "DELETE FROM provider_references WHERE contact = ?1",
    "UPDATE deliveries SET provider_ref = NULL
     WHERE campaign IN (SELECT number FROM campaigns) AND contact = ?1 AND provider_ref IS NOT NULL",
    "UPDATE events SET client_ip = NULL, user_agent = NULL, detail = NULL WHERE contact = ?1",
    "UPDATE contact_engagement SET hours = x'' WHERE contact = ?1",
    "UPDATE attempts SET detail = '' WHERE campaign IN (SELECT number FROM campaigns) AND contact = ?1",
];

/// `false` where nobody has this id. `hash` is what stays of it.
pub(super) fn erase(connection: &Connection, external_id: &str, hash: &[u8]) -> Result<bool> {
    let erase = "UPDATE contacts SET external_id = NULL, attributes = '{}', tags = '[]', locale = NULL, timezone = NULL,
             erased_at = ?3, erased_hash = ?2, updated_at = ?3
         WHERE external_id = ?1 RETURNING number";
    let erased: Option<i64> = connection
        .prepare_cached(erase)?
        .query_row(params![external_id, hash, connection.now_us()], |row| row.get(0))
        .optional()?;
    let Some(contact) = erased else { return Ok(false) };
    leave_waiting(connection, external_id, contact)?;
    erase_details(connection, contact)?;
    Ok(true)
}

/// What waits under the contact's id or addresses instead of its number: lists, notices of providers, events on their
/// way out. Lists and events stay, so that they are accounted for, and name nobody.
fn leave_waiting(connection: &Connection, external_id: &str, contact: i64) -> Result<()> {
    connection.execute(
        "UPDATE stage SET external_id = NULL, address = NULL, data = NULL WHERE external_id = ?1
         OR address IN (SELECT a.address FROM addresses a WHERE a.contact = ?2)",
        params![external_id, contact],
    )?;
    // Their deliveries are not found by these ids any more.
    connection.execute(
        "DELETE FROM parked_receipts WHERE EXISTS (
             SELECT 1 FROM provider_references r WHERE r.contact = ?1 AND r.provider = parked_receipts.provider
                 AND r.reference = parked_receipts.reference)",
        [contact],
    )?;
    connection.execute(
        "UPDATE parked_receipts SET receipt = json_set(receipt, '$.detail', NULL)
         WHERE EXISTS (SELECT 1 FROM addresses a
                       WHERE a.contact = ?1 AND instr(parked_receipts.receipt ->> '$.detail', a.address) > 0)",
        [contact],
    )?;
    connection.execute(
        "UPDATE outbox SET payload = json_set(payload, '$.external_id', NULL) WHERE payload ->> '$.external_id' = ?1",
        [external_id],
    )?;
    Ok(())
}

fn erase_details(connection: &Connection, contact: i64) -> Result<()> {
    for statement in DETAILS {
        connection.prepare_cached(statement)?.execute([contact])?;
    }
    Ok(())
}

/// The same for all contacts that were erased less than `age` ago.
pub(super) fn erase_late(connection: &Connection, age: SignedDuration) -> Result<u64> {
    let mut find = connection.prepare_cached("SELECT number FROM contacts WHERE erased_at > ?1")?;
    let contacts = find
        .query_map([At(connection.now() - age)], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for contact in &contacts {
        erase_details(connection, *contact)?;
    }
    Ok(contacts.len() as u64)
}
