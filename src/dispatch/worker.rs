//! A worker: one session of one account. It asks the desk for messages only when it could write at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::brake::Brake;
use super::circuit::{Admission, Circuit};
use super::compose::{Labels, compose};
use super::desk::{Appetite, Note};
use super::heart::Heart;
use super::ledger::{Ledger, Record, Tried};
use super::prepared::Prepared;
use super::{Account, ComposeError};
use crate::backoff::Schedule;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;
use crate::model::{Channel, Outcome, Reason};
use crate::provider::{Message, Session};
use crate::telemetry::Metrics;
use crate::token::Keyring;

/// A session that nobody needed for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// A session's first chunk, before its pace is known.
const FIRST: Appetite = Appetite { least: 1, most: 8 };
/// What a session that was broken is tried with.
const PROBE: Appetite = Appetite { least: 1, most: 1 };
/// A chunk that takes less is not worth another session's wake-up, system calls and request to the ledger.
const LEAST_TIME: Duration = Duration::from_millis(10);
/// How long a chunk may take: what is dealt cannot be stopped any more.
const MOST_TIME: Duration = Duration::from_millis(500);

/// Waits until messages of one campaign, which have their permits, may leave; a moment ago they might have.
async fn may_leave(messages: &[Message]) -> bool {
    let cells = messages.iter().map(|message| message.permit.cells()).sum();
    match messages.first() {
        Some(message) => message.permit.good_for(cells).await,
        None => true,
    }
}

/// Whether a session kept its promise of one outcome a message. Else nobody can tell whose answer is whose, and every
/// message of the chunk may have been taken.
fn one_each(outcomes: &mut Vec<Outcome>, messages: usize) -> bool {
    let kept = outcomes.len() == messages;
    if !kept {
        let detail = format!("the provider gave {} answers for {messages} messages", outcomes.len());
        *outcomes = vec![Outcome::Unknown { reason: Reason::NoAnswer, detail }; messages];
    }
    kept
}

impl Appetite {
    /// After a chunk of `n` messages took `time`.
    fn after(time: Duration, n: usize) -> Self {
        let each = (time.as_secs_f64() / (n.max(1) as f64)).max(1e-6);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small positive range"
        )]
        let within = |time: Duration| (time.as_secs_f64() / each).clamp(1.0, 1024.0) as u32;
        Appetite { least: within(LEAST_TIME), most: within(MOST_TIME) }
    }
}

/// What the workers of one account share.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) channel: Channel,
    pub(super) account: Account,
    /// The account's position at the desk.
    pub(super) position: usize,
    pub(super) desk: mpsc::Sender<Note>,
    pub(super) hungry: Arc<Notify>,
    pub(super) ledger: Ledger,
    pub(super) heart: Heart,
    pub(super) retry: Schedule,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    pub(super) circuit: Arc<Circuit>,
    pub(super) brake: Brake,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
}

impl Crew {
    pub(super) async fn work(self: Arc<Self>) {
        let mut session = self.account.provider.session();
        while !self.shutdown.is_asked() {
            tokio::select! {
                () = self.shutdown.asked() => break,
                () = self.hungry.notified() => {}
            }
            let Some(admission) = self.dial(&mut *session).await else { break };
            self.serve(&mut *session, admission).await;
            self.circuit.left(admission, true);
            session.close().await;
        }
    }

    /// Makes the session ready, however long it takes; `None` where the lane stops meanwhile.
    async fn dial(&self, session: &mut dyn Session) -> Option<Admission> {
        loop {
            let admission = tokio::select! {
                () = self.shutdown.asked() => return None,
                admission = self.circuit.admit() => admission,
            };
            let ready = tokio::select! {
                () = self.shutdown.asked() => {
                    self.circuit.left(admission, false);
                    return None;
                }
                ready = session.ready() => ready,
            };
            let Err(outcome) = ready else { return Some(self.circuit.reached(admission)) };
            let wait = self.circuit.unreached(&outcome, fastrand::f64());
            self.circuit.left(admission, false);
            if let Some(wait) = wait {
                tokio::select! {
                    () = self.shutdown.asked() => return None,
                    () = sleep(wait) => {}
                }
            }
        }
    }

    /// Sends what the desk deals, until the session is idle for long, breaks, or the lane stops.
    async fn serve(&self, session: &mut dyn Session, admission: Admission) {
        let mut appetite = if admission == Admission::Probe { PROBE } else { FIRST };
        while self.circuit.lets(admission) && session.ready().await.is_ok() {
            let (reply, mut dealt) = oneshot::channel();
            if self.desk.send(Note::Pull { account: self.position, appetite, reply }).await.is_err() {
                return;
            }
            let messages = match timeout(IDLE, &mut dealt).await {
                Ok(messages) => messages.ok(),
                Err(_) => {
                    // What was dealt just now is still ours.
                    dealt.close();
                    let last = dealt.try_recv().ok();
                    if last.is_none() {
                        info!(provider = &*self.account.name, "an idle session closes");
                    }
                    last
                }
            };
            let Some(messages) = messages else { return };
            let activity = self.shutdown.activity(format!("{} messages", self.account.name));
            let (began, n) = (Instant::now(), messages.len());
            let went_on = self.send(session, messages).await;
            drop(activity);
            if !went_on {
                return;
            }
            appetite = Appetite::after(began.elapsed(), n);
        }
    }

