//! Upserts of contacts on SQLite: row by row, in chunks in which no id comes twice. Within a chunk addresses are let go
//! before others take them, so that two contacts may swap theirs.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde_json::{Map, Value};

use super::connection::Connection;
use super::values::{At, Json};
use crate::model::Channel;
use crate::model::contact::{Consent, Contact, ContactAddress};
use crate::store::contacts::{ForeignAddress, Upsert, distinct_prefix};
use crate::store::{Result, Secrets};

/// Upserts within a transaction that is open already.
pub(super) fn upsert(
    connection: &Connection,
    secrets: &Secrets,
    contacts: &[Contact],
    mode: Upsert,
    source: &str,
) -> Result<Vec<ForeignAddress>> {
    let mut foreign = Vec::new();
    let mut start = 0;
    while start < contacts.len() {
        let chunk = &contacts[start..start + distinct_prefix(&contacts[start..])];
        adopt_anonymous(connection, chunk)?;
        let written = write_contacts(connection, chunk, mode)?;
        for (contact, row) in chunk.iter().zip(&written) {
            if !row.fresh && (contact.addresses.is_some() || mode == Upsert::Replace) {
                remove_others(connection, row.number, &listed(contact), mode)?;
            }
        }
        for (index, (contact, row)) in (start..).zip(chunk.iter().zip(&written)) {
            for channel in write_addresses(connection, secrets, row.number, contact, source)? {
                foreign.push(ForeignAddress { index, external_id: contact.external_id.clone(), channel });
            }
        }
        start += chunk.len();
    }
    Ok(foreign)
}

/// A contact's addresses, each once.
fn listed(contact: &Contact) -> Vec<(usize, &ContactAddress)> {
    let mut seen = HashSet::new();
    let addresses = contact.addresses.iter().flatten().enumerate();
    addresses.filter(|(_, address)| seen.insert((address.channel, &address.app, &address.address))).collect()
}

/// A contact that was known by its address only takes the id under which it is described now.
fn adopt_anonymous(connection: &Connection, contacts: &[Contact]) -> Result<()> {
    if !connection.prepare_cached("SELECT 1 FROM contacts WHERE anonymous LIMIT 1")?.exists([])? {
        return Ok(());
    }
    let mut known = connection.prepare_cached("SELECT 1 FROM contacts WHERE external_id = ?1")?;
    let mut anonymous = connection.prepare_cached(
        "SELECT c.number FROM addresses a JOIN contacts c ON c.number = a.contact
         WHERE a.channel = ?1 AND a.app = ?2 AND a.address = ?3 AND c.anonymous",
    )?;
    let mut adopt =
        connection.prepare_cached("UPDATE contacts SET external_id = ?2, anonymous = 0 WHERE number = ?1")?;
    for contact in contacts {
        for (_, address) in listed(contact) {
            if known.exists([&contact.external_id])? {
                break;
            }
            let key = params![address.channel.code(), address.app, address.address];
            let found: Option<i64> = anonymous.query_row(key, |row| row.get(0)).optional()?;
            if let Some(number) = found {
                adopt.execute(params![number, contact.external_id])?;
            }
        }
    }
    Ok(())
}

/// A contact's row.
struct Written {
    number: i64,
    /// It was not there before, so it has no addresses yet.
    fresh: bool,
}

/// What a contact's row says of the contact.
#[derive(PartialEq)]
struct Described {
    attributes: Map<String, Value>,
    tags: Vec<String>,
    locale: Option<String>,
    timezone: Option<String>,
    stub: bool,
}

impl Described {
    /// What a contact that is new, or replaced, becomes.
    fn as_given(contact: &Contact) -> Self {
        let kept = contact.attributes.iter().filter(|(_, value)| !value.is_null());
        Described {
            attributes: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
            tags: contact.tags.clone().unwrap_or_default(),
            locale: contact.locale.clone(),
            timezone: contact.timezone.clone(),
            stub: false,
        }
    }

    fn merged(&self, contact: &Contact) -> Self {
        let mut attributes = self.attributes.clone();
        for (name, value) in &contact.attributes {
            match value {
                Value::Null => drop(attributes.remove(name)),
                value => drop(attributes.insert(name.clone(), value.clone())),
            }
        }
        Described {
            attributes,
            tags: contact.tags.as_ref().unwrap_or(&self.tags).clone(),
            locale: contact.locale.as_ref().or(self.locale.as_ref()).cloned(),
            timezone: contact.timezone.as_ref().or(self.timezone.as_ref()).cloned(),
            stub: false,
        }
    }
}

