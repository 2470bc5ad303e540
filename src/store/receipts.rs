//! What providers say after their answer, into the ledger, the contact and the counters.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::Result;
use crate::model::Receipt;

#[async_trait]
pub trait Receipts: Send + Sync {
    /// Records receipts in one transaction; with `publish`, what is new goes to the outbox, too. One answer a receipt.
    ///
    /// A receipt moves its delivery as the state machine allows, also one that is `planned` but lies before its batch's
    /// watermark: it overtook the outcome, which then changes no state. A delivery that was never intended stays. What
    /// is told is kept as an event either way; `Accepted` alone leaves none. The counters move with the rows, and a
    /// delivery counts as sent in the hour of whatever said so first.
    ///
    /// A hard bounce and a complaint suppress the address, also where no contact has it any more. An opt-out
    /// unsubscribes the contact from the channel. Complaints and opt-outs about a delivery count like those that the
    /// tracker records; one about an address alone belongs to no campaign and is counted nowhere.
    async fn record_receipts(&self, receipts: &[Receipt], publish: bool) -> Result<Vec<Filed>>;
}

/// What became of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filed {
    New {
        /// The account that carried the delivery, once the ledger knows it.
        provider: Option<String>,
        /// From the provider's answer to what the receipt tells, where it is the first receipt after it.
        delay: Option<SignedDuration>,
    },
    /// It was here before, or says what is known, and changed nothing.
    Repeated,
    /// No delivery or contact here is meant: nothing is kept of it but the suppression that it asks for.
    Stray,
}
