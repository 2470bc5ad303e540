//! From an outcome to what becomes of the delivery. Pure: time and chance are arguments.
//!
//! What may have reached a provider once is never told as never sent, whatever comes of a later attempt.

use std::time::Duration;

use jiff::Timestamp;

use crate::backoff::Schedule;
use crate::model::receipt::reference;
use crate::model::{Outcome, Reason, State};
use crate::store::dispatching::{Doubt, Resend};

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
        doubt: Option<Doubt>,
    },
}

/// What is known of a message before its outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Before<'a> {
    /// Attempts that came before this one.
    pub(super) burnt: u16,
    /// Where one of them may have reached its provider.
    pub(super) doubt: Option<&'a Doubt>,
    /// The leave to send the message again where this attempt leaves a doubt.
    pub(super) resend: Option<Resend>,
}

/// `random` is uniform in 0..1.
pub(super) fn decide(
    outcome: Outcome,
    before: Before<'_>,
    schedule: &Schedule,
    now: Timestamp,
    random: f64,
) -> Decision {
    let attempts = before.burnt.saturating_add(1);
    let burnt = before.burnt;
    let again = |wait, attempts, failed| Decision::Again {
        due_at: later(now, wait),
        attempts,
        failed,
        doubt: before.doubt.cloned(),
    };
    let spread = |wait: Duration| wait.mul_f64(1.0 + 0.2 * random);
    let decision = match outcome {
        Outcome::Accepted { provider_ref } => {
            return Decision::Settle {
                state: State::Accepted,
                reason: None,
                provider_ref: provider_ref.as_deref().map(reference),
                attempts,
                detail: None,
            };
        }
        Outcome::Rejected { reason, detail } => settle(State::Rejected, reason, attempts, detail),
        Outcome::Unknown { reason, detail } => {
            let wait = before.resend.clone().zip(schedule.delay(attempts, None, random));
            match wait {
                Some((resend, wait)) => Decision::Again {
                    due_at: later(now, wait),
                    attempts,
                    failed: Some((reason, detail)),
                    doubt: Some(before.doubt.cloned().unwrap_or(Doubt { reason, resend })),
                },
                None => settle(State::Unknown, reason, attempts, detail),
            }
        }
        Outcome::Failed { reason, detail } => settle(State::Failed, reason, burnt, detail),
        Outcome::Excluded { reason } => settle(State::Excluded, reason, burnt, String::new()),
        Outcome::Expired => settle(State::Expired, Reason::CampaignExpired, burnt, String::new()),
        Outcome::Retry { reason, after, detail } => match schedule.delay(attempts, after, random) {
            Some(wait) => again(wait, attempts, Some((reason, detail))),
            None => settle(State::Failed, Reason::RetriesExhausted, attempts, format!("{reason}: {detail}")),
        },
        Outcome::Throttled { after, detail } => {
            again(spread(after.unwrap_or(THROTTLED)), burnt, Some((Reason::Throttled, detail)))
        }
        Outcome::Deferred { after, detail } => again(spread(after), burnt, Some((Reason::Throttled, detail))),
        Outcome::CampaignRefused { detail } => again(REFUSED, burnt, Some((Reason::MessageRefused, detail))),
        Outcome::AccountRefused { detail } => again(REFUSED, burnt, Some((Reason::AccountRefused, detail))),
        Outcome::Returned => again(Duration::ZERO, burnt, None),
    };
    truthful(decision, before.doubt)
}

fn settle(state: State, reason: Reason, attempts: u16, detail: String) -> Decision {
    Decision::Settle { state, reason: Some(reason), provider_ref: None, attempts, detail: Some(detail) }
}

