//! A message on its way: from its intent to its outcome it carries everything that settles it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::campaigns::Campaign;
use crate::model::DeliveryKey;
use crate::model::content::Content;
use crate::provider::Permit;
use crate::store::dispatching::{Hold, Lease, Member};

/// A leased batch while its members are under way.
#[derive(Debug)]
pub(super) struct Held {
    /// Without its members: each travels with its message.
    pub(super) lease: Lease,
    /// Members of which no commit has accounted yet.
    remaining: AtomicUsize,
    /// Members past the watermark were left to whoever leases the batch next.
    abandoned: AtomicBool,
}

/// What to do with a batch whose last member was just accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Close(Hold),
    Release(Hold),
}

impl Held {
    pub(super) fn new(lease: Lease, members: usize) -> Self {
        Held { lease, remaining: AtomicUsize::new(members), abandoned: AtomicBool::new(false) }
    }

    /// Leaves the members that were never intended in the store. They are still to be accounted for.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Accounts for members whose outcomes go into the commit at hand, or that were abandoned.
    pub(super) fn account(&self, members: usize) -> Option<Last> {
        if self.remaining.fetch_sub(members, Ordering::AcqRel) > members {
            return None;
        }
        let hold = self.lease.hold();
        Some(if self.abandoned.load(Ordering::Acquire) { Last::Release(hold) } else { Last::Close(hold) })
    }
}

/// A rendered message that is intended in the ledger.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) key: DeliveryKey,
    pub(super) member: Member,
    pub(super) held: Arc<Held>,
    pub(super) campaign: Arc<Campaign>,
    pub(super) address: String,
    /// The app that the address belongs to; empty on channels that have none.
    pub(super) app: String,
    /// What the limits charge.
    pub(super) cells: u32,
    /// `None` where nothing is sent.
    pub(super) content: Option<Content>,
    /// Where this recipient unsubscribes; `None` where the message carries no such way.
    pub(super) unsubscribe: Option<String>,
    /// When its intent was asked for.
    pub(super) asked: Instant,
    pub(super) ready_at: Instant,
    /// Room in the lane's unknown window, given back when the outcome is durable.
    pub(super) window: OwnedSemaphorePermit,
    /// Room in the stream's ready queue, given back when the message is dealt.
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// The rate limits', given when the message is dealt.
    pub(super) permit: Permit,
}

impl Prepared {
    /// The only account that may carry it: the one that may have it already, or that the job names.
    pub(super) fn provider(&self) -> Option<&str> {
        self.held.lease.account(&self.campaign.sending)
    }
}
