//! References on PostgreSQL: rows that are only ever inserted and pruned, so that the ledger's own rows need no index on
//! what providers answer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use jiff::SignedDuration;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::PgStore;
use crate::model::receipt::About;
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Receipt};
use crate::store::Result;
use crate::store::dispatching::Settled;
use crate::store::references::References;

/// Rows that one pruning takes, at most.
const PRUNED: i64 = 10_000;

#[async_trait]
impl References for PgStore {
    async fn referenced(&self, references: &[(String, String)]) -> Result<Vec<Option<DeliveryKey>>> {
        let (providers, names): (Vec<&str>, Vec<&str>) =
            references.iter().map(|(provider, name)| (provider.as_str(), name.as_str())).unzip();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT r.campaign, r.contact, r.occurrence
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (provider, reference, place)
                 LEFT JOIN LATERAL (SELECT * FROM provider_references r
                     WHERE r.provider = n.provider AND r.reference = n.reference LIMIT 1) r ON true
                 ORDER BY n.place",
            )
            .await?;
        let rows = client.query(&statement, &[&providers, &names]).await?;
        let key = |row: &tokio_postgres::Row| {
            let campaign = CampaignNo(row.get::<_, Option<i64>>(0)?);
            Some(DeliveryKey { campaign, contact: ContactNo(row.get(1)), occurrence: row.get(2) })
        };
        Ok(rows.iter().map(key).collect())
    }

    async fn park(&self, receipts: &[Receipt]) -> Result<()> {
        let (mut ids, mut providers, mut names, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for receipt in receipts {
            if let About::Reference { provider, reference } = &receipt.about {
                ids.push(receipt.id);
                providers.push(provider.as_str());
                names.push(reference.as_str());
                told.push(Json(receipt));
            }
        }
        self.client()
            .await?
            .execute(
                "INSERT INTO parked_receipts (id, provider, reference, receipt)
                 SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[])
                 ON CONFLICT DO NOTHING",
                &[&ids, &providers, &names, &told],
            )
            .await?;
        Ok(())
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Receipt>> {
        let rows = self
            .client()
            .await?
            .query(
                "SELECT p.receipt, r.campaign, r.contact, r.occurrence FROM parked_receipts p
                 JOIN provider_references r ON r.provider = p.provider AND r.reference = p.reference
                 ORDER BY p.parked_at LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        let receipt = |row: &tokio_postgres::Row| {
            let Json(receipt): Json<Receipt> = row.get(0);
            let delivery = DeliveryKey {
                campaign: CampaignNo(row.get(1)),
                contact: ContactNo(row.get(2)),
                occurrence: row.get(3),
            };
            Receipt { about: About::Delivery(delivery), ..receipt }
        };
        Ok(rows.iter().map(receipt).collect())
    }

    async fn unpark(&self, ids: &[Uuid]) -> Result<()> {
        self.client().await?.execute("DELETE FROM parked_receipts WHERE id = ANY($1)", &[&ids]).await?;
        Ok(())
    }

    async fn forget_references(&self, age: SignedDuration) -> Result<u64> {
        let before = jiff::Timestamp::now() - age;
        let client = self.client().await?;
        let references = "DELETE FROM provider_references WHERE ctid IN
             (SELECT ctid FROM provider_references WHERE known_at < $1 ORDER BY known_at LIMIT $2)";
        let receipts = "DELETE FROM parked_receipts WHERE ctid IN
             (SELECT ctid FROM parked_receipts WHERE parked_at < $1 ORDER BY parked_at LIMIT $2)";
        let forgotten = client.execute(references, &[&before, &PRUNED]).await?;
        Ok(forgotten + client.execute(receipts, &[&before, &PRUNED]).await?)
    }
}

/// Keeps the ids of what providers took, where receipts will name them alone. A message in several parts has an id a
/// part. An id that comes again, as after a provider's restart, is the newest message's: its receipts are still to come.
pub(super) async fn keep(transaction: &Transaction<'_>, settled: &[Settled]) -> Result<()> {
    let mut keys: BTreeMap<(&str, &str), DeliveryKey> = BTreeMap::new();
    for (provider, name, delivery) in settled.iter().flat_map(Settled::references) {
        keys.insert((provider, name), delivery);
    }
    if keys.is_empty() {
        return Ok(());
    }
    let providers: Vec<&str> = keys.keys().map(|(provider, _)| *provider).collect();
    let names: Vec<&str> = keys.keys().map(|(_, name)| *name).collect();
    let campaigns: Vec<i64> = keys.values().map(|key| key.campaign.0).collect();
    let contacts: Vec<i64> = keys.values().map(|key| key.contact.0).collect();
    let occurrences: Vec<i64> = keys.values().map(|key| key.occurrence).collect();
    let statement = transaction
        .prepare_cached(
            "INSERT INTO provider_references (provider, reference, campaign, contact, occurrence)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             ON CONFLICT (provider, reference) DO UPDATE
             SET campaign = excluded.campaign, contact = excluded.contact, occurrence = excluded.occurrence, known_at = now()",
        )
        .await?;
    transaction.execute(&statement, &[&providers, &names, &campaigns, &contacts, &occurrences]).await?;
    Ok(())
}
