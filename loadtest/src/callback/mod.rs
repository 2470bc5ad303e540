//! What a provider says later: receipts and replies, posted to the URL that the customer gave.
//!
//! They come as they do in life: after a while, some before the send's own answer, some twice, some out of order, some
//! never. Everything waiting is bounded: where the customer is slow, the simulator's answers become slow too.

mod client;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::script::drawn;
use client::Client;

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

/// One call to the customer.
#[derive(Debug, Clone)]
pub struct Post {
    /// `http://host:port/path`.
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// How one provider writes its calls, and what it takes for an answer.
pub trait Callback: Send + Sync + 'static {
    type Receipt: Clone + Send + Sync + 'static;

    /// The call with these receipts to the customer's URL; none where nobody is to be told. Called with one receipt
    /// or, where the plan says so, more.
    fn post(&self, url: Option<&str>, receipts: &[Self::Receipt]) -> Option<Post>;

    /// Whether the customer took the call.
    fn took(&self, status: u16, body: &[u8]) -> bool;
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

/// Sends receipts until it is dropped.
pub struct Callbacks<C: Callback> {
    shared: Arc<Shared<C>>,
    queue: mpsc::Sender<Due<C::Receipt>>,
    _tasks: JoinSet<()>,
}

struct Shared<C> {
    callback: C,
    plan: Plan,
    url: RwLock<Option<String>>,
    counts: watch::Sender<Counts>,
}

/// Receipts that wait for their time: in the channel, and beyond it in the order of their times.
const QUEUED: usize = 10_000;
const WAITING: usize = 1_000_000;

/// The receipts of one call.
type Batch<C> = Vec<Due<<C as Callback>::Receipt>>;

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

impl<C: Callback> Callbacks<C> {
    pub fn start(callback: C, plan: Plan) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        let (calls, called) = mpsc::channel(plan.connections.max(1));
        let called = Arc::new(tokio::sync::Mutex::new(called));
        let connections = plan.connections.max(1);
        let shared =
            Arc::new(Shared { callback, plan, url: RwLock::default(), counts: watch::Sender::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(release(queued, calls, shared.plan.per_call.max(1)));
        for _ in 0..connections {
            tasks.spawn(call(Arc::clone(&called), queue.downgrade(), Arc::clone(&shared)));
        }
        Callbacks { shared, queue, _tasks: tasks }
    }

    /// From now on receipts go to this URL.
    pub fn aim(&self, url: impl Into<String>) {
        *self.shared.url.write().unwrap_or_else(PoisonError::into_inner) = Some(url.into());
    }

    /// Sends a receipt as the plan says, `delay` later than the plan's time. `name` is what its lots are drawn by.
    /// Comes back once the receipt is queued or, if it is early, taken.
    pub async fn send(&self, name: &str, delay: Duration, receipt: C::Receipt) {
        let plan = &self.shared.plan;
        let lot = |share, what| drawn(share, &(plan.seed, what, name));
        if lot(plan.lost, "lost") {
            return;
        }
        if lot(plan.early, "early") {
            self.now(receipt.clone()).await;
        } else {
            let late = if lot(plan.late, "late") { plan.late_by } else { Duration::ZERO };
            self.enqueue(plan.after + delay + late, receipt.clone()).await;
        }
        if lot(plan.repeated, "repeated") {
            self.enqueue(plan.after + delay, receipt).await;
        }
    }

    /// Posts a receipt or reply at once, and once only. Whether the customer took it.
    pub async fn now(&self, receipt: C::Receipt) -> bool {
        self.shared.post(&mut Client::default(), &[receipt]).await
    }

    async fn enqueue(&self, after: Duration, receipt: C::Receipt) {
        // The queue's end lives as long as `self`.
        let _sent = self.queue.send(Due { at: Instant::now() + after, attempt: 0, receipt }).await;
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are as wanted.
    pub async fn settled(&self, wanted: impl FnMut(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let _counts = counts.wait_for(wanted).await;
    }
}

impl<C: Callback> fmt::Debug for Callbacks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("plan", &self.shared.plan).field("counts", &self.counts()).finish()
    }
}

impl<C: Callback> Shared<C> {
    /// One call. True also where nobody is to be told.
    async fn post(&self, client: &mut Client, receipts: &[C::Receipt]) -> bool {
        let url = self.url.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(post) = self.callback.post(url.as_deref(), receipts) else { return true };
        let answer = tokio::time::timeout(self.plan.answer_within, client.post(&post)).await;
        let took = match answer {
            Ok(Ok((status, body))) => self.callback.took(status, &body),
            Ok(Err(_)) | Err(_) => {
                *client = Client::default();
                false
            }
        };
        self.counts.send_modify(|counts| {
            *(if took { &mut counts.taken } else { &mut counts.refused }) += receipts.len() as u64;
        });
        took
    }
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

/// One of the connections to the customer.
async fn call<C: Callback>(
    calls: Arc<tokio::sync::Mutex<mpsc::Receiver<Batch<C>>>>,
    queue: mpsc::WeakSender<Due<C::Receipt>>,
    shared: Arc<Shared<C>>,
) {
    let mut client = Client::default();
    loop {
        let Some(batch) = calls.lock().await.recv().await else { return };
        let receipts: Vec<_> = batch.iter().map(|due| due.receipt.clone()).collect();
        if shared.post(&mut client, &receipts).await {
            continue;
        }
        for Due { attempt, receipt, .. } in batch {
            let retry = shared.plan.retries.get(attempt).zip(queue.upgrade());
            // Waiting for room here would stop the calls that make room.
            let kept = retry.is_some_and(|(after, queue)| {
                queue.try_send(Due { at: Instant::now() + *after, attempt: attempt + 1, receipt }).is_ok()
            });
            if !kept {
                shared.counts.send_modify(|counts| counts.given_up += 1);
            }
        }
    }
}
