//! References on SQLite: rows that are only ever inserted and pruned.

use async_trait::async_trait;
use jiff::SignedDuration;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::SqliteStore;
use super::connection::Connection;
use super::values::Json;
use crate::model::receipt::About;
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Receipt};
use crate::store::Result;
use crate::store::dispatching::Settled;
use crate::store::references::References;

/// Rows that one pruning takes, at most.
const PRUNED: i64 = 10_000;

#[async_trait]
impl References for SqliteStore {
    async fn referenced(&self, references: &[(String, String)]) -> Result<Vec<Option<DeliveryKey>>> {
        let references = references.to_vec();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT campaign, contact, occurrence FROM provider_references WHERE provider = ?1 AND reference = ?2",
            )?;
            let find = |(provider, name): &(String, String)| {
                statement.query_row([provider, name], |row| delivery(row, 0)).optional()
            };
            Ok(references.iter().map(find).collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn park(&self, receipts: &[Receipt]) -> Result<()> {
        let receipts = receipts.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO parked_receipts (id, provider, reference, receipt, parked_at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?;
            for receipt in &receipts {
                if let About::Reference { provider, reference } = &receipt.about {
                    statement.execute(params![
                        receipt.id.as_bytes(),
                        provider,
                        reference,
                        Json(receipt),
                        connection.now_us()
                    ])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Receipt>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT p.receipt, r.campaign, r.contact, r.occurrence FROM parked_receipts p
                 JOIN provider_references r ON r.provider = p.provider AND r.reference = p.reference
                 ORDER BY p.parked_at LIMIT ?1",
            )?;
            let receipt = |row: &Row<'_>| {
                let Json(receipt): Json<Receipt> = row.get(0)?;
                Ok(Receipt { about: About::Delivery(delivery(row, 1)?), ..receipt })
            };
            Ok(statement.query_map([limit], receipt)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn unpark(&self, ids: &[Uuid]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("DELETE FROM parked_receipts WHERE id = ?1")?;
            for id in &ids {
                statement.execute([id.as_bytes()])?;
            }
            Ok(())
        })
        .await
    }

    async fn forget_references(&self, age: SignedDuration) -> Result<u64> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        self.write(move |connection| {
            let before = connection.now_us().saturating_sub(age);
            let references = "DELETE FROM provider_references WHERE (provider, reference) IN
                 (SELECT provider, reference FROM provider_references WHERE known_at < ?1 ORDER BY known_at LIMIT ?2)";
            let receipts = "DELETE FROM parked_receipts WHERE id IN
                 (SELECT id FROM parked_receipts WHERE parked_at < ?1 ORDER BY parked_at LIMIT ?2)";
            let forgotten = connection.prepare_cached(references)?.execute([before, PRUNED])?;
            Ok((forgotten + connection.prepare_cached(receipts)?.execute([before, PRUNED])?) as u64)
        })
        .await
    }
}

fn delivery(row: &Row<'_>, at: usize) -> rusqlite::Result<DeliveryKey> {
    Ok(DeliveryKey {
        campaign: CampaignNo(row.get(at)?),
        contact: ContactNo(row.get(at + 1)?),
        occurrence: row.get(at + 2)?,
    })
}

/// Keeps the ids of what a provider took, where receipts will name them alone. A message in several parts has an id a
/// part. An id that comes again, as after a provider's restart, is the newest message's: its receipts are still to come.
pub(super) fn keep(connection: &Connection, settled: &Settled) -> Result<()> {
    for (provider, name, delivery) in settled.references() {
        let sql =
            "INSERT INTO provider_references (provider, reference, campaign, contact, occurrence, known_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (provider, reference) DO UPDATE
             SET campaign = excluded.campaign, contact = excluded.contact, occurrence = excluded.occurrence,
                 known_at = excluded.known_at";
        connection.prepare_cached(sql)?.execute(params![
            provider,
            name,
            delivery.campaign.0,
            delivery.contact.0,
            delivery.occurrence,
            connection.now_us()
        ])?;
    }
    Ok(())
}
