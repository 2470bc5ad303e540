//! The lanes' way to the store: outcomes of all of them share one transaction after another. So do intents, side by side
//! with these, and those of transactional lanes apart from the others, so that no bulk campaign keeps them waiting.
//!
//! While one commit is under way the next requests gather, and commits that follow one another keep a pace, so that
//! they grow with the load. A commit of unknown fate is repeated: every part of it is idempotent. Outcomes are never
//! committed by two at once: the last of a batch close it, so those before them must lie in the store by then.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join3;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::Account;
use super::doubt::after_no_answer;
use super::holdings::Holdings;
use super::prepared::{Held, Last, Prepared};
use super::retry::{Before, Decision, decide};
use crate::backoff::{Redial, Schedule};
use crate::model::{Channel, DeliveryKey, Lane, Outcome, Reason, State};
use crate::store::dispatching::{FailedAttempt, Hold, Intent, Outcomes, Recipient, Rescheduled, Settled};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};
use crate::telemetry::{Metrics, Outage};

/// Requests of a kind that wait for the next commit, at most.
const QUEUE: usize = 1_024;
/// From the beginning of one commit to that of the next, at least.
const PACE: Duration = Duration::from_millis(10);

/// The lanes' end.
#[derive(Debug, Clone)]
pub struct Ledger {
    urgent: mpsc::Sender<Asked>,
    others: mpsc::Sender<Asked>,
    records: mpsc::Sender<Record>,
    holdings: Holdings,
}

/// The store's end; runs until every [`Ledger`] is dropped.
#[derive(Debug)]
pub struct Recorder {
    urgent: Paced<Asked>,
    others: Paced<Asked>,
    records: Paced<Record>,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    store: Arc<dyn Store>,
    me: Incarnation,
    metrics: Arc<Metrics>,
    holdings: Holdings,
    outage: Outage,
}

#[derive(Debug)]
struct Asked {
    intent: Intent,
    reply: oneshot::Sender<Option<Vec<Recipient>>>,
}

/// Outcomes of one chunk.
#[derive(Debug, Default)]
pub(super) struct Record {
    settled: Vec<Settled>,
    rescheduled: Vec<Rescheduled>,
    /// How many members of each batch these are. They are subtracted where the outcomes are committed: records may come
    /// in another order than they were filled in, and a batch is closed by the commit of its last outcomes.
    accounted: Vec<(Arc<Held>, usize)>,
    /// Dropped once the outcomes are durable.
    window: Vec<OwnedSemaphorePermit>,
}

pub fn ledger(store: Arc<dyn Store>, me: Incarnation, metrics: Arc<Metrics>) -> (Ledger, Recorder) {
    let ((urgent, first), (others, then), (records, recorded)) = (paced(), paced(), paced());
    let holdings = Holdings::default();
    let ledger = Ledger { urgent, others, records, holdings: holdings.clone() };
    let writer = Writer { store, me, metrics, holdings, outage: Outage::new("recorder") };
    (ledger, Recorder { urgent: first, others: then, records: recorded, writer })
}

/// An attempt: by which account, and when it was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried<'a> {
    pub(super) account: &'a Account,
    pub(super) asked: Timestamp,
}

impl Ledger {
    /// Leases that the lanes work on.
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// `None` where the lease or the campaign no longer allows it, or the ledger is gone.
    pub(super) async fn intend(&self, lane: Lane, intent: Intent) -> Option<Vec<Recipient>> {
        let (reply, granted) = oneshot::channel();
        let queue = if lane == Lane::Transactional { &self.urgent } else { &self.others };
        queue.send(Asked { intent, reply }).await.ok()?;
        granted.await.ok().flatten()
    }

    pub(super) async fn record(&self, record: Record) {
        if record.accounted.is_empty() {
            return;
        }
        if self.records.send(record).await.is_err() {
            warn!("outcomes came after the ledger had closed; they will be found in doubt");
        }
    }

    /// Lets messages that were intended and not sent wait again.
    pub(super) async fn hand_back(&self, retry: &Schedule, now: Timestamp, messages: Vec<Prepared>) {
        let mut record = Record::default();
        for message in messages {
            record.add(message, Outcome::Returned, None, retry, now);
        }
        self.record(record).await;
    }
}

