//! Events on SQLite: each filed once, then what is new written back in the order of deliveries.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};
use uuid::Uuid;

use super::connection::Connection;
use super::counters::Deltas;
use super::engagement::{write_contacts, write_engagement};
use super::values::{At, Json};
use super::{SqliteStore, decode};
use crate::model::event::MachineRule;
use crate::model::{CampaignNo, Channel, ContactNo, DeliveryKey, Event, EventKind, LinkNo, Reason, State};
use crate::store::jobs::Incarnation;
use crate::store::tracking::{OutboxRow, Tracking};
use crate::store::{Error, Result};

/// In microseconds.
const DAY: i64 = 86_400_000_000;

/// What an event needs to know about its delivery.
pub(super) struct Context {
    pub(super) campaign: String,
    pub(super) external_id: Option<String>,
    pub(super) channel: Channel,
    pub(super) zone: TimeZone,
}

#[async_trait]
impl Tracking for SqliteStore {
    async fn record_events(&self, events: &[Event], publish: bool) -> Result<u64> {
        let events = events.to_vec();
        self.write(move |connection| {
            let contexts = contexts(connection, events.iter().map(|event| event.delivery))?;
            let mut new = Vec::new();
            for event in events.iter().filter(|event| contexts.contains_key(&event.delivery)) {
                if insert_event(connection, event)? {
                    new.push(event);
                }
            }
            new.sort_by_key(|event| (event.delivery, event.at));
            let mut deltas = Deltas::default();
            write_engagement(connection, &new, &mut deltas)?;
            write_contacts(connection, &new, &contexts)?;
            for event in &new {
                let context = contexts
                    .get(&event.delivery)
                    .ok_or_else(|| Error::Refused("an event lost its delivery".into()))?;
                if event.kind == EventKind::Unsubscribed {
                    unsubscribe(connection, event.delivery.contact, context.channel, event.at)?;
                }
                if publish {
                    publish_event(connection, event, context)?;
                }
            }
            deltas.append(connection)?;
            Ok(new.len() as u64)
        })
        .await
    }

    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>> {
        self.read(move |connection| url(connection, campaign, link)).await
    }

    async fn sent_at(&self, deliveries: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, (Timestamp, usize)>> {
        let deliveries = deliveries.to_vec();
        self.read(move |connection| {
            let sent = |key| Ok(sent_at(connection, key)?.map(|sent| (key, sent)));
            deliveries.into_iter().filter_map(|key| sent(key).transpose()).collect()
        })
        .await
    }

    /// The file has one daemon.
    async fn outbox(&self, _me: Incarnation, limit: u32) -> Result<Vec<OutboxRow>> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT number, routing_key, payload FROM outbox ORDER BY number LIMIT ?1")?;
            let mut rows = statement.query([limit])?;
            let mut outbox = Vec::new();
            while let Some(row) = rows.next()? {
                let Json(payload) = row.get(2)?;
                outbox.push(OutboxRow { number: row.get(0)?, routing_key: row.get(1)?, payload });
            }
            Ok(outbox)
        })
        .await
    }

    async fn outbox_done(&self, numbers: &[i64]) -> Result<()> {
        let numbers = numbers.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE number = ?1")?;
            for number in numbers {
                statement.execute([number])?;
            }
            Ok(())
        })
        .await
    }
}

pub(super) const CONTEXT: &str = "SELECT k.id, c.external_id, k.channel, c.timezone
     FROM deliveries d JOIN campaigns k ON k.number = d.campaign JOIN contacts c ON c.number = d.contact
     WHERE d.campaign = ?1 AND d.contact = ?2 AND d.occurrence = ?3";

/// Deliveries that exist; an event about any other is dropped: its token outlived the ledger.
pub(super) fn contexts(
    connection: &Connection,
    deliveries: impl Iterator<Item = DeliveryKey>,
) -> Result<HashMap<DeliveryKey, Context>> {
    let mut statement = connection.prepare_cached(CONTEXT)?;
    let mut contexts = HashMap::new();
    for key in deliveries {
        if contexts.contains_key(&key) {
            continue;
        }
        let mut rows = statement.query([key.campaign.0, key.contact.0, key.occurrence])?;
        let Some(row) = rows.next()? else { continue };
        let zone = row.get::<_, Option<String>>(3)?.and_then(|name| TimeZone::get(&name).ok());
        let context = Context {
            campaign: row.get(0)?,
            external_id: row.get(1)?,
            channel: decode(row.get(2)?, Channel::from_code)?,
            zone: zone.unwrap_or(TimeZone::UTC),
        };
        contexts.insert(key, context);
    }
    Ok(contexts)
}

/// Days since 1970, as the key of events has them.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.as_microsecond().div_euclid(DAY)
}

