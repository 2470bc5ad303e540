//! Contacts and their addresses as upserts bind them: a row each, then by column.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Json;

use crate::model::Channel;
use crate::model::contact::{Consent, Contact};
use crate::store::{Result, Secrets};

/// A contact of a chunk, with its addresses that differ.
pub(super) struct Entry<'a> {
    /// Position in the chunk.
    pub index: usize,
    pub contact: &'a Contact,
    pub addresses: Vec<AddressRow<'a>>,
}

pub(super) fn entries<'a>(contacts: &'a [Contact], secrets: &Secrets) -> Result<Vec<Entry<'a>>> {
    let entry = |(index, contact): (usize, &'a Contact)| {
        let mut seen = HashSet::new();
        let listed = contact.addresses.iter().flatten().enumerate();
        let addresses = listed
            .filter(|(_, address)| seen.insert((address.channel, &address.app, &address.address)))
            .map(|(position, address)| {
                Ok(AddressRow {
                    position: i16::try_from(position).unwrap_or(i16::MAX),
                    channel: address.channel,
                    app: &address.app,
                    hash: secrets.address_hash(address.channel, &address.address)?,
                    address: &address.address,
                    consent: address.consent,
                })
            });
        Ok(Entry { index, contact, addresses: addresses.collect::<Result<_>>()? })
    };
    contacts.iter().enumerate().map(entry).collect()
}

impl<'a> Entry<'a> {
    pub(super) fn id(&self) -> &'a str {
        &self.contact.external_id
    }
}

/// Channel, app and address.
pub(super) type AddressName<'a> = (i16, &'a str, &'a str);

pub(super) struct AddressRow<'a> {
    position: i16,
    pub channel: Channel,
    pub app: &'a str,
    pub address: &'a str,
    hash: Vec<u8>,
    consent: Option<Consent>,
}

impl<'a> AddressRow<'a> {
    pub(super) fn name(&self) -> AddressName<'a> {
        (self.channel.code(), self.app, self.address)
    }
}

/// Contacts by column, as statements bind them.
pub(super) struct ContactColumns<'a> {
    pub ids: Vec<&'a str>,
    pub set: Vec<Json<BTreeMap<&'a String, &'a Value>>>,
    pub removed: Vec<Json<Vec<&'a String>>>,
    pub tags: Vec<Option<Json<&'a Vec<String>>>>,
    pub locales: Vec<Option<&'a str>>,
    pub timezones: Vec<Option<&'a str>>,
}

impl<'a> ContactColumns<'a> {
    pub(super) fn new(entries: &[Entry<'a>]) -> Self {
        let (mut set, mut removed) = (Vec::new(), Vec::new());
        let contacts = || entries.iter().map(|entry| entry.contact);
        for contact in contacts() {
            let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
                contact.attributes.iter().partition(|(_, value)| value.is_null());
            set.push(Json(kept));
            removed.push(Json(gone.into_keys().collect::<Vec<_>>()));
        }
        ContactColumns {
            ids: entries.iter().map(Entry::id).collect(),
            set,
            removed,
            tags: contacts().map(|contact| contact.tags.as_ref().map(Json)).collect(),
            locales: contacts().map(|contact| contact.locale.as_deref()).collect(),
            timezones: contacts().map(|contact| contact.timezone.as_deref()).collect(),
        }
    }
}

/// Addresses by column, as statements bind them.
pub(super) struct AddressColumns<'a> {
    pub owners: Vec<i64>,
    pub channels: Vec<i16>,
    pub apps: Vec<&'a str>,
    pub addresses: Vec<&'a str>,
    pub hashes: Vec<&'a [u8]>,
    pub positions: Vec<i16>,
    pub given: Vec<Option<bool>>,
    pub given_at: Vec<Option<Timestamp>>,
}

impl<'a> AddressColumns<'a> {
    /// Each address with the number of its contact.
    pub(super) fn new(rows: impl Iterator<Item = (i64, &'a AddressRow<'a>)>) -> Self {
        let rows: Vec<_> = rows.collect();
        let given_at = |row: &AddressRow<'_>| match row.consent {
            Some(Consent::GivenAt(at)) => Some(at),
            _ => None,
        };
        let given = |row: &AddressRow<'_>| row.consent.map(|consent| consent != Consent::Withdrawn);
        AddressColumns {
            owners: rows.iter().map(|(owner, _)| *owner).collect(),
            channels: rows.iter().map(|(_, row)| row.channel.code()).collect(),
            apps: rows.iter().map(|(_, row)| row.app).collect(),
            addresses: rows.iter().map(|(_, row)| row.address).collect(),
            hashes: rows.iter().map(|(_, row)| row.hash.as_slice()).collect(),
            positions: rows.iter().map(|(_, row)| row.position).collect(),
            given: rows.iter().map(|(_, row)| given(row)).collect(),
            given_at: rows.iter().map(|(_, row)| given_at(row)).collect(),
        }
    }
}
