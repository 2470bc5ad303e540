//! Contacts on PostgreSQL: lookups, erasure, suppressions.

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::erasing::{erase, erase_late};
use super::{PgStore, decode};
use crate::model::contact::Contact;
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::contacts::{
    AddressRecord, ContactRecord, Contacts, EngagementRecord, ForeignAddress, Suppression, SuppressionRecord,
    TimelineEntry, TimelineWhat, Upsert,
};
use crate::store::{Admin, Result};

#[async_trait]
impl Contacts for PgStore {
    async fn upsert_contacts(
        &self,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let foreign = self.upsert_in(&transaction, contacts, mode, source).await?;
        transaction.commit().await?;
        Ok(foreign)
    }

    async fn contact(&self, external_id: &str) -> Result<Option<ContactRecord>> {
        let client = self.client().await?;
        let Some(row) = client
            .query_opt(
                "SELECT c.number, c.attributes, c.tags, c.locale, c.timezone, c.created_at, c.updated_at,
                        w.first_open_at, w.last_open_at, coalesce(w.opens, 0), w.first_click_at, w.last_click_at,
                        coalesce(w.clicks, 0), coalesce(w.hours, '{}')
                 FROM contacts c LEFT JOIN contact_engagement w ON w.contact = c.number
                 WHERE c.external_id = $1 AND NOT c.stub",
                &[&external_id],
            )
            .await?
        else {
            return Ok(None);
        };
        let addresses = client
            .query(
                "SELECT a.channel, a.address, a.app, a.consent_at, a.consent_source, u.at, s.hash IS NOT NULL
                 FROM addresses a
                 LEFT JOIN unsubscribes u ON u.contact = a.contact AND u.channel = a.channel
                 LEFT JOIN suppressions s ON s.channel = a.channel AND s.hash = a.hash
                 WHERE a.contact = $1 ORDER BY a.channel, a.position, a.number",
                &[&row.get::<_, i64>(0)],
            )
            .await?;
        let Json(attributes) = row.get(1);
        Ok(Some(ContactRecord {
            external_id: external_id.to_owned(),
            attributes,
            tags: row.get(2),
            locale: row.get(3),
            timezone: row.get(4),
            created_at: row.get(5),
            updated_at: row.get(6),
            engagement: EngagementRecord {
                first_open_at: row.get(7),
                last_open_at: row.get(8),
                opens: row.get::<_, i32>(9).into(),
                first_click_at: row.get(10),
                last_click_at: row.get(11),
                clicks: row.get::<_, i32>(12).into(),
                active_hours: row.get(13),
            },
            addresses: addresses.iter().map(address_record).collect::<Result<_>>()?,
        }))
    }