    /// Returns whether the session can go on.
    async fn send(&self, session: &mut dyn Session, prepared: Vec<Prepared>) -> bool {
        let (messages, prepared, mut record) = self.compose(prepared);
        let tried = Tried { account: &self.account, asked: self.clock.now() };
        let returned = || vec![Outcome::Returned; messages.len()];
        let (outcomes, usable) = if let Err(outcome) = session.ready().await {
            warn!(provider = &*self.account.name, ?outcome, "the session was lost");
            (returned(), false)
        } else if !may_leave(&messages).await {
            warn!(provider = &*self.account.name, "messages came too late for their permits");
            (returned(), true)
        } else if !self.heart.is_fresh() {
            // Asked last: a dial, or a wait for permits, may outlast a lease. The heart tells of the store.
            debug!("the heartbeat is late: nothing is sent until the store answers");
            (returned(), false)
        } else {
            self.timed(session, &messages).await
        };
        let now = self.clock.now();
        self.circuit.heard(&outcomes, fastrand::f64());
        for (prepared, outcome) in prepared.into_iter().zip(outcomes) {
            self.count(&outcome);
            match outcome {
                Outcome::Accepted { .. } if self.channel == Channel::Sms => {
                    let segments = self.metrics.segments_sent.with_label_values(&[&*self.account.name]);
                    segments.inc_by(prepared.cells.into());
                }
                Outcome::CampaignRefused { .. } => self.brake.refused(&prepared.campaign),
                _ => {}
            }
            record.add(prepared, outcome, Some(tried), &self.retry, now);
        }
        self.ledger.record(record).await;
        usable
    }

    /// Returns one outcome a message, and whether the session can go on.
    async fn timed(&self, session: &mut dyn Session, messages: &[Message]) -> (Vec<Outcome>, bool) {
        let in_flight = self.metrics.in_flight.with_label_values(&[&*self.account.name]);
        let many = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        in_flight.add(many);
        let started = Instant::now();
        let mut outcomes = session.send(messages).await;
        in_flight.sub(many);
        let duration = self.metrics.attempt_duration.with_label_values(&[&*self.account.name]);
        duration.observe(started.elapsed().as_secs_f64());
        let (answers, provider) = (outcomes.len(), &*self.account.name);
        let kept = one_each(&mut outcomes, messages.len());
        if !kept {
            error!(
                provider,
                answers,
                messages = messages.len(),
                "the session broke its promise of one answer a message, a fault of this program: please report it; the \
                 messages are in doubt"
            );
        }
        (outcomes, kept)
    }

    /// Puts content into the provider's format; what cannot be put so fails at once.
    fn compose(&self, prepared: Vec<Prepared>) -> (Vec<Message>, Vec<Prepared>, Record) {
        let mut record = Record::default();
        let (mut messages, mut kept) =
            (Vec::with_capacity(prepared.len()), Vec::with_capacity(prepared.len()));
        let now = self.clock.now();
        for mut one in prepared {
            let content = one.content.take();
            let labels = Labels {
                delivery: one.key,
                campaign: &one.campaign.sending.id,
                purpose: one.campaign.sending.purpose,
                attempt: one.held.lease.attempt.saturating_add(1),
                at: now,
                to: &one.address,
                unsubscribe: one.unsubscribe.as_deref(),
                keyring: &self.keyring,
            };
            let composed = content
                .ok_or(ComposeError::Channel)
                .and_then(|content| compose(content, &self.account.format, labels));
            match composed {
                Ok(mut message) => {
                    message.permit = std::mem::take(&mut one.permit);
                    messages.push(message);
                    kept.push(one);
                }
                Err(error) => {
                    let outcome = Outcome::Failed { reason: Reason::RenderError, detail: error.to_string() };
                    self.count(&outcome);
                    record.add(one, outcome, None, &self.retry, now);
                }
            }
        }
        (messages, kept, record)
    }

    fn count(&self, outcome: &Outcome) {
        let reason = outcome.reason().map_or("", Reason::as_str);
        let labels = [self.channel.as_str(), &*self.account.name, outcome.as_str(), reason];
        self.metrics.attempts.with_label_values(&labels).inc();
        if matches!(outcome, Outcome::Retry { .. } | Outcome::Throttled { .. } | Outcome::Deferred { .. }) {
            self.metrics.retries.with_label_values(&[self.channel.as_str(), reason]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_session_takes_many_messages_at_once_and_a_slow_one_leaves_them_to_others() {
        let quick = Appetite::after(Duration::from_millis(2), 20);
        assert_eq!(quick, Appetite { least: 100, most: 1024 });
        let slow = Appetite::after(Duration::from_millis(40), 2);
        assert_eq!(slow, Appetite { least: 1, most: 25 });
    }

    #[test]
    fn answers_that_do_not_match_their_messages_leave_all_of_them_in_doubt() {
        let accepted = || Outcome::Accepted { provider_ref: None };
        for answers in [0, 1, 3, 4] {
            let mut outcomes = vec![accepted(); answers];
            assert!(!one_each(&mut outcomes, 2));
            assert_eq!(outcomes.len(), 2);
            assert!(
                outcomes.iter().all(|one| matches!(one, Outcome::Unknown { reason: Reason::NoAnswer, .. }))
            );
        }
        let mut outcomes = vec![accepted(), Outcome::Returned];
        assert!(one_each(&mut outcomes, 2));
        assert_eq!(outcomes, [accepted(), Outcome::Returned]);
    }
}
