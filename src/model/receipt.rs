//! What a provider says after its answer: receipts, and what recipients tell it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Channel, DeliveryKey, EventKind, Reason, State};

/// One notice of a provider. Notices repeat and overtake each other, and overtake the provider's own answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The same for every repeat: [`Receipt::id`] makes it from the provider's own key.
    pub id: Uuid,
    pub about: About,
    /// When it happened, by the provider's clock. Repeats are told by their id on the same day (UTC), so that one who
    /// does not say when, and repeats itself the next day, is recorded as two events; no state or count moves twice.
    pub at: Timestamp,
    pub news: News,
    /// The provider's words, cut short and free of addresses where possible; kept for `explain`.
    pub detail: Option<String>,
}

/// Whom a receipt is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// The provider echoes our key.
    Delivery(DeliveryKey),
    /// The provider echoes only the id that it gave the message with its answer; the ledger knows whose that is where the
    /// account says so ([`crate::model::Outcome::Accepted`]).
    Reference { provider: String, reference: String },
    /// The provider names an address only, in its canonical form.
    Address { channel: Channel, address: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// The provider has the message: settles a doubt.
    Accepted,
    Delivered,
    Bounced {
        bounce: Bounce,
        reason: Reason,
    },
    /// The recipient called it spam.
    Complained,
    /// The recipient opted out with the provider, or by a reply.
    Unsubscribed,
    Replied,
}

/// What a bounce says about the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bounce {
    /// It is dead: nothing more goes there.
    Hard,
    /// It is full or away: nothing is said about tomorrow.
    Soft,
    /// Policy or reputation: says nothing about the address.
    Block,
}

impl News {
    /// The metric label.
    pub fn as_str(&self) -> &'static str {
        self.event().map_or("accepted", EventKind::as_str)
    }

    /// The event that is kept of it; what only settles a doubt leaves none.
    pub fn event(&self) -> Option<EventKind> {
        match self {
            News::Accepted => None,
            News::Delivered => Some(EventKind::Delivered),
            News::Bounced { .. } => Some(EventKind::Bounced),
            News::Complained => Some(EventKind::Complained),
            News::Unsubscribed => Some(EventKind::Unsubscribed),
            News::Replied => Some(EventKind::Replied),
        }
    }

    /// The state that it asks for, where [`State::predecessors`] allows it.
    pub fn state(&self) -> Option<State> {
        match self {
            News::Accepted => Some(State::Accepted),
            News::Delivered => Some(State::Delivered),
            News::Bounced { .. } => Some(State::Bounced),
            News::Complained | News::Unsubscribed | News::Replied => None,
        }
    }

    /// Why it bounced.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            News::Bounced { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Why nothing more may go to the address, as the suppression list words it.
    pub fn suppresses(&self) -> Option<&'static str> {
        match self {
            News::Bounced { bounce: Bounce::Hard, .. } => Some("bounced"),
            News::Complained => Some("complaint"),
            _ => None,
        }
    }
}

impl Receipt {
    /// The id of the receipt that `provider` knows by `key` and `word`, such as a message id and a status. Where the key
    /// is a delivery's, ids of neighbours are neighbours, so that stores write them side by side.
    pub fn id(provider: &str, key: &str, word: &str) -> Uuid {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{provider}\n{key}\n{word}").as_bytes());
        let Ok(delivery) = key.parse::<DeliveryKey>() else { return hash };
        let mut bytes = hash.into_bytes();
        bytes[..2].copy_from_slice(&delivery.campaign.0.to_be_bytes()[6..]);
        bytes[2..6].copy_from_slice(&delivery.contact.0.to_be_bytes()[4..]);
        Uuid::new_v8(bytes)
    }
}