    async fn owner_of(&self, address: &str) -> Result<Option<String>> {
        let spellings: Vec<String> = Channel::ALL
            .iter()
            .filter_map(|channel| crate::model::address::canonical(*channel, address).ok())
            .collect();
        let row = self
            .client()
            .await?
            .query_opt(
                "SELECT c.external_id FROM addresses a JOIN contacts c ON c.number = a.contact
                 WHERE a.channel = ANY($1) AND a.address = ANY($2) AND c.external_id IS NOT NULL LIMIT 1",
                &[&Channel::ALL.iter().map(|channel| channel.code()).collect::<Vec<_>>(), &spellings],
            )
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn timeline(&self, external_id: &str, limit: u32) -> Result<Option<Vec<TimelineEntry>>> {
        let client = self.client().await?;
        let Some(contact) =
            client.query_opt("SELECT number FROM contacts WHERE external_id = $1", &[&external_id]).await?
        else {
            return Ok(None);
        };
        let rows = client
            .query(
                "SELECT d.updated_at AS at, k.id, k.channel, d.state, d.reason, NULL::smallint, NULL::text, NULL::smallint
                 FROM deliveries d JOIN campaigns k ON k.number = d.campaign
                 WHERE d.campaign IN (SELECT number FROM campaigns) AND d.contact = $1
                 UNION ALL
                 SELECT e.at, k.id, k.channel, NULL, NULL, e.kind, l.url, e.machine
                 FROM events e JOIN campaigns k ON k.number = e.campaign
                 LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
                 WHERE e.contact = $1
                 ORDER BY at DESC LIMIT $2",
                &[&contact.get::<_, i64>(0), &i64::from(limit)],
            )
            .await?;
        rows.iter().map(timeline_entry).collect::<Result<_>>().map(Some)
    }

    async fn erase_contact(&self, external_id: &str) -> Result<bool> {
        let hash = self.secrets().await?.contact_hash(external_id)?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let erased = erase(&transaction, external_id, &hash).await?;
        transaction.commit().await?;
        Ok(erased)
    }

    async fn erase_late(&self, age: SignedDuration) -> Result<u64> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let contacts = erase_late(&transaction, age).await?;
        transaction.commit().await?;
        Ok(contacts)
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64> {
        let (mut channels, mut hashes, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            channels.push(entry.channel.code());
            hashes.push(self.address_hash(entry.channel, &entry.address).await?);
            reasons.push(entry.reason.as_str());
        }
        let added = self
            .client()
            .await?
            .execute(
                "INSERT INTO suppressions (channel, hash, reason)
                 SELECT DISTINCT ON (channel, hash) channel, hash, reason
                 FROM unnest($1::smallint[], $2::bytea[], $3::text[]) AS n (channel, hash, reason)
                 ON CONFLICT DO NOTHING",
                &[&channels, &hashes, &reasons],
            )
            .await?;
        Ok(added)
    }

    async fn unsuppress(&self, channel: Channel, address: &str) -> Result<bool> {
        let hash = self.address_hash(channel, address).await?;
        let removed = self
            .client()
            .await?
            .execute("DELETE FROM suppressions WHERE channel = $1 AND hash = $2", &[&channel.code(), &hash])
            .await?;
        Ok(removed > 0)
    }

    async fn suppressions(&self, limit: u32) -> Result<Vec<SuppressionRecord>> {
        let rows = self
            .client()
            .await?
            .query(
                "SELECT s.channel, encode(s.hash, 'hex'), s.reason, s.created_at,
                        (SELECT a.address FROM addresses a WHERE a.channel = s.channel AND a.hash = s.hash LIMIT 1)
                 FROM suppressions s ORDER BY s.created_at DESC, s.hash LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SuppressionRecord {
                    channel: decode(row.get(0), Channel::from_code)?,
                    hash: row.get(1),
                    reason: row.get(2),
                    created_at: row.get(3),
                    address: row.get(4),
                })
            })
            .collect()
    }
}

fn address_record(row: &Row) -> Result<AddressRecord> {
    Ok(AddressRecord {
        channel: decode(row.get(0), Channel::from_code)?,
        address: row.get(1),
        app: row.get(2),
        consent_at: row.get(3),
        consent_source: row.get(4),
        unsubscribed_at: row.get(5),
        suppressed: row.get(6),
    })
}

fn timeline_entry(row: &Row) -> Result<TimelineEntry> {
    let what = match row.get::<_, Option<i16>>(3) {
        Some(state) => TimelineWhat::Delivery {
            state: decode(state, State::from_code)?,
            reason: row.get::<_, Option<i16>>(4).map(|code| decode(code, Reason::from_code)).transpose()?,
        },
        None => TimelineWhat::Event {
            kind: decode(row.get(5), EventKind::from_code)?,
            link: row.get(6),
            machine: row.get::<_, Option<i16>>(7).is_some(),
        },
    };
    Ok(TimelineEntry {
        at: row.get(0),
        campaign: row.get(1),
        channel: decode(row.get(2), Channel::from_code)?,
        what,
    })
}

/// Attributes as a template sees them.
pub(super) fn object(value: Json<Value>) -> serde_json::Map<String, Value> {
    match value.0 {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