/// Writes the contacts and returns their rows, in order. Leaves alone what would not change, so that an import that is
/// repeated writes nothing.
fn write_contacts(connection: &Connection, contacts: &[Contact], mode: Upsert) -> Result<Vec<Written>> {
    let mut find = connection.prepare_cached(
        "SELECT number, attributes, tags, locale, timezone, stub FROM contacts WHERE external_id = ?1",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO contacts (external_id, attributes, tags, locale, timezone, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    let mut update = connection.prepare_cached(
        "UPDATE contacts SET attributes = ?2, tags = ?3, locale = ?4, timezone = ?5, updated_at = ?6, stub = 0
         WHERE number = ?1",
    )?;
    let mut written = Vec::with_capacity(contacts.len());
    for contact in contacts {
        let found = find.query_row([&contact.external_id], |row| {
            let (Json(attributes), Json(tags)) = (row.get(1)?, row.get(2)?);
            let (locale, timezone, stub) = (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok((row.get::<_, i64>(0)?, Described { attributes, tags, locale, timezone, stub }))
        });
        let Some((number, before)) = found.optional()? else {
            let row = Described::as_given(contact);
            let (attributes, tags) = (Json(row.attributes), Json(row.tags));
            let row =
                params![contact.external_id, attributes, tags, row.locale, row.timezone, connection.now_us()];
            written.push(Written { number: insert.insert(row)?, fresh: true });
            continue;
        };
        let after = match mode {
            Upsert::Replace => Described::as_given(contact),
            Upsert::Merge | Upsert::Rows => before.merged(contact),
        };
        if after != before {
            let (attributes, tags) = (Json(after.attributes), Json(after.tags));
            update.execute(params![
                number,
                attributes,
                tags,
                after.locale,
                after.timezone,
                connection.now_us()
            ])?;
        }
        written.push(Written { number, fresh: false });
    }
    Ok(written)
}

/// Removes the addresses that a contact does not list any more.
fn remove_others(
    connection: &Connection,
    contact: i64,
    listed: &[(usize, &ContactAddress)],
    mode: Upsert,
) -> Result<()> {
    let mut every = connection
        .prepare_cached("SELECT number, channel, app, address FROM addresses WHERE contact = ?1")?;
    let mut remove = connection.prepare_cached("DELETE FROM addresses WHERE number = ?1")?;
    let mut gone: Vec<i64> = Vec::new();
    let mut rows = every.query([contact])?;
    while let Some(row) = rows.next()? {
        let (channel, app, address): (i16, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let mut of_channel = listed.iter().filter(|(_, one)| one.channel.code() == channel).peekable();
        let concerned = mode != Upsert::Rows || of_channel.peek().is_some();
        if concerned && !of_channel.any(|(_, one)| one.app == app && one.address == address) {
            gone.push(row.get(0)?);
        }
    }
    for number in gone {
        remove.execute([number])?;
    }
    Ok(())
}

/// Writes a contact's addresses; returns the channels of those that another contact owns.
fn write_addresses(
    connection: &Connection,
    secrets: &Secrets,
    contact: i64,
    given: &Contact,
    source: &str,
) -> Result<Vec<Channel>> {
    let mut find = connection.prepare_cached(
        "SELECT number, contact FROM addresses WHERE channel = ?1 AND app = ?2 AND address = ?3",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO addresses (contact, channel, app, address, hash, position, consent_at, consent_source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    // The first evidence of consent stays.
    let mut update = connection.prepare_cached(
        "UPDATE addresses SET position = ?2, consent_at = coalesce(consent_at, ?3),
             consent_source = coalesce(consent_source, ?4)
         WHERE number = ?1 AND (position <> ?2 OR consent_at IS NULL AND ?3 IS NOT NULL)",
    )?;
    let mut withdraw = connection
        .prepare_cached("UPDATE addresses SET consent_at = NULL, consent_source = NULL WHERE number = ?1")?;
    let (mut foreign, mut dated) = (Vec::new(), Vec::new());
    for (position, one) in listed(given) {
        let consent_at = match one.consent {
            Some(Consent::Given) => Some(connection.now_us()),
            Some(Consent::GivenAt(at)) => Some(at.as_microsecond()),
            Some(Consent::Withdrawn) | None => None,
        };
        let evidence = consent_at.map(|_| source);
        let (channel, position) = (one.channel.code(), i16::try_from(position).unwrap_or(i16::MAX));
        let owner: Option<(i64, i64)> = find
            .query_row(params![channel, one.app, one.address], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let number: i64 = match owner {
            Some((_, owner)) if contact != owner => {
                foreign.push(one.channel);
                continue;
            }
            Some((number, _)) => {
                update.execute(params![number, position, consent_at, evidence])?;
                number
            }
            None => {
                let hash = secrets.address_hash(one.channel, &one.address)?;
                insert.insert(params![
                    contact,
                    channel,
                    one.app,
                    one.address,
                    hash,
                    position,
                    consent_at,
                    evidence
                ])?
            }
        };
        match one.consent {
            Some(Consent::Withdrawn) => drop(withdraw.execute([number])?),
            Some(Consent::GivenAt(at)) => dated.push((number, one.channel, at)),
            Some(Consent::Given) | None => {}
        }
    }
    undo_unsubscribes(connection, contact, &dated, source)?;
    Ok(foreign)
}

/// A dated consent that is later than an unsubscribe undoes it, and is the evidence from then on.
fn undo_unsubscribes(
    connection: &Connection,
    contact: i64,
    dated: &[(i64, Channel, Timestamp)],
    source: &str,
) -> Result<()> {
    let mut renew = connection
        .prepare_cached("UPDATE addresses SET consent_at = ?2, consent_source = ?3 WHERE number = ?1")?;
    // All of a channel's are compared before its unsubscribe goes.
    let mut undone: Vec<Channel> = Vec::new();
    for (number, channel, at) in dated {
        // Nobody agrees in the future: such a date would undo every unsubscribe to come.
        if at.as_microsecond() > connection.now_us() {
            continue;
        }
        let earlier = connection
            .prepare_cached("SELECT 1 FROM unsubscribes WHERE contact = ?1 AND channel = ?2 AND at < ?3")?
            .exists(params![contact, channel.code(), At(*at)])?;
        if earlier {
            renew.execute(params![number, At(*at), source])?;
            undone.push(*channel);
        }
    }
    for channel in undone {
        connection
            .prepare_cached("DELETE FROM unsubscribes WHERE contact = ?1 AND channel = ?2")?
            .execute(params![contact, channel.code()])?;
    }
    Ok(())
}
