//! What recipients and providers reach: the open pixel, the click redirect and the unsubscribe page with the events they
//! make, and the hooks that providers call.
//!
//! Owns the public routes, the verdict whether a machine asked, and the way of an event from the request to whoever
//! records it. Promises that pixel and redirect answer within moments whatever the store does, that a forged token
//! records nothing and redirects nowhere, and that an event which was taken in is recorded, if need be after an
//! outage and from the disk. Knows no store: tokens, links and recording are the traits below. A client's address or token reaches no log.

mod hooks;
mod intake;
mod machine;
mod page;
mod routes;
mod visitor;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{CampaignNo, DeliveryKey, Event, LinkNo};

pub use hooks::{Hook, HookCall, HookError, HookReply};
pub use intake::{Backing, EventIntake, Fate};
use machine::Machines;
pub use machine::Rules;
pub use routes::{Patience, Tolls, Tracker, router};

/// Opens the tokens that messages carry. `None`: not one of ours.
pub trait Tokens: Send + Sync {
    /// The delivery of an open pixel.
    fn open(&self, token: &str) -> Option<DeliveryKey>;
    /// The delivery of an unsubscribe link.
    fn unsubscribe(&self, token: &str) -> Option<DeliveryKey>;
    fn click(&self, token: &str) -> Option<ClickClaims>;
}

/// What a click's token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickClaims {
    pub delivery: DeliveryKey,
    pub link: LinkNo,
    /// The target, where it varies by recipient; else it stands in the campaign's link table.
    pub url: Option<String>,
}

/// What the ledger knows of campaigns and deliveries; answers from memory what it has there, also while the store is
/// away.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The target of a campaign's link. `None`: there is no such link.
    ///
    /// # Errors
    /// The store is needed and away.
    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>, Unavailable>;

    /// When a delivery was handed over. `None`: not known, and then no rule about time or links applies to it. Up to
    /// 4,096 of these are asked at a time.
    ///
    /// # Errors
    /// The store is needed and away.
    async fn sent_at(&self, delivery: DeliveryKey) -> Result<Option<Delivered>, Unavailable>;
}

/// A delivery as the machine rules need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// When it arrived by its receipt, else when the provider took it; where that is not settled yet, when it was about
    /// to be handed over (gateways follow links before they accept a message).
    pub at: Timestamp,
    /// How many tracked links the campaign has.
    pub links: usize,
}

/// Makes events durable.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Resolves once the event is durable. Called again with the same event (same id) after an error. Up to 4,096 are
    /// under way at a time, so that they can share commits.
    ///
    /// # Errors
    /// The store is away. An event that no store will ever take is not an error here: it would be tried for ever.
    async fn record(&self, event: Event) -> Result<(), Unavailable>;
}

/// The store does not answer now; the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub struct Unavailable;

/// Sees every answer, for metrics.
pub trait Observer: Send + Sync {
    /// `kind` is `open`, `click`, `unsubscribe_page`, `unsubscribe` or `hook`. `verdict` is `human`, a machine rule's name,
    /// `asked` (a page that records nothing), `spooled` (durable on this machine's disk), `queued` (answered before the event
    /// was durable), `dropped` (nothing took it), `limited` (its address is over its rate; opens and clicks are answered all
    /// the same), `forged`, `unknown_link`, `unavailable`, `refused` (a body that is too large or too
    /// slow, a call that a hook does not take), `taken` (a call whose receipts are durable), or `unknown_provider`.
    fn answered(&self, kind: &'static str, verdict: &'static str, code: u16, elapsed: Duration);
}
