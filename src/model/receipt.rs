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

/// 2000-01-01T00:00:00Z: an instant before it is a clock that was never set.
const FIRST_SECOND: i64 = 946_684_800;

impl Receipt {
    /// When it happened that is told at `now`, by the provider's clock where that can be: what has been told has happened,
    /// and not before there were providers.
    pub fn happened(told: Option<Timestamp>, now: Timestamp) -> Timestamp {
        told.filter(|at| at.as_second() >= FIRST_SECOND).unwrap_or(now).min(now)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_never_ahead_nor_from_a_clock_that_was_never_set() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-21T10:00:00Z");
        for (told, happened) in [
            (Some("2026-11-21T09:59:59Z"), "2026-11-21T09:59:59Z"),
            (Some("2026-11-21T10:00:01Z"), "2026-11-21T10:00:00Z"),
            (Some("0001-01-01T00:00:00Z"), "2026-11-21T10:00:00Z"),
            (Some("1999-12-31T23:59:59Z"), "2026-11-21T10:00:00Z"),
            (None, "2026-11-21T10:00:00Z"),
        ] {
            assert_eq!(Receipt::happened(told.map(at), now), at(happened), "{told:?}");
        }
    }
}
