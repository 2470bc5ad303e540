//! Contacts on SQLite: lookups, erasure, suppressions.

use async_trait::async_trait;
use jiff::SignedDuration;
use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::erasing::{erase, erase_late};
use super::upserting::upsert;
use super::values::{At, Json};
use super::{SqliteStore, decode, numbers};
use crate::model::address::canonical;
use crate::model::contact::Contact;
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::contacts::{
    AddressRecord, ContactRecord, Contacts, EngagementRecord, ForeignAddress, Suppression, SuppressionRecord,
    TimelineEntry, TimelineWhat, Upsert,
};
use crate::store::{Admin, Result};

#[async_trait]
impl Contacts for SqliteStore {
    async fn upsert_contacts(
        &self,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>> {
        let (contacts, source, secrets) = (contacts.to_vec(), source.to_owned(), self.secrets().await?);
        self.write(move |connection| upsert(connection, &secrets, &contacts, mode, &source)).await
    }

    async fn contact(&self, external_id: &str) -> Result<Option<ContactRecord>> {
        let external_id = external_id.to_owned();
        self.read(move |connection| contact(connection, external_id)).await
    }

    async fn owner_of(&self, address: &str) -> Result<Option<String>> {
        let spellings: Vec<(Channel, String)> = Channel::ALL
            .iter()
            .filter_map(|channel| Some((*channel, canonical(*channel, address).ok()?)))
            .collect();
        self.read(move |connection| {
            let mut owner = connection.prepare_cached(
                "SELECT c.external_id FROM addresses a JOIN contacts c ON c.number = a.contact
                 WHERE a.channel = ?1 AND a.address = ?2 AND c.external_id IS NOT NULL LIMIT 1",
            )?;
            for (channel, address) in spellings {
                let found = owner.query_row(params![channel.code(), address], |row| row.get(0)).optional()?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
        .await
    }

    async fn timeline(&self, external_id: &str, limit: u32) -> Result<Option<Vec<TimelineEntry>>> {
        let external_id = external_id.to_owned();
        self.read(move |connection| timeline(connection, &external_id, limit)).await
    }

    async fn erase_contact(&self, external_id: &str) -> Result<bool> {
        let hash = self.secrets().await?.contact_hash(external_id)?;
        let external_id = external_id.to_owned();
        self.write(move |connection| erase(connection, &external_id, &hash)).await
    }

    async fn erase_late(&self, age: SignedDuration) -> Result<u64> {
        self.write(move |connection| erase_late(connection, age)).await
    }

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64> {
        let secrets = self.secrets().await?;
        let hashed = |entry: &Suppression| {
            Ok((entry.channel, secrets.address_hash(entry.channel, &entry.address)?, entry.reason.clone()))
        };
        let entries = entries.iter().map(hashed).collect::<Result<Vec<_>>>()?;
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO suppressions (channel, hash, reason, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?;
            let mut added = 0;
            for (channel, hash, reason) in entries {
                added += insert.execute(params![channel.code(), hash, reason, connection.now_us()])? as u64;
            }
            Ok(added)
        })
        .await
    }

    async fn unsuppress(&self, channel: Channel, address: &str) -> Result<bool> {
        let hash = self.secrets().await?.address_hash(channel, address)?;
        self.write(move |connection| {
            let sql = "DELETE FROM suppressions WHERE channel = ?1 AND hash = ?2";
            Ok(connection.prepare_cached(sql)?.execute(params![channel.code(), hash])? > 0)
        })
        .await
    }

    async fn suppressions(&self, limit: u32) -> Result<Vec<SuppressionRecord>> {
        self.read(move |connection| {
            let mut list = connection.prepare_cached(
                "SELECT s.channel, s.hash, s.reason, s.created_at,
                        (SELECT a.address FROM addresses a WHERE a.hash = s.hash AND a.channel = s.channel LIMIT 1)
                 FROM suppressions s ORDER BY s.created_at DESC, s.hash LIMIT ?1",
            )?;
            let mut rows = list.query([limit])?;
            let mut records = Vec::new();
            while let Some(row) = rows.next()? {
                records.push(SuppressionRecord {
                    channel: decode(row.get(0)?, Channel::from_code)?,
                    hash: hex::encode(row.get::<_, Vec<u8>>(1)?),
                    reason: row.get(2)?,
                    created_at: row.get::<_, At>(3)?.0,
                    address: row.get(4)?,
                });
            }
            Ok(records)
        })
        .await
    }
}

fn contact(connection: &Connection, external_id: String) -> Result<Option<ContactRecord>> {
    let mut find = connection.prepare_cached(
        "SELECT c.number, c.attributes, c.tags, c.locale, c.timezone, c.created_at, c.updated_at,
                w.first_open_at, w.last_open_at, coalesce(w.opens, 0), w.first_click_at, w.last_click_at,
                coalesce(w.clicks, 0), coalesce(w.hours, x'')
         FROM contacts c LEFT JOIN contact_engagement w ON w.contact = c.number
         WHERE c.external_id = ?1 AND NOT c.stub",
    )?;
    let mut rows = find.query([&external_id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (Json(attributes), Json(tags)) = (row.get(1)?, row.get(2)?);
    let hours = numbers::decode(&row.get::<_, Vec<u8>>(13)?)?;
    Ok(Some(ContactRecord {
        external_id,
        attributes,
        tags,
        locale: row.get(3)?,
        timezone: row.get(4)?,
        created_at: row.get::<_, At>(5)?.0,
        updated_at: row.get::<_, At>(6)?.0,
        engagement: EngagementRecord {
            first_open_at: row.get::<_, Option<At>>(7)?.map(At::instant),
            last_open_at: row.get::<_, Option<At>>(8)?.map(At::instant),
            opens: row.get(9)?,
            first_click_at: row.get::<_, Option<At>>(10)?.map(At::instant),
            last_click_at: row.get::<_, Option<At>>(11)?.map(At::instant),
            clicks: row.get(12)?,
            active_hours: hours.into_iter().map(|n| i32::try_from(n).unwrap_or(i32::MAX)).collect(),
        },
        addresses: addresses(connection, row.get(0)?)?,
    }))
}

fn addresses(connection: &Connection, contact: i64) -> Result<Vec<AddressRecord>> {
    let mut list = connection.prepare_cached(
        "SELECT a.channel, a.address, a.app, a.consent_at, a.consent_source, u.at, s.hash IS NOT NULL
         FROM addresses a
         LEFT JOIN unsubscribes u ON u.contact = a.contact AND u.channel = a.channel
         LEFT JOIN suppressions s ON s.channel = a.channel AND s.hash = a.hash
         WHERE a.contact = ?1 ORDER BY a.channel, a.position, a.number",
    )?;
    let mut rows = list.query([contact])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(AddressRecord {
            channel: decode(row.get(0)?, Channel::from_code)?,
            address: row.get(1)?,
            app: row.get(2)?,
            consent_at: row.get::<_, Option<At>>(3)?.map(At::instant),
            consent_source: row.get(4)?,
            unsubscribed_at: row.get::<_, Option<At>>(5)?.map(At::instant),
            suppressed: row.get(6)?,
        });
    }
    Ok(records)
}

fn timeline(connection: &Connection, external_id: &str, limit: u32) -> Result<Option<Vec<TimelineEntry>>> {
    let find = "SELECT number FROM contacts WHERE external_id = ?1";
    let contact: Option<i64> =
        connection.prepare_cached(find)?.query_row([external_id], |row| row.get(0)).optional()?;
    let Some(contact) = contact else { return Ok(None) };
    let mut list = connection.prepare_cached(
        "SELECT d.updated_at AS at, k.id, k.channel, d.state, d.reason, NULL, NULL, NULL
         FROM campaigns k CROSS JOIN deliveries d ON d.campaign = k.number AND d.contact = ?1
         UNION ALL
         SELECT e.at, k.id, k.channel, NULL, NULL, e.kind, l.url, e.machine
         FROM events e JOIN campaigns k ON k.number = e.campaign
         LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
         WHERE e.contact = ?1
         ORDER BY at DESC LIMIT ?2",
    )?;
    let mut rows = list.query(params![contact, limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(timeline_entry(row)?);
    }
    Ok(Some(entries))
}

fn timeline_entry(row: &Row<'_>) -> Result<TimelineEntry> {
    let what = match row.get::<_, Option<i16>>(3)? {
        Some(state) => TimelineWhat::Delivery {
            state: decode(state, State::from_code)?,
            reason: row.get::<_, Option<i16>>(4)?.map(|code| decode(code, Reason::from_code)).transpose()?,
        },
        None => TimelineWhat::Event {
            kind: decode(row.get(5)?, EventKind::from_code)?,
            link: row.get(6)?,
            machine: row.get::<_, Option<i16>>(7)?.is_some(),
        },
    };
    Ok(TimelineEntry {
        at: row.get::<_, At>(0)?.0,
        campaign: row.get(1)?,
        channel: decode(row.get(2)?, Channel::from_code)?,
        what,
    })
}
