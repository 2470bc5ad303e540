//! When receipts leave: each at its time, some at once, some twice, some late, some never, and again where refused.
//!
//! What waits is bounded: where the customer is slow, whoever sends receipts waits too.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::script::drawn;

/// When and how receipts come. Shares are 0 to 1 and drawn from the seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Between the message and its receipt.
    pub after: Duration,
    /// Posted, and the customer's answer read, before the send itself is answered.
    pub early: f64,
    /// Posted twice.
    pub repeated: f64,
    /// Posted later than the others by `late_by`, so that those overtake them.
    pub late: f64,
    pub late_by: Duration,
    /// Never posted.
    pub lost: f64,
    /// Receipts in one call, at most, where the provider's format has room.
    pub per_call: usize,
    /// How long the customer may take to answer.
    pub answer_within: Duration,
    /// A call that the customer did not take is made again after each of these.
    pub retries: Vec<Duration>,
    /// Calls at a time.
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            seed: 0,
            after: Duration::from_millis(20),
            early: 0.0,
            repeated: 0.0,
            late: 0.0,
            late_by: Duration::from_millis(500),
            lost: 0.0,
            per_call: 100,
            answer_within: Duration::from_secs(5),
            retries: vec![Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)],
            connections: 4,
        }
    }
}

/// What became of the receipts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Receipts that the customer took, each time counted.
    pub taken: u64,
    /// Receipts in calls that the customer refused or did not answer, each time counted.
    pub refused: u64,
    /// Receipts that were refused once too often.
    pub given_up: u64,
}

/// Carries receipts to the customer, one call at a time.
pub(crate) trait Carrier: Send + Sync + 'static {
    type Receipt: Clone + Send + Sync + 'static;

    /// Another one, for calls beside this one's.
    fn another(&self) -> Self;

    /// Whether the customer took them; none where there is nobody to tell.
    fn carry(&mut self, receipts: &[Self::Receipt]) -> impl Future<Output = Option<bool>> + Send;
}

/// Receipts that wait for their time: in the channel, and beyond it in the order of their times.
const QUEUED: usize = 10_000;
const WAITING: usize = 1_000_000;

struct Due<R> {
    at: Instant,
    attempt: usize,
    receipt: R,
}

impl<R> PartialEq for Due<R> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<R> Eq for Due<R> {}

impl<R> PartialOrd for Due<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Due<R> {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

type Batch<R> = Vec<Due<R>>;

/// Sends receipts until it is dropped.
#[derive(Debug)]
pub(crate) struct Schedule<C: Carrier> {
    plan: Plan,
    carrier: C,
    queue: mpsc::Sender<Due<C::Receipt>>,
    counts: Arc<watch::Sender<Counts>>,
    _tasks: JoinSet<()>,
}

impl<C: Carrier> Schedule<C> {
    pub(crate) fn start(carrier: C, plan: Plan) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        let connections = plan.connections.max(1);
        let (calls, called) = mpsc::channel(connections);
        let called = Arc::new(Mutex::new(called));
        let counts = Arc::new(watch::Sender::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(release(queued, calls, plan.per_call.max(1)));
        for _ in 0..connections {
            let worker = Worker {
                carrier: carrier.another(),
                queue: queue.downgrade(),
                retries: plan.retries.clone(),
                counts: Arc::clone(&counts),
            };
            tasks.spawn(worker.run(Arc::clone(&called)));
        }
        Schedule { plan, carrier, queue, counts, _tasks: tasks }
    }

    /// Sends a receipt as the plan says, `delay` later than the plan's time. `name` is what its lots are drawn by.
    /// Comes back once the receipt is queued or, if it is early, taken.
    pub(crate) async fn send(&self, name: &str, delay: Duration, receipt: C::Receipt) {
        let plan = &self.plan;
        let lot = |share, what| drawn(share, &(plan.seed, what, name));
        if lot(plan.lost, "lost") {
            return;
        }
        // What is not taken early comes again with the others.
        if !lot(plan.early, "early") || !self.now(receipt.clone()).await {
            let late = if lot(plan.late, "late") { plan.late_by } else { Duration::ZERO };
            self.enqueue(plan.after + delay + late, receipt.clone()).await;
        }
        if lot(plan.repeated, "repeated") {
            self.enqueue(plan.after + delay, receipt).await;
        }
    }

    /// Sends a receipt or reply at once, and once only. Whether the customer took it.
    pub(crate) async fn now(&self, receipt: C::Receipt) -> bool {
        let took = self.carrier.another().carry(&[receipt]).await;
        count(&self.counts, took, 1);
        took == Some(true)
    }

    async fn enqueue(&self, after: Duration, receipt: C::Receipt) {
        // The queue's end lives as long as `self`.
        let _sent = self.queue.send(Due { at: Instant::now() + after, attempt: 0, receipt }).await;
    }

    pub(crate) fn carrier(&self) -> &C {
        &self.carrier
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until the counts are as wanted.
    pub(crate) async fn settled(&self, wanted: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let _counts = counts.wait_for(wanted).await;
    }
}

fn count(counts: &watch::Sender<Counts>, took: Option<bool>, receipts: u64) {
    counts.send_if_modified(|counts| {
        match took {
            Some(true) => counts.taken += receipts,
            Some(false) => counts.refused += receipts,
            None => {}
        }
        took.is_some()
    });
}

/// Holds receipts until they are due, then hands them over in calls of at most `per_call`.
async fn release<R>(mut queue: mpsc::Receiver<Due<R>>, calls: mpsc::Sender<Vec<Due<R>>>, per_call: usize) {
    let mut waiting = BinaryHeap::new();
    loop {
        let next = waiting.peek().map_or_else(Instant::now, |due: &Due<R>| due.at);
        tokio::select! {
            biased;
            () = sleep_until(next), if !waiting.is_empty() => {}
            due = queue.recv(), if waiting.len() < WAITING => match due {
                Some(due) => { waiting.push(due); continue }
                None => return,
            },
        }
        let now = Instant::now();
        let mut batch = Vec::new();
        while batch.len() < per_call && waiting.peek().is_some_and(|due| due.at <= now) {
            batch.extend(waiting.pop());
        }
        if !batch.is_empty() && calls.send(batch).await.is_err() {
            return;
        }
    }
}

struct Worker<C: Carrier> {
    carrier: C,
    queue: mpsc::WeakSender<Due<C::Receipt>>,
    retries: Vec<Duration>,
    counts: Arc<watch::Sender<Counts>>,
}

impl<C: Carrier> Worker<C> {
    async fn run(mut self, calls: Arc<Mutex<mpsc::Receiver<Batch<C::Receipt>>>>) {
        loop {
            let Some(batch) = calls.lock().await.recv().await else { return };
            let receipts: Vec<_> = batch.iter().map(|due| due.receipt.clone()).collect();
            let took = self.carrier.carry(&receipts).await;
            count(&self.counts, took, receipts.len() as u64);
            if took == Some(false) {
                batch.into_iter().for_each(|due| self.again(due));
            }
        }
    }

    fn again(&self, Due { attempt, receipt, .. }: Due<C::Receipt>) {
        let retry = self.retries.get(attempt).zip(self.queue.upgrade());
        // Waiting for room here would stop the calls that make room.
        let kept = retry.is_some_and(|(after, queue)| {
            queue.try_send(Due { at: Instant::now() + *after, attempt: attempt + 1, receipt }).is_ok()
        });
        if !kept {
            self.counts.send_modify(|counts| counts.given_up += 1);
        }
    }
}
