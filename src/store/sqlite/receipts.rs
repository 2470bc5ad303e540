//! Receipts on SQLite: one after another, since only one transaction writes at a time.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::SqliteStore;
use super::connection::Connection;
use super::counters::Deltas;
use super::engagement::write_engagement;
use super::moving::{apply, find};
use super::suppressing::{suppress_hash, suppress_recipient};
use super::tracking::{Context, Outgoing, contexts, day_of, insert_event, publish_event, unsubscribe};
use super::values::At;
use crate::model::receipt::{About, News};
use crate::model::{Channel, ContactNo, DeliveryKey, Event, EventKind, Reason, Receipt};
use crate::store::receipts::{Filed, Receipts};
use crate::store::{Admin, Result, Secrets};

#[async_trait]
impl Receipts for SqliteStore {
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>> {
        let (receipts, secrets) = (receipts.to_vec(), self.secrets().await?);
        self.write(move |connection| {
            let contexts = contexts(connection, receipts.iter().filter_map(delivery))?;
            let mut filing = Filing { connection, secrets, contexts, deltas: Deltas::default(), publish };
            let filed = receipts.iter().map(|receipt| filing.file(receipt)).collect::<Result<_>>()?;
            filing.deltas.append(connection)?;
            Ok(filed)
        })
        .await
    }
}

fn delivery(receipt: &Receipt) -> Option<DeliveryKey> {
    match receipt.about {
        About::Delivery(key) => Some(key),
        About::Address { .. } | About::Reference { .. } => None,
    }
}

/// One group of receipts.
struct Filing<'a> {
    connection: &'a Connection,
    secrets: Secrets,
    contexts: HashMap<DeliveryKey, Context>,
    deltas: Deltas,
    publish: bool,
}

impl Filing<'_> {
    fn file(&mut self, receipt: &Receipt) -> Result<Filed> {
        match &receipt.about {
            About::Delivery(key) => self.about_delivery(receipt, *key),
            About::Reference { .. } => Ok(Filed::Stray),
            About::Address { channel, address } => self.about_address(receipt, *channel, address),
        }
    }

    fn about_delivery(&mut self, receipt: &Receipt, key: DeliveryKey) -> Result<Filed> {
        let Some(context) = self.contexts.get(&key) else { return Ok(Filed::Stray) };
        let event = receipt.news.event().map(|kind| event(receipt, kind, key));
        if let Some(event) = &event {
            if !insert_event(self.connection, event)? {
                return Ok(Filed::Repeated);
            }
            if event.kind == EventKind::Unsubscribed {
                unsubscribe(self.connection, key.contact, context.channel, event.at)?;
            }
            if self.publish {
                publish_event(self.connection, event, context)?;
            }
        }
        // Complaints and opt-outs mean for deliveries what the tracker's do.
        let told = |event: &&Event| matches!(event.kind, EventKind::Complained | EventKind::Unsubscribed);
        let engaged: Vec<&Event> = event.iter().filter(told).collect();
        write_engagement(self.connection, &engaged, &mut self.deltas)?;
        if let Some(reason) = receipt.news.suppresses() {
            suppress_recipient(self.connection, key, reason)?;
        }
        self.move_delivery(receipt, key)
    }

    fn move_delivery(&mut self, receipt: &Receipt, key: DeliveryKey) -> Result<Filed> {
        let Some(found) = find(self.connection, key)? else { return Ok(Filed::Stray) };
        let moved = apply(self.connection, key, &found, receipt, &mut self.deltas)?;
        if receipt.news == News::Accepted && !moved {
            return Ok(Filed::Repeated);
        }
        let since = |at: Timestamp| receipt.at.duration_since(at).max(SignedDuration::ZERO);
        let delay = found.accepted_at().filter(|_| moved).map(since);
        Ok(Filed::New { provider: found.provider, delay })
    }

    /// It belongs to a contact and to no delivery, so it is counted nowhere.
    fn about_address(&self, receipt: &Receipt, channel: Channel, address: &str) -> Result<Filed> {
        if let Some(reason) = receipt.news.suppresses() {
            let hash = self.secrets.address_hash(channel, address)?;
            suppress_hash(self.connection, channel, &hash, reason)?;
        }
        let Some(owner) = owner(self.connection, channel, address)? else { return Ok(Filed::Stray) };
        let filed = Filed::New { provider: None, delay: None };
        let Some(kind) = receipt.news.event() else { return Ok(filed) };
        if !insert_addressed(self.connection, receipt, kind, owner.contact)? {
            return Ok(Filed::Repeated);
        }
        if kind == EventKind::Unsubscribed {
            unsubscribe(self.connection, owner.contact, channel, receipt.at)?;
        }
        if self.publish {
            let outgoing = Outgoing {
                id: receipt.id,
                at: receipt.at,
                kind,
                channel,
                campaign: None,
                external_id: owner.external_id.as_deref(),
                link: None,
                machine: None,
                reason: receipt.news.reason(),
            };
            outgoing.publish(self.connection)?;
        }
        Ok(filed)
    }
}

fn event(receipt: &Receipt, kind: EventKind, delivery: DeliveryKey) -> Event {
    Event {
        id: receipt.id,
        at: receipt.at,
        kind,
        delivery,
        link: None,
        machine: None,
        reason: receipt.news.reason(),
        detail: receipt.detail.clone(),
        client_ip: None,
        user_agent: None,
    }
}

/// Who has an address.
struct Owner {
    contact: ContactNo,
    external_id: Option<String>,
}

pub(super) const OWNER: &str =
    "SELECT a.contact, c.external_id FROM addresses a JOIN contacts c ON c.number = a.contact
     WHERE a.channel = ?1 AND a.address = ?2 ORDER BY a.number LIMIT 1";

/// An address that several apps know has the first one's.
fn owner(connection: &Connection, channel: Channel, address: &str) -> Result<Option<Owner>> {
    let owner = connection
        .prepare_cached(OWNER)?
        .query_row(params![channel.code(), address], |row| {
            Ok(Owner { contact: ContactNo(row.get(0)?), external_id: row.get(1)? })
        })
        .optional()?;
    Ok(owner)
}

/// An event that belongs to a contact and to no delivery. Returns whether it was not there yet.
fn insert_addressed(
    connection: &Connection,
    receipt: &Receipt,
    kind: EventKind,
    contact: ContactNo,
) -> Result<bool> {
    let sql =
        "INSERT INTO events (day, id, contact, at, kind, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        day_of(receipt.at),
        receipt.id.as_bytes(),
        contact.0,
        At(receipt.at),
        kind.code(),
        receipt.news.reason().map(Reason::code),
        receipt.detail,
    ])?;
    Ok(inserted > 0)
}