impl Record {
    /// Adds what became of one message.
    pub(super) fn add(
        &mut self,
        prepared: Prepared,
        outcome: Outcome,
        tried: Option<Tried<'_>>,
        schedule: &Schedule,
        at: Timestamp,
    ) {
        let lease = &prepared.held.lease;
        let account = tried.map(|tried| tried.account);
        let before = Before {
            burnt: lease.attempt,
            doubt: lease.doubt.as_ref(),
            resend: tried.and_then(|tried| after_no_answer(tried.account, tried.asked)),
        };
        let provider = account.map(|account| account.name.clone());
        let segments = if prepared.campaign.sending.channel == Channel::Sms { prepared.cells } else { 0 };
        match decide(outcome, before, schedule, at, fastrand::f64()) {
            Decision::Settle { state, reason, provider_ref, attempts, detail } => {
                self.settled.push(Settled {
                    delivery: prepared.key,
                    batch: lease.batch,
                    state,
                    reason,
                    attempts,
                    provider,
                    provider_ref,
                    referenced: account.is_some_and(|account| account.provider.references()),
                    // What is in doubt may be billed, and the receipt that settles it does not know how much.
                    segments: if state.is_sent() || state == State::Unknown { segments } else { 0 },
                    at,
                    detail,
                })
            }
            Decision::Again { due_at, attempts, failed, doubt } => self.rescheduled.push(Rescheduled {
                campaign: lease.campaign,
                member: prepared.member,
                batch: lease.batch,
                channel: prepared.campaign.sending.channel,
                lane: lease.lane,
                template: lease.template,
                options: lease.options.clone(),
                due_at,
                attempts,
                provider,
                doubt,
                attempt: failed.map(|(reason, detail)| FailedAttempt { at, reason, detail }),
            }),
        }
        self.accounted.push((prepared.held, 1));
        self.window.push(prepared.window);
    }

    /// Adds a message that no account carries for so long: it was not tried, and is looked at again afterwards.
    pub(super) fn postpone(
        &mut self,
        prepared: Prepared,
        rest: Duration,
        schedule: &Schedule,
        now: Timestamp,
    ) {
        let then = now.checked_add(rest).unwrap_or(Timestamp::MAX);
        self.add(prepared, Outcome::Returned, None, schedule, then);
    }

    /// Settles every member of a batch that cannot be rendered.
    pub(super) fn fail_batch(&mut self, held: Arc<Held>, reason: Reason, detail: &str, at: Timestamp) {
        let lease = &held.lease;
        let (state, reason) = match &lease.doubt {
            Some(doubt) => (State::Unknown, doubt.reason),
            None => (State::Failed, reason),
        };
        self.settled.extend(lease.members.iter().map(|member| Settled {
            delivery: DeliveryKey {
                campaign: lease.campaign,
                contact: member.contact,
                occurrence: member.occurrence,
            },
            batch: lease.batch,
            state,
            reason: Some(reason),
            attempts: lease.attempt,
            provider: None,
            provider_ref: None,
            referenced: false,
            segments: 0,
            at,
            detail: Some(detail.to_owned()),
        }));
        let members = lease.members.len();
        self.account(held, members);
    }

    /// Accounts for members that need no outcome of ours.
    pub(super) fn account(&mut self, held: Arc<Held>, members: usize) {
        self.accounted.push((held, members));
    }

    /// Accounts for the last `members` of a batch, which were never intended and stay in the store.
    pub(super) fn abandon(&mut self, held: Arc<Held>, members: usize) {
        held.abandon();
        self.account(held, members);
    }
}

impl Recorder {
    /// # Errors
    /// When the store refuses what the lanes say: going on would make the ledger lie.
    pub async fn run(self) -> Result<(), Error> {
        let Recorder { urgent, others, mut records, writer } = self;
        let record = async {
            while let Some(gathered) = records.next().await {
                writer.record(gathered).await?;
            }
            Ok(())
        };
        let urgent = writer.grant_all(urgent, Outage::new("transactional intents"));
        try_join3(urgent, writer.grant_all(others, Outage::new("intents")), record).await.map(drop)
    }
}

/// Requests, all that wait at a time.
#[derive(Debug)]
struct Paced<T> {
    queue: mpsc::Receiver<T>,
    next: Instant,
}

fn paced<T>() -> (mpsc::Sender<T>, Paced<T>) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (sender, Paced { queue, next: Instant::now() })
}

impl<T> Paced<T> {
    /// `None` once the queue is closed and empty.
    async fn next(&mut self) -> Option<Vec<T>> {
        sleep_until(self.next).await;
        let mut gathered = Vec::new();
        let count = self.queue.recv_many(&mut gathered, QUEUE).await;
        self.next = Instant::now() + PACE;
        (count > 0).then_some(gathered)
    }
}

