//! Contacts, their addresses, consent, suppressions and erasure.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Result;
use crate::model::contact::Contact;
use crate::model::{Channel, EventKind, Reason, State};

#[async_trait]
pub trait Contacts: Send + Sync {
    /// Adds or changes contacts, in order; `source` is kept as evidence of consent given here.
    /// Contacts must be canonical. Returns the addresses that stayed with another contact.
    async fn upsert_contacts(
        &self,
        contacts: &[Contact],
        mode: Upsert,
        source: &str,
    ) -> Result<Vec<ForeignAddress>>;

    async fn contact(&self, external_id: &str) -> Result<Option<ContactRecord>>;

    /// The external id of the contact that owns this address on any channel.
    async fn owner_of(&self, address: &str) -> Result<Option<String>>;

    /// Deliveries and events of a contact, newest first.
    async fn timeline(&self, external_id: &str, limit: u32) -> Result<Option<Vec<TimelineEntry>>>;

    /// Whatever names the person goes: id, attributes, addresses, own data, the details of events and attempts, ids that
    /// providers gave their messages, their entries in lists that wait. Counts, the ledger's rows and suppressions
    /// stay; the number is never used again. `false` where there is no such contact.
    async fn erase_contact(&self, external_id: &str) -> Result<bool>;

    /// Forgets again what was on its way when contacts were erased, as the answer of a provider, for those erased
    /// less than `age` ago. Returns how many contacts were looked after.
    async fn erase_late(&self, age: SignedDuration) -> Result<u64>;

    /// Returns how many were new.
    async fn suppress(&self, entries: &[Suppression]) -> Result<u64>;

    /// `false` where it was not suppressed.
    async fn unsuppress(&self, channel: Channel, address: &str) -> Result<bool>;

    /// Newest first. Only hashes are kept, so an address shows where a contact still has it.
    async fn suppressions(&self, limit: u32) -> Result<Vec<SuppressionRecord>>;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upsert {
    /// Attributes merge, absent fields stay, addresses that are given replace all others.
    #[default]
    Merge,
    /// As `Merge`, but addresses replace those of their own channel only: a table with a column for one channel
    /// says nothing about the others.
    Rows,
    /// The contact becomes exactly what is given.
    Replace,
}

/// An address that was left out because another contact owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignAddress {
    /// Position in the list that was given.
    pub index: usize,
    pub external_id: String,
    pub channel: Channel,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContactRecord {
    pub external_id: String,
    pub attributes: Map<String, Value>,
    pub tags: Vec<String>,
    pub locale: Option<String>,
    pub timezone: Option<String>,
    pub addresses: Vec<AddressRecord>,
    pub engagement: EngagementRecord,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressRecord {
    pub channel: Channel,
    pub address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    pub consent_at: Option<Timestamp>,
    pub consent_source: Option<String>,
    pub unsubscribed_at: Option<Timestamp>,
    pub suppressed: bool,
}

/// What the contact did, as a person, over all campaigns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EngagementRecord {
    pub first_open_at: Option<Timestamp>,
    pub last_open_at: Option<Timestamp>,
    pub opens: i64,
    pub first_click_at: Option<Timestamp>,
    pub last_click_at: Option<Timestamp>,
    pub clicks: i64,
    /// Opens and clicks by hour of the contact's own clock, 24 counts; empty before the first.
    pub active_hours: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    pub at: Timestamp,
    pub campaign: String,
    pub channel: Channel,
    #[serde(flatten)]
    pub what: TimelineWhat,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimelineWhat {
    Delivery { state: State, reason: Option<Reason> },
    Event { kind: EventKind, link: Option<String>, machine: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    pub channel: Channel,
    /// Canonical; only its keyed hash is stored.
    pub address: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuppressionRecord {
    pub channel: Channel,
    pub hash: String,
    pub address: Option<String>,
    pub reason: String,
    pub created_at: Timestamp,
}

/// Contacts that an upsert writes together, at most.
const CHUNK: usize = 2_000;

/// How many contacts from the start have different ids, so that a chunk meets none of them twice.
pub(super) fn distinct_prefix(contacts: &[Contact]) -> usize {
    let mut seen = HashSet::new();
    contacts.iter().take(CHUNK).take_while(|contact| seen.insert(contact.external_id.as_str())).count()
}
