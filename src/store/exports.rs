//! Everything that is kept about one person, for their right of access.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Result;
use super::reports::{AttemptRecord, EventRecord};
use crate::model::{Channel, Reason, State};

#[async_trait]
pub trait Exports: Send + Sync {
    /// What is kept beside the contact itself; `None` where nobody has this id. Also of one that lists have named and
    /// nobody described.
    async fn kept_about(&self, external_id: &str) -> Result<Option<Kept>>;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Kept {
    pub unsubscribes: Vec<UnsubscribeRecord>,
    /// By campaign.
    pub deliveries: Vec<KeptDelivery>,
    /// Events about an address of theirs and no delivery.
    pub other_events: Vec<KeptEvent>,
    /// Lists that wait to be planned and name the contact or an address of theirs.
    pub lists: Vec<ListEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnsubscribeRecord {
    pub channel: Channel,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptDelivery {
    pub campaign: String,
    pub channel: Channel,
    pub occurrence: i64,
    pub state: State,
    pub reason: Option<Reason>,
    pub attempts: u16,
    pub provider: Option<String>,
    pub provider_ref: Option<String>,
    pub updated_at: Timestamp,
    /// The recipient's own data, until it is settled.
    pub data: Option<Map<String, Value>>,
    pub attempts_made: Vec<AttemptRecord>,
    pub events: Vec<KeptEvent>,
    /// Ids that providers gave the message, as `provider: id`.
    pub references: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptEvent {
    #[serde(flatten)]
    pub event: EventRecord,
    pub client_ip: Option<String>,
    pub user_agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListEntry {
    pub campaign: String,
    pub external_id: Option<String>,
    pub address: Option<String>,
    pub data: Option<Map<String, Value>>,
}

/// Which delivery: campaign number and occurrence.
pub(super) type Place = (i64, i64);

/// Details of deliveries, as the stores read them table by table.
#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) data: Vec<(Place, Map<String, Value>)>,
    pub(super) attempts: Vec<(Place, AttemptRecord)>,
    pub(super) events: Vec<(Option<Place>, KeptEvent)>,
    pub(super) references: Vec<(Place, String)>,
}

impl Details {
    /// Puts each detail to its delivery; returns the events that belong to none.
    pub(super) fn join(self, deliveries: &mut [(Place, KeptDelivery)]) -> Vec<KeptEvent> {
        let places: Vec<Place> = deliveries.iter().map(|(place, _)| *place).collect();
        let at = |place: Place| places.binary_search(&place).ok();
        for (place, data) in self.data {
            if let Some((_, delivery)) = at(place).and_then(|at| deliveries.get_mut(at)) {
                delivery.data = Some(data);
            }
        }
        for (place, attempt) in self.attempts {
            if let Some((_, delivery)) = at(place).and_then(|at| deliveries.get_mut(at)) {
                delivery.attempts_made.push(attempt);
            }
        }
        for (place, reference) in self.references {
            if let Some((_, delivery)) = at(place).and_then(|at| deliveries.get_mut(at)) {
                delivery.references.push(reference);
            }
        }
        let mut others = Vec::new();
        for (place, event) in self.events {
            match place.and_then(at).and_then(|at| deliveries.get_mut(at)) {
                Some((_, delivery)) => delivery.events.push(event),
                None => others.push(event),
            }
        }
        others
    }
}
