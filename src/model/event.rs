//! What recipients do, and what providers say later, as one stream of facts about deliveries.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::channel::vocabulary;
use super::{DeliveryKey, LinkNo, Reason};

vocabulary! {
    EventKind {
        Opened = 1 => "opened",
        Clicked = 2 => "clicked",
        Unsubscribed = 3 => "unsubscribed",
        Complained = 4 => "complained",
        Replied = 5 => "replied",
        Delivered = 6 => "delivered",
        Bounced = 7 => "bounced",
    }
}

/// One fact about one delivery. Id and time are fixed when it is received, so that a replay is no second event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// UUID v7; the key against repeats together with the day of `at`.
    pub id: Uuid,
    pub at: Timestamp,
    pub kind: EventKind,
    pub delivery: DeliveryKey,
    /// The link that was clicked.
    pub link: Option<LinkNo>,
    /// The rule that took this for a machine, `None` for a person.
    pub machine: Option<MachineRule>,
    /// Why it bounced.
    pub reason: Option<Reason>,
    /// The provider's words, where it is a provider that tells; for `explain`.
    pub detail: Option<String>,
    pub client_ip: Option<std::net::IpAddr>,
    /// At most 256 bytes of the User-Agent.
    pub user_agent: Option<String>,
}

vocabulary! {
    /// Version 1 of the rules that tell a machine from a person.
    MachineRule {
        /// `HEAD`, or a prefetch header.
        Prefetch = 1 => "prefetch",
        /// A known scanner or image proxy by its User-Agent.
        KnownAgent = 2 => "known_agent",
        /// Within `machine_within` of the delivery.
        TooSoon = 3 => "too_soon",
        /// All links of a message within `machine_links_within`.
        EveryLink = 4 => "every_link",
        /// One address block touching `machine_addresses` recipients in a minute.
        SharedAddress = 5 => "shared_address",
    }
}
