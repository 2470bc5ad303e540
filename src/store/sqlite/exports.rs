//! Everything kept about a person, on SQLite. Each query finds its rows by the contact's number.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Params, Row, params};
use serde_json::{Map, Value};

use super::connection::Connection;
use super::values::{At, Json};
use super::{SqliteStore, decode};
use crate::model::event::MachineRule;
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::Result;
use crate::store::exports::{
    Details, Exports, Kept, KeptDelivery, KeptEvent, ListEntry, Place, UnsubscribeRecord,
};
use crate::store::reports::{AttemptRecord, EventRecord};

#[async_trait]
impl Exports for SqliteStore {
    async fn kept_about(&self, external_id: &str) -> Result<Option<Kept>> {
        let external_id = external_id.to_owned();
        self.read(move |connection| kept_about(connection, &external_id)).await
    }
}

fn kept_about(connection: &Connection, external_id: &str) -> Result<Option<Kept>> {
    let number = "SELECT number FROM contacts WHERE external_id = ?1";
    let contact = connection.prepare_cached(number)?.query_row([external_id], |row| row.get(0)).optional()?;
    let Some(contact): Option<i64> = contact else { return Ok(None) };
    let mut deliveries = all(connection, DELIVERIES, [contact], delivery)?;
    let details = Details {
        data: all(connection, DATA, [contact], data)?,
        attempts: all(connection, ATTEMPTS, [contact], attempt)?,
        events: all(connection, EVENTS, [contact], event)?,
        references: all(connection, REFERENCES, [contact], |row| Ok((place(row)?, row.get(2)?)))?,
    };
    let other_events = details.join(&mut deliveries);
    let unsubscribe = |row: &Row<'_>| {
        let at = row.get::<_, At>(1)?.instant();
        Ok(UnsubscribeRecord { channel: decode(row.get(0)?, Channel::from_code)?, at })
    };
    Ok(Some(Kept {
        unsubscribes: all(connection, UNSUBSCRIBES, [contact], unsubscribe)?,
        deliveries: deliveries.into_iter().map(|(_, delivery)| delivery).collect(),
        other_events,
        lists: all(connection, LISTS, params![external_id, contact], entry)?,
    }))
}

const DELIVERIES: &str =
    "SELECT d.campaign, d.occurrence, k.id, k.channel, d.state, d.reason, d.attempts, p.name, d.provider_ref, d.updated_at
     FROM campaigns k CROSS JOIN deliveries d ON d.campaign = k.number AND d.contact = ?1
     LEFT JOIN providers p ON p.number = d.provider ORDER BY d.campaign, d.occurrence";
const DATA: &str = "SELECT campaign, occurrence, data FROM recipient_data
     WHERE campaign IN (SELECT number FROM campaigns) AND contact = ?1";
const ATTEMPTS: &str =
    "SELECT t.campaign, t.occurrence, t.at, t.attempt, p.name, t.outcome, t.reason, t.detail
     FROM attempts t LEFT JOIN providers p ON p.number = t.provider
     WHERE t.campaign IN (SELECT number FROM campaigns) AND t.contact = ?1 ORDER BY t.at, t.rowid";
const EVENTS: &str =
    "SELECT e.campaign, e.occurrence, e.at, e.kind, l.url, e.machine, e.reason, e.detail, e.client_ip, e.user_agent
     FROM events e LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
     WHERE e.contact = ?1 ORDER BY e.at, e.id";
const REFERENCES: &str = "SELECT campaign, occurrence, provider || ': ' || reference FROM provider_references
     WHERE contact = ?1 ORDER BY known_at";
const UNSUBSCRIBES: &str = "SELECT channel, at FROM unsubscribes WHERE contact = ?1 ORDER BY channel";
const LISTS: &str =
    "SELECT k.id, s.external_id, s.address, s.data FROM stage s JOIN campaigns k ON k.number = s.campaign
     WHERE s.external_id = ?1 OR s.address IN (SELECT a.address FROM addresses a WHERE a.contact = ?2)
     ORDER BY s.campaign, s.position";

/// Every row of a query, read by `read`.
fn all<T>(
    connection: &Connection,
    sql: &str,
    bound: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(bound)?;
    let mut read_rows = Vec::new();
    while let Some(row) = rows.next()? {
        read_rows.push(read(row)?);
    }
    Ok(read_rows)
}

fn place(row: &Row<'_>) -> Result<Place> {
    Ok((row.get(0)?, row.get(1)?))
}

fn reason(row: &Row<'_>, at: usize) -> Result<Option<Reason>> {
    row.get::<_, Option<i16>>(at)?.map(|code| decode(code, Reason::from_code)).transpose()
}

fn delivery(row: &Row<'_>) -> Result<(Place, KeptDelivery)> {
    let delivery = KeptDelivery {
        campaign: row.get(2)?,
        channel: decode(row.get(3)?, Channel::from_code)?,
        occurrence: row.get(1)?,
        state: decode(row.get(4)?, State::from_code)?,
        reason: reason(row, 5)?,
        attempts: row.get(6)?,
        provider: row.get(7)?,
        provider_ref: row.get(8)?,
        updated_at: row.get::<_, At>(9)?.instant(),
        data: None,
        attempts_made: Vec::new(),
        events: Vec::new(),
        references: Vec::new(),
    };
    Ok((place(row)?, delivery))
}

fn data(row: &Row<'_>) -> Result<(Place, Map<String, Value>)> {
    let Json(data) = row.get(2)?;
    Ok((place(row)?, data))
}

fn attempt(row: &Row<'_>) -> Result<(Place, AttemptRecord)> {
    let attempt = AttemptRecord {
        at: row.get::<_, At>(2)?.instant(),
        attempt: row.get(3)?,
        provider: row.get(4)?,
        outcome: row.get(5)?,
        reason: reason(row, 6)?,
        detail: row.get(7)?,
    };
    Ok((place(row)?, attempt))
}

fn event(row: &Row<'_>) -> Result<(Option<Place>, KeptEvent)> {
    let machine = row.get::<_, Option<i16>>(5)?.map(|code| decode(code, MachineRule::from_code));
    let event = EventRecord {
        at: row.get::<_, At>(2)?.instant(),
        kind: decode(row.get(3)?, EventKind::from_code)?.to_string(),
        link: row.get(4)?,
        machine: machine.transpose()?.map(|rule| rule.to_string()),
        reason: reason(row, 6)?,
        detail: row.get(7)?,
    };
    let place = row.get::<_, Option<i64>>(0)?.zip(row.get(1)?);
    Ok((place, KeptEvent { event, client_ip: row.get(8)?, user_agent: row.get(9)? }))
}

fn entry(row: &Row<'_>) -> Result<ListEntry> {
    let data: Option<Json<Map<String, Value>>> = row.get(3)?;
    Ok(ListEntry {
        campaign: row.get(0)?,
        external_id: row.get(1)?,
        address: row.get(2)?,
        data: data.map(|Json(data)| data),
    })
}
