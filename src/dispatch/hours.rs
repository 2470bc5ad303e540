//! The hours of a lane: marketing is intended within them alone. What is due outside of them waits in the store.

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::Purpose;
use crate::model::sms_rules::Hours;

/// Where streams ask; the hours may change while the lane runs.
#[derive(Debug, Clone)]
pub(super) struct Gate(watch::Receiver<Option<Hours>>);

impl Gate {
    pub(super) fn new(hours: Option<Hours>) -> (watch::Sender<Option<Hours>>, Self) {
        let (sender, receiver) = watch::channel(hours);
        (sender, Gate(receiver))
    }

    /// Whether messages for this purpose may be sent now.
    pub(super) fn admits(&self, purpose: Purpose) -> bool {
        let hours = self.0.borrow();
        purpose != Purpose::Marketing || hours.as_ref().is_none_or(|hours| hours.contains(Timestamp::now()))
    }
}
