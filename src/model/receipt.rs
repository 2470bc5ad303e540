//! What a provider says after its answer: receipts, and what recipients tell it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Channel, DeliveryKey, Reason};

/// One notice of a provider. Notices repeat and overtake each other, and overtake the provider's own answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The same for every repeat: [`Receipt::id`] makes it from the provider's own key.
    pub id: Uuid,
    pub about: About,
    /// When it happened, by the provider's clock where it says so.
    pub at: Timestamp,
    pub news: News,
    /// The provider's words, cut short; kept for `explain`.
    pub detail: Option<String>,
}

/// Whom a receipt is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// The provider echoes our key.
    Delivery(DeliveryKey),
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

impl Receipt {
    /// The id of the receipt that `provider` knows by `key` and `word`, such as a message id and a status.
    pub fn id(provider: &str, key: &str, word: &str) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{provider}\n{key}\n{word}").as_bytes())
    }
}
