//! Contacts on PostgreSQL: set-based upserts, lookups, erasure, suppressions.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::{PgStore, decode};
use crate::model::contact::{Consent, Contact};
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::contacts::{
    AddressRecord, ContactRecord, Contacts, EngagementRecord, ForeignAddress, Suppression, SuppressionRecord,
    TimelineEntry, TimelineWhat, Upsert,
};
use crate::store::{Error, Result};

/// Contacts of one statement, at most.
const CHUNK: usize = 2_000;

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
        let hash = self.address_hash(Channel::Email, &format!("contact:{external_id}")).await?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
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
        for statement in [
            "DELETE FROM addresses WHERE contact = $1",
            "DELETE FROM recipient_data WHERE contact = $1",
            "UPDATE events SET client_ip = NULL, user_agent = NULL WHERE contact = $1",
            "UPDATE contact_engagement SET hours = '{}' WHERE contact = $1",
            "UPDATE attempts SET detail = '' WHERE contact = $1",
        ] {
            transaction.execute(statement, &[&contact]).await?;
        }
        transaction.commit().await?;
        Ok(true)
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

impl PgStore {
    /// Upserts within a transaction that is open already.
    pub(super) async fn upsert_in(
        &self,
        client: &impl GenericClient,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let mut foreign = Vec::new();
        let mut start = 0;
        while start < contacts.len() {
            let end = start + distinct_prefix(&contacts[start..]);
            let mut left_out = self.upsert_chunk(client, &contacts[start..end], mode, source).await?;
            for address in &mut left_out {
                address.index += start;
            }
            foreign.append(&mut left_out);
            start = end;
        }
        Ok(foreign)
    }

    async fn upsert_chunk(
        &self,
        client: &impl GenericClient,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let addresses = self.address_rows(contacts).await?;
        self.adopt_anonymous(client, contacts, &addresses).await?;
        let numbers = write_contacts(client, contacts, mode).await?;
        write_addresses(client, contacts, &addresses, &numbers, mode, source).await
    }

    async fn address_rows(&self, contacts: &[Contact]) -> Result<Vec<AddressRow>> {
        let mut rows = Vec::new();
        for (index, contact) in contacts.iter().enumerate() {
            let mut seen = HashSet::new();
            for (position, address) in contact.addresses.iter().flatten().enumerate() {
                if !seen.insert((address.channel, &address.app, &address.address)) {
                    continue;
                }
                rows.push(AddressRow {
                    index,
                    position: i16::try_from(position).unwrap_or(i16::MAX),
                    channel: address.channel,
                    app: address.app.clone(),
                    hash: self.address_hash(address.channel, &address.address).await?,
                    address: address.address.clone(),
                    consent: address.consent,
                });
            }
        }
        Ok(rows)
    }

    /// A contact that was known by its address only takes the id under which it is described now.
    async fn adopt_anonymous(
        &self,
        client: &impl GenericClient,
        contacts: &[Contact],
        rows: &[AddressRow],
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = rows.iter().map(|row| contacts[row.index].external_id.as_str()).collect();
        let channels: Vec<i16> = rows.iter().map(|row| row.channel.code()).collect();
        let apps: Vec<&str> = rows.iter().map(|row| row.app.as_str()).collect();
        let addresses: Vec<&str> = rows.iter().map(|row| row.address.as_str()).collect();
        client
            .execute(
                "UPDATE contacts c SET external_id = n.id, anonymous = false
                 FROM (SELECT DISTINCT ON (n.id) n.id, a.contact
                       FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[]) AS n (id, channel, app, address)
                       JOIN addresses a ON a.channel = n.channel AND a.app = n.app AND a.address = n.address
                       JOIN contacts o ON o.number = a.contact AND o.anonymous
                       WHERE NOT EXISTS (SELECT FROM contacts k WHERE k.external_id = n.id)
                       ORDER BY n.id) n
                 WHERE c.number = n.contact AND c.anonymous",
                &[&ids, &channels, &apps, &addresses],
            )
            .await?;
        Ok(())
    }
}

struct AddressRow {
    /// Position of the contact in its chunk.
    index: usize,
    position: i16,
    channel: Channel,
    app: String,
    address: String,
    hash: Vec<u8>,
    consent: Option<Consent>,
}

