//! Erasure on PostgreSQL: what names the person goes, rows and counts stay.

use deadpool_postgres::Transaction;
use jiff::{SignedDuration, Timestamp};

use crate::store::Result;

/// What is kept under contacts' numbers, `$1`. Repeating it changes nothing more.
const DETAILS: [&str; 7] = [
    "DELETE FROM addresses WHERE contact = ANY($1)",
    "DELETE FROM recipient_data
     WHERE campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND contact = ANY($1)",
    "DELETE FROM provider_references WHERE contact = ANY($1)",
    "UPDATE deliveries SET provider_ref = NULL
     WHERE campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND contact = ANY($1) AND provider_ref IS NOT NULL",
    "UPDATE events SET client_ip = NULL, user_agent = NULL, detail = NULL
     WHERE contact = ANY($1) AND (client_ip IS NOT NULL OR user_agent IS NOT NULL OR detail IS NOT NULL)",
    "UPDATE contact_engagement SET hours = '{}' WHERE contact = ANY($1)",
    "UPDATE attempts SET detail = ''
     WHERE campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND contact = ANY($1) AND detail <> ''",
];

/// `false` where nobody has this id. `hash` is what stays of it.
pub(super) async fn erase(transaction: &Transaction<'_>, external_id: &str, hash: &[u8]) -> Result<bool> {
    let erased = transaction
        .query_opt(
            "UPDATE contacts SET external_id = NULL, attributes = '{}', tags = '{}', locale = NULL, timezone = NULL,
                    erased_at = now(), erased_hash = $2, updated_at = now()
             WHERE external_id = $1 RETURNING number",
            &[&external_id, &hash],
        )
        .await?;
    let Some(row) = erased else { return Ok(false) };
    let contact: i64 = row.get(0);
    leave_waiting(transaction, external_id, contact).await?;
    erase_details(transaction, &[contact]).await?;
    Ok(true)
}

/// What waits under the contact's id or addresses instead of its number: lists, notices of providers, events on their
/// way out. Lists and events stay, so that they are accounted for, and name nobody.
async fn leave_waiting(transaction: &Transaction<'_>, external_id: &str, contact: i64) -> Result<()> {
    transaction
        .execute(
            "UPDATE stage s SET external_id = NULL, address = NULL, data = NULL WHERE s.external_id = $1
             OR s.address IN (SELECT a.address FROM addresses a WHERE a.contact = $2)",
            &[&external_id, &contact],
        )
        .await?;
    // Their deliveries are not found by these ids any more.
    transaction
        .execute(
            "DELETE FROM parked_receipts p USING provider_references r
             WHERE r.contact = $1 AND r.provider = p.provider AND r.reference = p.reference",
            &[&contact],
        )
        .await?;
    transaction
        .execute(
            "UPDATE parked_receipts p SET receipt = jsonb_set(p.receipt, '{detail}', 'null')
             WHERE EXISTS (SELECT FROM addresses a
                           WHERE a.contact = $1 AND strpos(p.receipt ->> 'detail', a.address) > 0)",
            &[&contact],
        )
        .await?;
    transaction
        .execute(
            "UPDATE outbox SET payload = jsonb_set(payload, '{external_id}', 'null')
             WHERE payload ->> 'external_id' = $1",
            &[&external_id],
        )
        .await?;
    Ok(())
}

async fn erase_details(transaction: &Transaction<'_>, contacts: &[i64]) -> Result<()> {
    for statement in DETAILS {
        transaction.execute(statement, &[&contacts]).await?;
    }
    Ok(())
}

/// The same for all contacts that were erased less than `age` ago.
pub(super) async fn erase_late(transaction: &Transaction<'_>, age: SignedDuration) -> Result<u64> {
    let since = Timestamp::now() - age;
    let rows = transaction.query("SELECT number FROM contacts WHERE erased_at > $1", &[&since]).await?;
    let contacts: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    if !contacts.is_empty() {
        erase_details(transaction, &contacts).await?;
    }
    Ok(contacts.len() as u64)
}
