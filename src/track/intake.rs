//! From the request to where the event is durable: the store, and this machine's disk while the store is away or slow.
//!
//! Promises that an event taken in is judged, and soon durable in one of the two, whatever its client does; that what lies
//! on the disk reaches the store once that answers, also after a crash, and counts once; and that no outage grows memory
//! without bound: what neither takes is dropped, and counted. An event that the store answers in time never touches the
//! disk. One that it does not may lie in both: its id makes that one event.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::{Directory, Machines, Recorder, Rules, Unavailable};
use crate::model::event::MachineRule;
use crate::model::{Event, EventKind};
use crate::spool::{self, Entry, Spool};

/// Events with the recorder at a time: enough to fill group commits, few enough to bound a hanging store's.
const IN_FLIGHT: usize = 4096;

/// Spooled events with the recorder at a time: a group commit's worth.
const REPLAYED: usize = 1_000;

/// The first and the longest pause before a store that was away is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// How long the end waits for the store to take what is spooled; the rest stays on the disk.
const LAST_REPLAY: Duration = Duration::from_secs(5);

/// Where the routes hand in events.
#[derive(Clone)]
pub struct EventIntake {
    queue: mpsc::Sender<Pending>,
    tally: Arc<Tally>,
}

/// What events go through.
pub struct Backing {
    pub rules: Rules,
    pub directory: Arc<dyn Directory>,
    pub recorder: Arc<dyn Recorder>,
    pub spool: (Spool, spool::Writer),
    /// How long the store may take for an event; then the disk has it.
    pub patience: Duration,
}

/// What became of an event within its caller's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Durable in the store, with this verdict.
    Recorded(Option<MachineRule>),
    /// Durable on this machine's disk.
    Spooled,
    /// Taken in, and not durable yet.
    Queued,
    /// Neither the store nor the disk nor the queue takes it: nobody will hear of it.
    Dropped,
}

struct Pending {
    entry: Entry,
    settled: oneshot::Sender<Fate>,
}

#[derive(Debug, Default)]
struct Tally {
    unsettled: AtomicUsize,
    dropped: AtomicU64,
}

impl EventIntake {
    /// A queue of `capacity` events (at least 1), and the task that empties it. The task ends when every clone of the
    /// intake is gone and every event is durable; whoever drops it earlier loses what [`EventIntake::unsettled`] counts.
    pub fn new(capacity: usize, backing: Backing) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(capacity.max(1));
        let tally = Arc::new(Tally::default());
        let Backing { rules, directory, recorder, spool: (spool, writer), patience } = backing;
        let machines = Mutex::new(Machines::new(rules));
        let away = AtomicBool::new(false);
        let scribe =
            Scribe { rules, machines, directory, recorder, spool, patience, away, tally: tally.clone() };
        let worker = async {
            tokio::join!(scribe.run(waiting), writer.run());
        };
        (Self { queue, tally }, worker)
    }

    /// Hands in an event and waits until it is durable, or for as long as `patience`. The event is taken in before the
    /// first wait: dropping this future does not take it back.
    pub async fn submit(&self, event: Event, patience: Duration) -> Fate {
        let (settled, durable) = oneshot::channel();
        let entry = Entry { event, judged: false };
        self.tally.unsettled.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Pending { entry, settled }).is_err() {
            self.tally.settle(Fate::Dropped);
            return Fate::Dropped;
        }
        match timeout(patience, durable).await {
            Ok(Ok(fate)) => fate,
            Ok(Err(_)) | Err(_) => Fate::Queued,
        }
    }

    /// Events taken in and not durable yet.
    pub fn unsettled(&self) -> usize {
        self.tally.unsettled.load(Ordering::Relaxed)
    }

    /// Events that nothing took since the start; more than 0 means that reports miss them.
    pub fn dropped(&self) -> u64 {
        self.tally.dropped.load(Ordering::Relaxed)
    }
}