impl Writer {
    async fn grant_all(&self, mut intents: Paced<Asked>, outage: Outage) -> Result<(), Error> {
        while let Some(gathered) = intents.next().await {
            self.grant(gathered, &outage).await?;
        }
        Ok(())
    }

    async fn grant(&self, gathered: Vec<Asked>, outage: &Outage) -> Result<(), Error> {
        let (intents, replies): (Vec<_>, Vec<_>) =
            gathered.into_iter().map(|Asked { intent, reply }| (intent, reply)).unzip();
        let timer = self.metrics.store_query_duration.with_label_values(&["intend"]).start_timer();
        let granted = persist(outage, || self.store.intend(self.me, &intents)).await?;
        timer.observe_duration();
        for (reply, recipients) in replies.into_iter().zip(granted) {
            // A stream that is gone left its batch in doubt; its daemon is ending.
            drop(reply.send(recipients));
        }
        Ok(())
    }

    async fn record(&self, gathered: Vec<Record>) -> Result<(), Error> {
        let mut outcomes = Outcomes::default();
        let (mut window, mut accounted) = (Vec::new(), Vec::new());
        for mut record in gathered {
            outcomes.settled.append(&mut record.settled);
            outcomes.rescheduled.append(&mut record.rescheduled);
            window.append(&mut record.window);
            accounted.append(&mut record.accounted);
        }
        let (closed, released) = ended(accounted);
        outcomes.closed = closed.iter().map(|hold| hold.batch).collect();
        let started = Instant::now();
        persist(&self.outage, || self.store.record(self.me, &outcomes)).await?;
        let took = started.elapsed().as_secs_f64();
        self.metrics.record_duration.observe(took);
        self.metrics.store_query_duration.with_label_values(&["record"]).observe(took);
        self.metrics.record_batch_size.observe((outcomes.settled.len() + outcomes.rescheduled.len()) as f64);
        drop(window);
        self.holdings.remove(closed);
        if !released.is_empty() {
            persist(&self.outage, || self.store.release(self.me, &released)).await?;
            self.holdings.remove(released);
        }
        Ok(())
    }
}

/// The batches of which these are the last members: those to close and those to release.
fn ended(accounted: Vec<(Arc<Held>, usize)>) -> (Vec<Hold>, Vec<Hold>) {
    let (mut closed, mut released) = (Vec::new(), Vec::new());
    for (held, members) in accounted {
        match held.account(members) {
            Some(Last::Close(hold)) => closed.push(hold),
            Some(Last::Release(hold)) => released.push(hold),
            None => {}
        }
    }
    (closed, released)
}

/// Repeats until the store is back; `outage` tells of it.
pub(super) async fn persist<T, F>(outage: &Outage, mut operation: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut redial = Redial::default();
    loop {
        match operation().await {
            Err(error) if error.is_transient() => {
                outage.goes_on(&error);
                tokio::time::sleep(redial.delay(fastrand::f64())).await;
            }
            result => {
                outage.ends();
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BatchNo, CampaignNo};
    use crate::store::dispatching::Lease;

    fn held(members: usize) -> Arc<Held> {
        let lease = Lease {
            batch: BatchNo(7),
            campaign: CampaignNo(1),
            lane: Lane::Bulk,
            epoch: 1,
            attempt: 0,
            watermark: 0,
            template: [0; 32],
            options: None,
            doubt: None,
            members: Vec::new(),
        };
        Arc::new(Held::new(lease, members))
    }

    #[test]
    fn a_batch_is_closed_by_the_commit_of_its_last_outcomes() {
        let held = held(3);
        let (mut earlier, mut later) = (Record::default(), Record::default());
        earlier.account(held.clone(), 2);
        later.account(held.clone(), 1);
        assert_eq!(ended(later.accounted), (vec![], vec![]), "what was filled in last is committed first");
        assert_eq!(ended(earlier.accounted), (vec![held.lease.hold()], vec![]));
    }

    #[test]
    fn a_batch_without_members_is_closed_at_once() {
        let (held, mut empty) = (held(0), Record::default());
        empty.account(held.clone(), 0);
        assert_eq!(ended(empty.accounted), (vec![held.lease.hold()], vec![]));
    }

    #[test]
    fn a_batch_that_was_left_is_released_with_its_last_outcome() {
        let held = held(3);
        let (mut sent, mut left) = (Record::default(), Record::default());
        sent.account(held.clone(), 1);
        left.abandon(held.clone(), 2);
        assert_eq!(ended(left.accounted), (vec![], vec![]), "one is still on its way");
        assert_eq!(ended(sent.accounted), (vec![], vec![held.lease.hold()]));
    }
}
