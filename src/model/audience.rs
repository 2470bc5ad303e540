//! Audiences: whom a campaign names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Filter;

/// Whom a campaign names: exactly one of the four.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "AudienceWire", into = "AudienceWire")]
#[schemars(with = "AudienceWire")]
pub enum Audience {
    All,
    Segment(Filter),
    Contacts(Vec<String>),
    Recipients { recipients: Vec<Recipient>, consent: bool },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AudienceWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<Filter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contacts: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<Recipient>>,
    /// With `recipients`: they agreed to marketing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent: Option<bool>,
}

/// One inline recipient; an unknown address becomes a contact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Over the job's `data`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

impl TryFrom<AudienceWire> for Audience {
    type Error = &'static str;

    fn try_from(wire: AudienceWire) -> Result<Self, Self::Error> {
        if wire.consent.is_some() && wire.recipients.is_none() {
            return Err("`consent` stands with `recipients` only");
        }
        let consent = wire.consent.unwrap_or(false);
        match (wire.all, wire.segment, wire.contacts, wire.recipients) {
            (Some(true), None, None, None) => Ok(Audience::All),
            (None, Some(filter), None, None) => Ok(Audience::Segment(filter)),
            (None, None, Some(contacts), None) => Ok(Audience::Contacts(contacts)),
            (None, None, None, Some(recipients)) => Ok(Audience::Recipients { recipients, consent }),
            _ => Err("an audience is exactly one of {\"all\": true}, segment, contacts, recipients"),
        }
    }
}

impl From<Audience> for AudienceWire {
    fn from(audience: Audience) -> Self {
        let mut wire = AudienceWire::default();
        match audience {
            Audience::All => wire.all = Some(true),
            Audience::Segment(filter) => wire.segment = Some(filter),
            Audience::Contacts(contacts) => wire.contacts = Some(contacts),
            Audience::Recipients { recipients, consent } => {
                wire.recipients = Some(recipients);
                wire.consent = consent.then_some(true);
            }
        }
        wire
    }
}
