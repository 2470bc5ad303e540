//! From an outcome to what becomes of the delivery. Pure: time and chance are arguments.

use std::time::Duration;

use jiff::Timestamp;

use crate::backoff::Schedule;
use crate::model::{Outcome, Reason, State};

/// After a throttle answer that names no time.
const THROTTLED: Duration = Duration::from_secs(30);
/// After the provider refused the account, or the campaign's template.
const REFUSED: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Settle {
        state: State,
        reason: Option<Reason>,
        provider_ref: Option<String>,
        attempts: u16,
        detail: Option<String>,
    },
    Again {
        due_at: Timestamp,
        attempts: u16,
        failed: Option<(Reason, String)>,
    },
}

/// `burnt` attempts came before this one; `random` is uniform in 0..1.
pub(super) fn decide(
    outcome: Outcome,
    burnt: u16,
    schedule: &Schedule,
    now: Timestamp,
    random: f64,
) -> Decision {
    let attempts = burnt.saturating_add(1);
    let settle = |state, reason, attempts, detail| Decision::Settle {
        state,
        reason: Some(reason),
        provider_ref: None,
        attempts,
        detail: Some(detail),
    };
    let again = |wait, reason, detail| Decision::Again {
        due_at: later(now, wait),
        attempts: burnt,
        failed: Some((reason, detail)),
    };
    match outcome {
        Outcome::Accepted { provider_ref } => {
            Decision::Settle { state: State::Accepted, reason: None, provider_ref, attempts, detail: None }
        }
        Outcome::Rejected { reason, detail } => settle(State::Rejected, reason, attempts, detail),
        Outcome::Unknown { reason, detail } => settle(State::Unknown, reason, attempts, detail),
        Outcome::Failed { reason, detail } => settle(State::Failed, reason, burnt, detail),
        Outcome::Excluded { reason } => settle(State::Excluded, reason, burnt, String::new()),
        Outcome::Expired => settle(State::Expired, Reason::CampaignExpired, burnt, String::new()),
        Outcome::Retry { reason, after, detail } => match schedule.delay(attempts, after, random) {
            Some(wait) => {
                Decision::Again { due_at: later(now, wait), attempts, failed: Some((reason, detail)) }
            }
            None => settle(State::Failed, Reason::RetriesExhausted, attempts, format!("{reason}: {detail}")),
        },
        Outcome::Throttled { after, detail } => {
            again(after.unwrap_or(THROTTLED).mul_f64(1.0 + 0.2 * random), Reason::Throttled, detail)
        }
        Outcome::Deferred { after, detail } => {
            again(after.mul_f64(1.0 + 0.2 * random), Reason::Throttled, detail)
        }
        Outcome::CampaignRefused { detail } => again(REFUSED, Reason::MessageRefused, detail),
        Outcome::AccountRefused { detail } => again(REFUSED, Reason::AccountRefused, detail),
        Outcome::Returned => Decision::Again { due_at: now, attempts: burnt, failed: None },
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(outcome: Outcome, burnt: u16) -> Decision {
        let schedule = Schedule::new(vec![Duration::from_secs(60), Duration::from_secs(300)]);
        decide(outcome, burnt, &schedule, Timestamp::UNIX_EPOCH, 0.5)
    }

    fn retry() -> Outcome {
        Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail: "451".into() }
    }

    #[test]
    fn retries_follow_the_schedule_until_it_ends() {
        let Decision::Again { due_at, attempts, .. } = decided(retry(), 0) else { panic!() };
        assert_eq!((due_at.as_second(), attempts), (60, 1));
        let Decision::Again { due_at, attempts, .. } = decided(retry(), 1) else { panic!() };
        assert_eq!((due_at.as_second(), attempts), (300, 2));
        let Decision::Settle { state, reason, attempts, .. } = decided(retry(), 2) else { panic!() };
        assert_eq!((state, reason, attempts), (State::Failed, Some(Reason::RetriesExhausted), 3));
    }

    #[test]
    fn what_was_never_attempted_burns_nothing() {
        for outcome in [
            Outcome::Returned,
            Outcome::Throttled { after: None, detail: String::new() },
            Outcome::Deferred { after: Duration::from_secs(60), detail: String::new() },
            Outcome::CampaignRefused { detail: String::new() },
            Outcome::AccountRefused { detail: String::new() },
        ] {
            let Decision::Again { attempts, .. } = decided(outcome, 1) else { panic!() };
            assert_eq!(attempts, 1);
        }
    }
}
