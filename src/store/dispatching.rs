//! Leases, intents and outcomes: what makes "nothing lost, nothing sent twice" true.
//!
//! A batch's members before its watermark may be on their way; those at or past it were certainly not sent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Result;
use super::jobs::{Incarnation, PinnedTemplate};
use crate::model::job::Tracking;
use crate::model::{
    AddressNo, BatchNo, CampaignNo, Channel, ContactNo, DeliveryKey, Lane, Purpose, Rates, Reason, State,
};

#[async_trait]
pub trait Dispatching: Send + Sync {
    /// Registers this start of the daemon.
    async fn join(&self, name: &str) -> Result<Incarnation>;

    /// Moves the heartbeat on and returns everyone's. One that holds leases but was forgotten shows a beat of -1,
    /// which never moves: it is to be rescued, too.
    async fn beat(&self, me: Incarnation) -> Result<Vec<(Incarnation, i64)>>;

    /// Forgets an incarnation that holds no lease any more.
    async fn leave(&self, me: Incarnation) -> Result<()>;

    /// Campaigns of the channel with batches that are due, by lane.
    async fn campaigns_due(&self, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>>;

    /// Running campaigns of `known` that must not send any more: paused, cancelled, expired or gone.
    async fn stopped(&self, known: &[CampaignNo]) -> Result<Vec<CampaignNo>>;

    /// Leases up to `each` due batches of every stream named.
    async fn lease(&self, me: Incarnation, streams: &[(CampaignNo, Lane)], each: u32) -> Result<Vec<Lease>>;

    /// Takes up the batches that were leased to `me` when their message was accepted, each once.
    async fn leased_at_acceptance(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>>;

    /// What is needed to render and send a campaign.
    async fn sending(&self, campaign: CampaignNo) -> Result<Option<Sending>>;

    /// A pinned template, with the whole link table of the campaign by number.
    async fn template(&self, campaign: CampaignNo, hash: [u8; 32]) -> Result<Option<PinnedTemplate>>;

    /// Writes outcomes and closes batches, in one commit. What was written before changes nothing.
    async fn record(&self, me: Incarnation, outcomes: &Outcomes) -> Result<()>;

    /// Grants intents, in one commit, with their recipients as they are now: one answer an intent, in their order, and
    /// `None` where it is not granted: the lease was lost or the campaign stopped.
    async fn intend(&self, me: Incarnation, intents: &[Intent]) -> Result<Vec<Option<Vec<Recipient>>>>;

    /// Gives leases back; members at or past each watermark go to whoever leases next. Those before it that have no
    /// outcome are in doubt: they wait again in a batch of their own where their intent gave leave to send them again,
    /// with one attempt more burnt; else they become `unknown`. A hold that was given back before changes nothing.
    async fn release(&self, me: Incarnation, holds: &[Hold]) -> Result<()>;

    /// Takes the leases of a dead incarnation back, a few a transaction; what is in doubt goes as at a release.
    async fn rescue(&self, dead: Incarnation) -> Result<Rescued>;

    /// All leases that `me` has taken up and not given back. One that it does not know of was granted by an answer that
    /// got lost.
    async fn holds(&self, me: Incarnation) -> Result<Vec<Hold>>;

    /// Waiting deliveries and the oldest due time by channel and lane, paused campaigns apart; for metrics.
    async fn backlog(&self) -> Result<Vec<Backlog>>;
}

/// A batch that is ours while our heart beats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub batch: BatchNo,
    pub campaign: CampaignNo,
    pub lane: Lane,
    pub epoch: i32,
    /// Attempts that every member has burnt.
    pub attempt: u16,
    /// Position of the first member in `members`.
    pub watermark: u32,
    pub template: [u8; 32],
    pub options: Option<Arc<MessageOptions>>,
    /// Where an earlier attempt at every member may have reached its provider.
    pub doubt: Option<Doubt>,
    /// Members from the watermark on.
    pub members: Vec<Member>,
}

impl Lease {
    pub fn hold(&self) -> Hold {
        Hold { batch: self.batch, epoch: self.epoch }
    }

    /// The only account that may carry it: the one that may have it already, or that the job names.
    pub fn account<'a>(&'a self, campaign: &'a Sending) -> Option<&'a str> {
        let doubtful = self.doubt.as_ref().and_then(|doubt| doubt.resend.provider.as_deref());
        let own = self.options.as_ref().and_then(|options| options.provider.as_deref());
        doubtful.or(own).or(campaign.provider.as_deref())
    }
}

/// A lease by its batch and epoch: the same batch leased again is another hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hold {
    pub batch: BatchNo,
    pub epoch: i32,
}

/// Why a provider may have a message already, with the leave to send it again all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Of the first attempt that left a doubt.
    pub reason: Reason,
    pub resend: Resend,
}

/// Leave to send again what is in doubt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resend {
    /// Later the provider may no longer know the first message's key. [`Resend::ENDLESS`] where that sets no limit.
    pub until: Timestamp,
    /// The only account that may; `None`: whichever carries the message.
    pub provider: Option<Arc<str>>,
}

