//! The hours of a lane: marketing is intended within them alone. What is due outside of them waits in the store.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::Purpose;
use crate::model::sms_rules::Hours;

/// Where streams ask; the hours may change while the lane runs.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    hours: watch::Receiver<Option<Hours>>,
    clock: Clock,
}

impl Gate {
    pub(super) fn new(hours: Option<Hours>, clock: Clock) -> (watch::Sender<Option<Hours>>, Self) {
        let (sender, hours) = watch::channel(hours);
        (sender, Gate { hours, clock })
    }

    /// Whether messages for this purpose may be sent now.
    pub(super) fn admits(&self, purpose: Purpose) -> bool {
        let hours = self.hours.borrow();
        purpose != Purpose::Marketing || hours.as_ref().is_none_or(|hours| hours.contains(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SmsRules;

    #[test]
    fn marketing_alone_waits_and_changed_hours_hold_at_once() {
        let night = "2026-11-21T18:00:00Z".parse().unwrap();
        let (hours, gate) = Gate::new(SmsRules::china().hours, Clock::new(move || night));
        let admitted = || [Purpose::Service, Purpose::Marketing].map(|purpose| gate.admits(purpose));
        assert_eq!(admitted(), [true, false]);
        hours.send_replace(None);
        assert_eq!(admitted(), [true, true]);
    }
}