/// How many contacts from the start have different ids, so that one statement meets none of them twice.
fn distinct_prefix(contacts: &[Contact]) -> usize {
    let mut seen = HashSet::new();
    contacts.iter().take(CHUNK).take_while(|contact| seen.insert(contact.external_id.as_str())).count()
}

async fn write_contacts(client: &impl GenericClient, contacts: &[Contact], mode: Upsert) -> Result<Vec<i64>> {
    let ids: Vec<&str> = contacts.iter().map(|contact| contact.external_id.as_str()).collect();
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for contact in contacts {
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            contact.attributes.iter().partition(|(_, value)| value.is_null());
        set.push(Json(kept));
        removed.push(Json(gone.into_keys().collect::<Vec<_>>()));
    }
    let tags: Vec<Option<Json<&Vec<String>>>> =
        contacts.iter().map(|contact| contact.tags.as_ref().map(Json)).collect();
    let locales: Vec<Option<&str>> = contacts.iter().map(|contact| contact.locale.as_deref()).collect();
    let timezones: Vec<Option<&str>> = contacts.iter().map(|contact| contact.timezone.as_deref()).collect();
    let replace = mode == Upsert::Replace;
    let update = client
        .prepare(
            "UPDATE contacts c SET
                 attributes = CASE WHEN $7 THEN n.attributes
                     ELSE (c.attributes || n.attributes) - ARRAY(SELECT jsonb_array_elements_text(n.removed)) END,
                 tags = CASE WHEN n.tags IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(n.tags))
                     WHEN $7 THEN '{}' ELSE c.tags END,
                 locale = CASE WHEN $7 THEN n.locale ELSE coalesce(n.locale, c.locale) END,
                 timezone = CASE WHEN $7 THEN n.timezone ELSE coalesce(n.timezone, c.timezone) END,
                 stub = false, updated_at = now()
             FROM unnest($1::text[], $2::jsonb[], $3::jsonb[], $4::jsonb[], $5::text[], $6::text[])
                 AS n (id, attributes, removed, tags, locale, timezone)
             WHERE c.external_id = n.id",
        )
        .await?;
    let updated =
        client.execute(&update, &[&ids, &set, &removed, &tags, &locales, &timezones, &replace]).await?;
    if updated < contacts.len() as u64 {
        // Only ids that are new: a conflict would burn numbers, and planning walks the range of numbers.
        client
            .execute(
                "INSERT INTO contacts (external_id, attributes, tags, locale, timezone)
                 SELECT n.id, n.attributes, coalesce(ARRAY(SELECT jsonb_array_elements_text(n.tags)), '{}'), n.locale, n.timezone
                 FROM unnest($1::text[], $2::jsonb[], $3::jsonb[], $4::text[], $5::text[])
                     WITH ORDINALITY AS n (id, attributes, tags, locale, timezone, position)
                 WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.external_id = n.id)
                 ORDER BY n.position
                 ON CONFLICT (external_id) DO NOTHING",
                &[&ids, &set, &tags, &locales, &timezones],
            )
            .await?;
    }
    let rows =
        client.query("SELECT external_id, number FROM contacts WHERE external_id = ANY($1)", &[&ids]).await?;
    let numbers: HashMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    ids.iter()
        .map(|id| {
            numbers
                .get(*id)
                .copied()
                .ok_or_else(|| Error::Refused("a contact vanished while it was written".into()))
        })
        .collect()
}