impl Resend {
    /// The year 9999: an end that every store can hold.
    pub const ENDLESS: Timestamp = Timestamp::constant(253_370_764_800, 0);
}

/// What a single message says over its standing campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOptions {
    pub provider: Option<String>,
    pub expires_at: Option<Timestamp>,
    pub tracking: Tracking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub contact: ContactNo,
    pub occurrence: i64,
    pub address: AddressNo,
}

/// A campaign as its lane needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    pub number: CampaignNo,
    pub id: Arc<str>,
    pub channel: Channel,
    pub purpose: Purpose,
    pub provider: Option<String>,
    pub data: Arc<Map<String, Value>>,
    pub rate: Rates,
    pub burst: Option<u32>,
    pub tracking: Tracking,
    pub standing: bool,
    pub inline_data: bool,
    pub expires_at: Option<Timestamp>,
}

/// Permission to hand `members` to a provider, asked for before any byte leaves.
#[derive(Debug, Clone)]
pub struct Intent {
    pub batch: BatchNo,
    pub campaign: CampaignNo,
    pub purpose: Purpose,
    pub channel: Channel,
    pub inline_data: bool,
    pub epoch: i32,
    /// The position after the last member.
    pub to: u32,
    pub members: Vec<Member>,
    /// What becomes of the members where their daemon dies; `None`: they become `unknown`.
    pub resend: Option<Resend>,
    /// The batch is one in doubt: members whose fate a receipt told since are left out of the answer.
    pub again: bool,
}

/// A member at the moment of its intent; `excluded` where it must not be sent any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    pub member: Member,
    pub external_id: String,
    pub locale: Option<String>,
    pub timezone: Option<String>,
    pub attributes: Map<String, Value>,
    pub own_data: Option<Map<String, Value>>,
    pub address: String,
    /// The app that the address belongs to; empty on channels that have none.
    pub app: String,
    pub excluded: Option<Reason>,
}

/// A delivery that reached a state from which only a receipt or a hand moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub delivery: DeliveryKey,
    pub batch: BatchNo,
    pub state: State,
    pub reason: Option<Reason>,
    pub attempts: u16,
    pub provider: Option<Arc<str>>,
    pub provider_ref: Option<String>,
    /// Receipts will name `provider_ref` alone.
    pub referenced: bool,
    /// What the provider bills, for SMS; else 0.
    pub segments: u32,
    pub at: Timestamp,
    /// The provider's words where it refused; kept for `explain`.
    pub detail: Option<String>,
}

impl Settled {
    /// The ids that receipts will name: `(provider, id, delivery)`, one a part of the message.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str, DeliveryKey)> {
        let known = self.referenced.then_some((self.provider.as_deref(), self.provider_ref.as_deref()));
        let (provider, names) = match known {
            Some((Some(provider), Some(names))) => (provider, names),
            _ => ("", ""),
        };
        names.split_ascii_whitespace().map(move |name| (provider, name, self.delivery))
    }
}

/// A delivery that waits again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescheduled {
    pub campaign: CampaignNo,
    pub member: Member,
    pub batch: BatchNo,
    pub channel: Channel,
    pub lane: Lane,
    pub template: [u8; 32],
    pub options: Option<Arc<MessageOptions>>,
    pub due_at: Timestamp,
    /// Attempts burnt so far.
    pub attempts: u16,
    pub provider: Option<Arc<str>>,
    /// Where this attempt, or one before it, may have reached its provider.
    pub doubt: Option<Doubt>,
    /// `None` where nothing was attempted.
    pub attempt: Option<FailedAttempt>,
}

impl Rescheduled {
    pub fn delivery(&self) -> DeliveryKey {
        DeliveryKey {
            campaign: self.campaign,
            contact: self.member.contact,
            occurrence: self.member.occurrence,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    pub at: Timestamp,
    pub reason: Reason,
    pub detail: String,
}

/// One group commit.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    pub settled: Vec<Settled>,
    pub rescheduled: Vec<Rescheduled>,
    /// Batches of which every member is settled or rescheduled, those of this commit included. One that has members
    /// past its watermark stays.
    pub closed: Vec<BatchNo>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rescued {
    pub batches: u64,
    pub unknown: u64,
    /// In doubt, and to be sent again.
    pub resent: u64,
    /// Never intended.
    pub waiting: u64,
}

impl std::ops::AddAssign for Rescued {
    fn add_assign(&mut self, more: Rescued) {
        self.batches += more.batches;
        self.unknown += more.unknown;
        self.resent += more.resent;
        self.waiting += more.waiting;
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    pub channel: Channel,
    pub lane: Lane,
    pub waiting: i64,
    pub oldest_due: Option<Timestamp>,
}

/// A heart that did not beat for this long is dead.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// What the history of a delivery says of an attempt whose daemon died.
pub(super) const CRASHED: &str = "the daemon stopped before the answer was recorded";