/// Returns whether it was not there yet. What an erased contact does is counted and its details are not kept.
pub(super) fn insert_event(connection: &Connection, event: &Event) -> Result<bool> {
    let sql = "INSERT INTO events (day, id, campaign, contact, occurrence, at, kind, link, machine, reason, client_ip, user_agent, detail)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, iif(known, ?11, NULL), iif(known, ?12, NULL), iif(known, ?13, NULL)
         FROM (SELECT NOT EXISTS (SELECT 1 FROM contacts WHERE number = ?4 AND erased_at IS NOT NULL) AS known)
         WHERE true ON CONFLICT DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        day_of(event.at),
        event.id.as_bytes(),
        event.delivery.campaign.0,
        event.delivery.contact.0,
        event.delivery.occurrence,
        At(event.at),
        event.kind.code(),
        event.link.map(|link| link.0),
        event.machine.map(|rule| rule.code()),
        event.reason.map(Reason::code),
        event.client_ip.map(|ip| ip.to_string()),
        event.user_agent,
        event.detail,
    ])?;
    Ok(inserted > 0)
}

pub(super) fn unsubscribe(
    connection: &Connection,
    contact: ContactNo,
    channel: Channel,
    at: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO unsubscribes (contact, channel, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (contact, channel) DO UPDATE SET at = max(at, excluded.at)";
    connection.prepare_cached(sql)?.execute(params![contact.0, channel.code(), At(at)])?;
    Ok(())
}

/// Appends an event to what goes out, its link as the template writes it: what reports call it, too.
pub(super) fn publish_event(connection: &Connection, event: &Event, context: &Context) -> Result<()> {
    let link = event.link.map(|link| url(connection, event.delivery.campaign, link)).transpose()?.flatten();
    let outgoing = Outgoing {
        id: event.id,
        at: event.at,
        kind: event.kind,
        channel: context.channel,
        campaign: Some(&context.campaign),
        external_id: context.external_id.as_deref(),
        link: link.as_deref(),
        machine: event.machine,
        reason: event.reason,
    };
    outgoing.publish(connection)
}

/// An event as it goes out.
pub(super) struct Outgoing<'a> {
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    pub(super) kind: EventKind,
    pub(super) channel: Channel,
    pub(super) campaign: Option<&'a str>,
    pub(super) external_id: Option<&'a str>,
    pub(super) link: Option<&'a str>,
    pub(super) machine: Option<MachineRule>,
    pub(super) reason: Option<Reason>,
}

impl Outgoing<'_> {
    pub(super) fn publish(&self, connection: &Connection) -> Result<()> {
        let payload = json!({
            "id": self.id,
            "event": self.kind.as_str(),
            "at": self.at,
            "channel": self.channel.as_str(),
            "campaign": self.campaign,
            "external_id": self.external_id,
            "link": self.link,
            "machine": self.machine.map(|rule| rule.as_str()),
            "reason": self.reason.map(Reason::as_str),
        });
        enqueue(connection, &format!("{}.{}", self.channel, self.kind), &payload)
    }
}

/// Appends what goes out under a routing key.
pub(super) fn enqueue(connection: &Connection, routing_key: &str, payload: &Value) -> Result<()> {
    let sql = "INSERT INTO outbox (routing_key, payload) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![routing_key, Json(payload)])?;
    Ok(())
}

fn url(connection: &Connection, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>> {
    let sql = "SELECT url FROM links WHERE campaign = ?1 AND number = ?2";
    let key = params![campaign.0, link.0];
    Ok(connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?)
}

/// Whoever opens what is still on its way is the gateway that looks before it accepts.
fn sent_at(connection: &Connection, delivery: DeliveryKey) -> Result<Option<(Timestamp, usize)>> {
    let found = connection
        .prepare_cached(
            "SELECT state, updated_at, (SELECT count(*) FROM links WHERE campaign = ?1)
             FROM deliveries WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3",
        )?
        .query_row([delivery.campaign.0, delivery.contact.0, delivery.occurrence], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, u32>(2)?))
        })
        .optional()?;
    let Some((state, At(updated_at), links)) = found else { return Ok(None) };
    let at = match decode(state, State::from_code)? {
        State::Planned => connection.now(),
        state if state.is_sent() || state == State::Unknown => updated_at,
        _ => return Ok(None),
    };
    Ok(Some((at, links as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight() {
        let day = |text: &str| day_of(text.parse().unwrap());
        assert_eq!((day("1970-01-01T00:00:00Z"), day("1969-12-31T23:59:59Z")), (0, -1));
        assert_eq!(day("2026-11-21T00:00:00Z") - day("2026-11-20T23:59:59.999999Z"), 1);
    }
}