impl Tally {
    fn settle(&self, fate: Fate) {
        self.unsettled.fetch_sub(1, Ordering::Relaxed);
        if fate == Fate::Dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for EventIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIntake").field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Judges events and makes them durable.
struct Scribe {
    rules: Rules,
    machines: Mutex<Machines>,
    directory: Arc<dyn Directory>,
    recorder: Arc<dyn Recorder>,
    spool: Spool,
    patience: Duration,
    /// The store was away or slow the last time: what is new goes to the disk at once, and the replay asks the store. Set
    /// before an event is spooled, so that the replay which that wakes finds it set.
    away: AtomicBool,
    tally: Arc<Tally>,
}

impl Scribe {
    async fn run(self, queue: mpsc::Receiver<Pending>) {
        tokio::select! {
            () = self.take(queue) => {}
            never = self.keep_replaying() => match never {},
        }
        // The disk keeps what this leaves.
        timeout(LAST_REPLAY, self.replay()).await.ok();
        let bytes = self.spool.bytes();
        if bytes > 0 {
            tracing::warn!(bytes, "events stay in the spool; the next start hands them to the store");
        }
    }

    async fn take(&self, mut queue: mpsc::Receiver<Pending>) {
        let mut writing = FuturesUnordered::new();
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                Some(()) = writing.next() => {}
                received = queue.recv(), if open && writing.len() < IN_FLIGHT => match received {
                    Some(pending) => writing.push(self.settle(pending)),
                    None => open = false,
                },
                else => break,
            }
        }
    }

    async fn settle(&self, Pending { mut entry, settled }: Pending) {
        let fate = self.make_durable(&mut entry).await;
        self.tally.settle(fate);
        // Nobody may be waiting any more.
        settled.send(fate).ok();
    }

    async fn make_durable(&self, entry: &mut Entry) -> Fate {
        if !self.away.load(Ordering::Relaxed) {
            let recorded = timeout(self.patience, self.record(entry, &self.machines)).await;
            if let Ok(Ok(())) = recorded {
                return Fate::Recorded(entry.event.machine);
            }
        }
        self.away.store(true, Ordering::Relaxed);
        match self.spool.keep(entry).await {
            Ok(()) => Fate::Spooled,
            Err(_) => {
                // No replay may be under way that would find the store again.
                self.away.store(false, Ordering::Relaxed);
                Fate::Dropped
            }
        }
    }

    /// # Errors
    /// The store is away.
    async fn record(&self, entry: &mut Entry, machines: &Mutex<Machines>) -> Result<(), Unavailable> {
        if !entry.judged {
            entry.event.machine = self.judge(&entry.event, machines).await?;
            entry.judged = true;
        }
        self.recorder.record(entry.event.clone()).await
    }

    /// # Errors
    /// The store is away.
    async fn judge(
        &self,
        event: &Event,
        machines: &Mutex<Machines>,
    ) -> Result<Option<MachineRule>, Unavailable> {
        if event.machine.is_some() || !matches!(event.kind, EventKind::Opened | EventKind::Clicked) {
            return Ok(event.machine);
        }
        let delivered = match self.rules.ask_for_delivery() {
            true => self.directory.sent_at(event.delivery).await?,
            false => None,
        };
        Ok(machines.lock().unwrap_or_else(PoisonError::into_inner).judge(event, delivered))
    }

    async fn keep_replaying(&self) -> Infallible {
        let mut outage = Outage::default();
        loop {
            match self.replay().await {
                Ok(()) => {
                    outage.ends();
                    self.spool.grew().await;
                }
                Err(Unavailable) => sleep(outage.goes_on()).await,
            }
        }
    }

    /// Hands what is spooled to the store, the oldest first, until nothing is left.
    ///
    /// # Errors
    /// The store is away. What it took of a segment is handed over again the next time.
    async fn replay(&self) -> Result<(), Unavailable> {
        while let Some(mut segment) = self.spool.oldest().await {
            // Windows of its own: its time is past, and whoever replays it again shall judge alike.
            let machines = Mutex::new(Machines::new(self.rules));
            for group in segment.entries.chunks_mut(REPLAYED) {
                let group = group.iter_mut().map(|entry| self.record(entry, &machines));
                join_all(group).await.into_iter().collect::<Result<(), _>>()?;
                self.away.store(false, Ordering::Relaxed);
            }
            self.spool.forget(segment).await;
        }
        Ok(())
    }
}

/// The store's absence: when to try next, ever more rarely.
#[derive(Debug, Default)]
struct Outage {
    pause: Duration,
}

impl Outage {
    /// How long to leave it alone.
    fn goes_on(&mut self) -> Duration {
        if self.pause.is_zero() {
            tracing::warn!("the store takes no events: they are spooled until it is back");
        }
        self.pause = (self.pause * 2).clamp(RETRY_FIRST, RETRY_MOST);
        self.pause
    }

    fn ends(&mut self) {
        if !self.pause.is_zero() {
            tracing::info!("the store has all events that were spooled");
            self.pause = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_probed_ever_more_rarely_and_forgotten_once_over() {
        let mut outage = Outage::default();
        let pauses = [(); 8].map(|()| outage.goes_on().as_millis());
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        outage.ends();
        assert_eq!(outage.goes_on(), RETRY_FIRST);
    }
}
