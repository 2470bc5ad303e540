//! Recipients that a caller lists: from ids and addresses to contacts, repeats to occurrences.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::connection::Connection;
use super::judging::{Counts, Plan, Target};
use super::values::Json;
use crate::model::address::canonical;
use crate::model::{CampaignNo, Channel, Reason};
use crate::store::{Result, Secrets};

/// One entry of a list, as it was given.
pub(super) struct Listed {
    pub(super) external_id: Option<String>,
    pub(super) address: Option<String>,
    pub(super) data: Option<Value>,
}

/// An entry that has found its contact.
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) data: Option<Value>,
}

impl Plan {
    pub(super) fn write_entries(&self, connection: &Connection, entries: &[Entry]) -> Result<Counts> {
        let counts = self.write(connection, entries.iter().map(|entry| entry.target))?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO recipient_data (campaign, contact, occurrence, data) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for Entry { target, data } in entries {
            if let (Some(own), None) = (data, target.pre) {
                insert.execute(params![self.campaign.0, target.contact, target.occurrence, Json(own)])?;
            }
        }
        Ok(counts)
    }
}

/// Finds, or makes, the contact of an entry; what has an address keeps it from now on, unless another contact owns it.
/// With a `consent_source` everyone listed agreed to marketing.
pub(super) fn resolve(
    connection: &Connection,
    secrets: &Secrets,
    channel: Channel,
    listed: Listed,
    consent_source: Option<&str>,
) -> Result<Entry> {
    let address = listed.address.as_deref().map(|text| canonical(channel, text));
    let invalid = matches!(address, Some(Err(_)));
    let address = address.and_then(std::result::Result::ok);
    let owned = match &address {
        Some(address) => owned(connection, channel, address)?,
        None => None,
    };
    let hash = |text: &str| secrets.address_hash(channel, text).map(hex::encode);
    let (contact, stub) = match (&listed.external_id, &address, owned) {
        (Some(id), ..) => find_or_make(connection, id, address.is_some(), false)?,
        // An entry without an id is the contact that owns its address already.
        (None, Some(_), Some(owned)) => (owned.contact, false),
        (None, Some(address), None) => {
            find_or_make(connection, &format!("~{channel}:{}", hash(address)?), true, true)?
        }
        (None, None, _) => {
            let id = format!("~invalid:{}", hash(listed.address.as_deref().unwrap_or_default())?);
            find_or_make(connection, &id, false, true)?
        }
    };
    let foreign = owned.is_some_and(|owned| owned.contact != contact);
    let number = match (&address, owned) {
        (Some(address), None) => Some(add(connection, secrets, channel, address, contact, consent_source)?),
        (_, Some(owned)) if !foreign => {
            agree(connection, owned, consent_source)?;
            Some(owned.number)
        }
        _ => None,
    };
    let pre = match &address {
        _ if invalid => Some(Reason::InvalidAddress),
        None if stub => Some(Reason::UnknownContact),
        // The address stays with the contact that owns it.
        Some(_) if foreign => Some(Reason::NoAddress),
        _ => None,
    };
    Ok(Entry { target: Target { contact, occurrence: 0, address: number, pre }, data: listed.data })
}

/// An address that some contact has.
#[derive(Clone, Copy)]
struct Owned {
    number: i64,
    contact: i64,
    consent: bool,
}

fn owned(connection: &Connection, channel: Channel, address: &str) -> Result<Option<Owned>> {
    let sql = "SELECT number, contact, consent_at IS NOT NULL FROM addresses
         WHERE channel = ?1 AND app = '' AND address = ?2";
    let owned = connection
        .prepare_cached(sql)?
        .query_row(params![channel.code(), address], |row| {
            Ok(Owned { number: row.get(0)?, contact: row.get(1)?, consent: row.get(2)? })
        })
        .optional()?;
    Ok(owned)
}

/// Returns the address's number.
fn add(
    connection: &Connection,
    secrets: &Secrets,
    channel: Channel,
    address: &str,
    contact: i64,
    consent_source: Option<&str>,
) -> Result<i64> {
    let sql = "INSERT INTO addresses (contact, channel, address, hash, position, consent_at, consent_source)
         VALUES (?1, ?2, ?3, ?4, 1000, ?5, ?6)";
    let hash = secrets.address_hash(channel, address)?;
    let consent_at = consent_source.map(|_| connection.now_us());
    let row = params![contact, channel.code(), address, hash, consent_at, consent_source];
    Ok(connection.prepare_cached(sql)?.insert(row)?)
}

fn agree(connection: &Connection, owned: Owned, consent_source: Option<&str>) -> Result<()> {
    if let (false, Some(source)) = (owned.consent, consent_source) {
        let sql = "UPDATE addresses SET consent_at = ?2, consent_source = coalesce(consent_source, ?3) WHERE number = ?1";
        connection.prepare_cached(sql)?.execute(params![owned.number, connection.now_us(), source])?;
    }
    Ok(())
}

/// The number of the contact with this id, and whether nothing but the id is known of it. An id that comes with an
/// address becomes a contact; an id alone, or with a broken address, a stub.
fn find_or_make(connection: &Connection, id: &str, described: bool, made: bool) -> Result<(i64, bool)> {
    let select = "SELECT number, stub FROM contacts WHERE external_id = ?1";
    let known = connection
        .prepare_cached(select)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((number, true)) if described => {
            connection.prepare_cached("UPDATE contacts SET stub = 0 WHERE number = ?1")?.execute([number])?;
            Ok((number, false))
        }
        Some(known) => Ok(known),
        None => {
            let insert = "INSERT INTO contacts (external_id, stub, anonymous, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?4)";
            let number = connection.prepare_cached(insert)?.insert(params![
                id,
                !described,
                made,
                connection.now_us()
            ])?;
            Ok((number, !described))
        }
    }
}

/// A contact that the list names again takes occurrence 1, 2, ... and is excluded as a duplicate.
pub(super) fn number_repeats(
    connection: &Connection,
    campaign: CampaignNo,
    entries: &mut [Entry],
) -> Result<()> {
    let mut last = connection
        .prepare_cached("SELECT max(occurrence) FROM deliveries WHERE campaign = ?1 AND contact = ?2")?;
    let mut next: HashMap<i64, i64> = HashMap::new();
    // A sound entry is the first of its contact, also where a faulty one stands before it.
    let (sound, faulty): (Vec<_>, Vec<_>) =
        entries.iter_mut().map(|entry| &mut entry.target).partition(|target| target.pre.is_none());
    for target in sound.into_iter().chain(faulty) {
        let occurrence = match next.entry(target.contact) {
            Place::Occupied(known) => known.into_mut(),
            Place::Vacant(unknown) => {
                let known: Option<i64> = last.query_row([campaign.0, target.contact], |row| row.get(0))?;
                unknown.insert(known.map_or(0, |last| last + 1))
            }
        };
        target.occurrence = *occurrence;
        if *occurrence > 0 {
            target.pre = Some(Reason::Duplicate);
        }
        *occurrence += 1;
    }
    Ok(())
}