async fn write_addresses(
    client: &impl GenericClient,
    contacts: &[Contact],
    rows: &[AddressRow],
    numbers: &[i64],
    mode: Upsert,
    source: &str,
) -> Result<Vec<ForeignAddress>> {
    let replaced: Vec<i64> = contacts
        .iter()
        .zip(numbers)
        .filter(|(contact, _)| contact.addresses.is_some() || mode == Upsert::Replace)
        .map(|(_, number)| *number)
        .collect();
    let owners: Vec<i64> = rows.iter().map(|row| numbers[row.index]).collect();
    let channels: Vec<i16> = rows.iter().map(|row| row.channel.code()).collect();
    let apps: Vec<&str> = rows.iter().map(|row| row.app.as_str()).collect();
    let addresses: Vec<&str> = rows.iter().map(|row| row.address.as_str()).collect();
    if !replaced.is_empty() {
        client
            .execute(
                "DELETE FROM addresses a WHERE a.contact = ANY($1) AND NOT EXISTS (
                     SELECT FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::text[]) AS n (contact, channel, app, address)
                     WHERE n.contact = a.contact AND n.channel = a.channel AND n.app = a.app AND n.address = a.address)",
                &[&replaced, &owners, &channels, &apps, &addresses],
            )
            .await?;
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let hashes: Vec<&[u8]> = rows.iter().map(|row| row.hash.as_slice()).collect();
    let positions: Vec<i16> = rows.iter().map(|row| row.position).collect();
    let given: Vec<Option<bool>> =
        rows.iter().map(|row| row.consent.map(|consent| consent != Consent::Withdrawn)).collect();
    let given_at: Vec<Option<Timestamp>> = rows
        .iter()
        .map(|row| match row.consent {
            Some(Consent::GivenAt(at)) => Some(at),
            _ => None,
        })
        .collect();
    let written = client
        .query(
            "WITH entries AS (
                 SELECT DISTINCT ON (channel, app, address) *
                 FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bytea[], $6::smallint[], $7::boolean[], $8::timestamptz[])
                     WITH ORDINALITY AS n (contact, channel, app, address, hash, position, given, given_at, ord)
                 ORDER BY channel, app, address, ord)
             INSERT INTO addresses AS a (contact, channel, app, address, hash, position, consent_at, consent_source)
             SELECT contact, channel, app, address, hash, position,
                    CASE WHEN given THEN coalesce(given_at, now()) END, CASE WHEN given THEN $9 END
             FROM entries
             ON CONFLICT (channel, app, address) DO UPDATE SET
                 position = excluded.position,
                 consent_at = coalesce(a.consent_at, excluded.consent_at),
                 consent_source = coalesce(a.consent_source, excluded.consent_source)
             WHERE a.contact = excluded.contact
             RETURNING a.contact, a.channel, a.app, a.address",
            &[&owners, &channels, &apps, &addresses, &hashes, &positions, &given, &given_at, &source],
        )
        .await?;
    settle_consent(client, &owners, &channels, &apps, &addresses, &given, &given_at).await?;
    let kept: HashSet<(i64, i16, String, String)> =
        written.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    Ok(rows
        .iter()
        .filter(|row| {
            !kept.contains(&(numbers[row.index], row.channel.code(), row.app.clone(), row.address.clone()))
        })
        .map(|row| ForeignAddress {
            index: row.index,
            external_id: contacts[row.index].external_id.clone(),
            channel: row.channel,
        })
        .collect())
}

/// Withdrawals take consent away; a dated consent that is later than an unsubscribe undoes it.
async fn settle_consent(
    client: &impl GenericClient,
    owners: &[i64],
    channels: &[i16],
    apps: &[&str],
    addresses: &[&str],
    given: &[Option<bool>],
    given_at: &[Option<Timestamp>],
) -> Result<()> {
    if given.contains(&Some(false)) {
        client
            .execute(
                "UPDATE addresses a SET consent_at = NULL, consent_source = NULL
                 FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::boolean[]) AS n (contact, channel, app, address, given)
                 WHERE a.contact = n.contact AND a.channel = n.channel AND a.app = n.app AND a.address = n.address AND NOT n.given",
                &[&owners, &channels, &apps, &addresses, &given],
            )
            .await?;
    }
    if given_at.iter().any(Option::is_some) {
        client
            .execute(
                "DELETE FROM unsubscribes u USING unnest($1::bigint[], $2::smallint[], $3::timestamptz[]) AS n (contact, channel, at)
                 WHERE u.contact = n.contact AND u.channel = n.channel AND n.at > u.at",
                &[&owners, &channels, &given_at],
            )
            .await?;
    }
    Ok(())
}

/// Attributes as a template sees them.
pub(super) fn object(value: Json<Value>) -> serde_json::Map<String, Value> {
    match value.0 {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