/// After a doubt, `known` from before or just made, only the provider's word ends it, and only while it knows the key is
/// the message sent again.
fn truthful(decision: Decision, known: Option<&Doubt>) -> Decision {
    match (decision, known) {
        (
            Decision::Settle {
                state: State::Failed | State::Excluded | State::Expired,
                reason,
                attempts,
                detail,
                ..
            },
            Some(doubt),
        ) => {
            let words = [reason.map(Reason::as_str), detail.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|words| !words.is_empty()).collect();
            let told = format!("in doubt since an earlier attempt; then {}", words.join(": "));
            settle(State::Unknown, doubt.reason, attempts, told)
        }
        (Decision::Settle { state: State::Unknown, attempts, detail, .. }, Some(doubt)) => {
            settle(State::Unknown, doubt.reason, attempts, detail.unwrap_or_default())
        }
        (Decision::Again { due_at, attempts, failed, doubt: Some(doubt) }, _)
            if due_at >= doubt.resend.until =>
        {
            let (_, detail) =
                failed.unwrap_or((doubt.reason, "it could not be sent again in time".to_owned()));
            settle(State::Unknown, doubt.reason, attempts, detail)
        }
        (decision, _) => decision,
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decided(outcome: Outcome, before: Before<'_>) -> Decision {
        let schedule = Schedule::new(vec![Duration::from_secs(60), Duration::from_secs(300)]);
        decide(outcome, before, &schedule, Timestamp::UNIX_EPOCH, 0.5)
    }

    fn burnt(burnt: u16) -> Before<'static> {
        Before { burnt, ..Before::default() }
    }

    fn retry() -> Outcome {
        Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail: "451".into() }
    }

    fn silence() -> Outcome {
        Outcome::Unknown { reason: Reason::NoAnswer, detail: "silence".into() }
    }

    fn until(second: i64) -> Resend {
        Resend { until: Timestamp::from_second(second).unwrap(), provider: Some("relay".into()) }
    }

    fn settled(decision: Decision) -> (State, Option<Reason>, u16) {
        match decision {
            Decision::Settle { state, reason, attempts, .. } => (state, reason, attempts),
            again @ Decision::Again { .. } => panic!("{again:?}"),
        }
    }

    #[test]
    fn retries_follow_the_schedule_until_it_ends() {
        let Decision::Again { due_at, attempts, .. } = decided(retry(), burnt(0)) else { panic!() };
        assert_eq!((due_at.as_second(), attempts), (60, 1));
        let Decision::Again { due_at, attempts, .. } = decided(retry(), burnt(1)) else { panic!() };
        assert_eq!((due_at.as_second(), attempts), (300, 2));
        let last = settled(decided(retry(), burnt(2)));
        assert_eq!(last, (State::Failed, Some(Reason::RetriesExhausted), 3));
    }

    #[test]
    fn a_provider_that_names_a_time_is_left_alone_so_long() {
        let after = Some(Duration::from_secs(200));
        let asked = Outcome::Retry { reason: Reason::TemporaryFailure, after, detail: String::new() };
        let Decision::Again { due_at, .. } = decided(asked, burnt(0)) else { panic!() };
        assert!((200..=240).contains(&due_at.as_second()), "{due_at}");
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
            let Decision::Again { attempts, .. } = decided(outcome, burnt(1)) else { panic!() };
            assert_eq!(attempts, 1);
        }
    }

    #[test]
    fn a_doubt_is_held_unless_there_is_leave_to_send_again() {
        assert_eq!(settled(decided(silence(), burnt(0))), (State::Unknown, Some(Reason::NoAnswer), 1));
        let before = Before { resend: Some(until(600)), ..burnt(0) };
        let Decision::Again { due_at, attempts, doubt, .. } = decided(silence(), before) else { panic!() };
        assert_eq!((due_at.as_second(), attempts), (60, 1));
        assert_eq!(doubt, Some(Doubt { reason: Reason::NoAnswer, resend: until(600) }));
        let late = Before { resend: Some(until(50)), ..burnt(0) };
        assert_eq!(settled(decided(silence(), late)).0, State::Unknown, "the key would be forgotten by then");
        let last = Before { resend: Some(until(9_999)), ..burnt(2) };
        assert_eq!(settled(decided(silence(), last)).0, State::Unknown, "the schedule has ended");
    }

    #[test]
    fn the_first_doubt_sets_the_end() {
        let first = Doubt { reason: Reason::Crash, resend: until(400) };
        let before = Before { burnt: 1, doubt: Some(&first), resend: Some(until(9_999)) };
        let Decision::Again { doubt, .. } = decided(silence(), before) else { panic!() };
        assert_eq!(doubt, Some(first));
    }

    #[test]
    fn after_a_doubt_retries_exhausted_leave_it_unknown() {
        let doubt = Doubt { reason: Reason::NoAnswer, resend: until(9_999) };
        let before = Before { burnt: 2, doubt: Some(&doubt), resend: None };
        assert_eq!(settled(decided(retry(), before)), (State::Unknown, Some(Reason::NoAnswer), 3));
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let (text, reason) = (String::new, Reason::TemporaryFailure);
        prop_oneof![
            Just(Outcome::Accepted { provider_ref: None }),
            Just(Outcome::Rejected { reason: Reason::UnknownRecipient, detail: text() }),
            Just(Outcome::Failed { reason: Reason::RenderError, detail: text() }),
            Just(silence()),
            (0u64..100_000).prop_map(move |after| Outcome::Retry {
                reason,
                after: Some(Duration::from_secs(after)),
                detail: String::new()
            }),
            (0u64..100_000).prop_map(|after| Outcome::Deferred {
                after: Duration::from_secs(after),
                detail: String::new()
            }),
            Just(Outcome::Throttled { after: None, detail: text() }),
            Just(Outcome::CampaignRefused { detail: text() }),
            Just(Outcome::AccountRefused { detail: text() }),
            Just(Outcome::Excluded { reason: Reason::Unsubscribed }),
            Just(Outcome::Expired),
            Just(Outcome::Returned),
        ]
    }

    proptest! {
        #[test]
        fn what_is_in_doubt_is_never_told_as_never_sent_and_never_sent_too_late(
            outcome in any_outcome(), burnt in 0u16..5, end in 0i64..2_000, may in any::<bool>(),
        ) {
            let doubt = Doubt { reason: Reason::Crash, resend: until(end) };
            let before = Before { burnt, doubt: Some(&doubt), resend: may.then(|| until(end)) };
            match decided(outcome, before) {
                Decision::Settle { state, .. } => {
                    prop_assert!(matches!(state, State::Accepted | State::Rejected | State::Unknown));
                }
                Decision::Again { due_at, doubt: kept, .. } => {
                    prop_assert!(due_at < doubt.resend.until);
                    prop_assert_eq!(kept, Some(doubt));
                }
            }
        }
    }
}
