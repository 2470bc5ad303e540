//! From the request to whoever records: a bounded queue in memory that outlives requests and outages of the store.
//!
//! Promises that an event taken in is judged once and tried until it is durable, while the process lives; that its
//! client hanging up changes nothing; and that no outage grows memory without bound: a full queue drops, and counts what
//! it drops. What waits at the end of the process is lost, since nothing here touches the disk.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Directory, Machines, Recorder, Unavailable};
use crate::model::event::MachineRule;
use crate::model::{Event, EventKind};

/// Events with the recorder at a time: enough to fill group commits, few enough to bound a hanging store's.
const IN_FLIGHT: usize = 4096;

/// The first and the longest pause before a store that was away is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// Where the routes hand in events.
#[derive(Clone)]
pub struct EventIntake {
    queue: mpsc::Sender<Pending>,
    tally: Arc<Tally>,
}

/// What became of an event within its caller's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Durable, with this verdict.
    Recorded(Option<MachineRule>),
    /// Taken in, and not durable yet.
    Queued,
    /// The queue is full: nobody will hear of it.
    Dropped,
}

struct Pending {
    event: Event,
    judged: bool,
    settled: oneshot::Sender<Option<MachineRule>>,
}

#[derive(Debug, Default)]
struct Tally {
    unsettled: AtomicUsize,
    dropped: AtomicU64,
}

impl EventIntake {
    /// A queue of `capacity` events (at least 1), and the task that empties it. The task ends when every clone of the
    /// intake is gone and every event is durable; whoever drops it earlier loses what [`EventIntake::unsettled`] counts.
    pub fn new(
        capacity: usize,
        machines: Machines,
        directory: Arc<dyn Directory>,
        recorder: Arc<dyn Recorder>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(capacity.max(1));
        let tally = Arc::new(Tally::default());
        let ask_for_delivery = machines.ask_for_delivery();
        let machines = Mutex::new(machines);
        let scribe = Scribe { machines, ask_for_delivery, directory, recorder, tally: tally.clone() };
        (Self { queue, tally }, scribe.write_all(waiting))
    }

    /// Hands in an event and waits until it is durable, or for as long as `patience`. The event is taken in before the
    /// first wait: dropping this future does not take it back.
    pub async fn submit(&self, event: Event, patience: Duration) -> Fate {
        let (settled, durable) = oneshot::channel();
        self.tally.unsettled.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Pending { event, judged: false, settled }).is_err() {
            self.tally.unsettled.fetch_sub(1, Ordering::Relaxed);
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            return Fate::Dropped;
        }
        match timeout(patience, durable).await {
            Ok(Ok(machine)) => Fate::Recorded(machine),
            Ok(Err(_)) | Err(_) => Fate::Queued,
        }
    }

    /// Events taken in and not durable yet.
    pub fn unsettled(&self) -> usize {
        self.tally.unsettled.load(Ordering::Relaxed)
    }

    /// Events that a full queue turned away since the start; more than 0 means that reports miss them.
    pub fn dropped(&self) -> u64 {
        self.tally.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for EventIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIntake").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// Judges events and has them recorded.
struct Scribe {
    machines: Mutex<Machines>,
    ask_for_delivery: bool,
    directory: Arc<dyn Directory>,
    recorder: Arc<dyn Recorder>,
    tally: Arc<Tally>,
}

impl Scribe {
    async fn write_all(self, mut queue: mpsc::Receiver<Pending>) {
        let mut writing = FuturesUnordered::new();
        let mut failed: Vec<Pending> = Vec::new();
        let mut outage = Outage::default();
        let mut open = true;
        loop {
            // While the store is away nothing new is tried: the queue holds it.
            let takes_more = open && failed.is_empty() && writing.len() < IN_FLIGHT;
            tokio::select! {
                biased;
                Some(written) = writing.next() => match written {
                    Ok(()) => outage.ends(),
                    Err(pending) => {
                        if failed.is_empty() {
                            outage.goes_on();
                        }
                        failed.push(pending);
                    }
                },
                () = sleep_until(outage.try_at), if !failed.is_empty() => {
                    writing.extend(failed.drain(..).map(|pending| self.write(pending)));
                }
                received = queue.recv(), if takes_more => match received {
                    Some(pending) => writing.push(self.write(pending)),
                    None => open = false,
                },
                else => break,
            }
        }
    }

    /// # Errors
    /// The event itself, where the store is away.
    async fn write(&self, mut pending: Pending) -> Result<(), Pending> {
        if !pending.judged {
            match self.judge(&pending.event).await {
                Ok(machine) => pending.event.machine = machine,
                Err(Unavailable) => return Err(pending),
            }
            pending.judged = true;
        }
        if self.recorder.record(pending.event.clone()).await.is_err() {
            return Err(pending);
        }
        self.tally.unsettled.fetch_sub(1, Ordering::Relaxed);
        // Nobody may be waiting any more.
        pending.settled.send(pending.event.machine).ok();
        Ok(())
    }

    async fn judge(&self, event: &Event) -> Result<Option<MachineRule>, Unavailable> {
        if event.machine.is_some() || !matches!(event.kind, EventKind::Opened | EventKind::Clicked) {
            return Ok(event.machine);
        }
        let delivered =
            if self.ask_for_delivery { self.directory.sent_at(event.delivery).await? } else { None };
        Ok(self.machines.lock().unwrap_or_else(PoisonError::into_inner).judge(event, delivered))
    }
}

/// The store's absence: when to try next, ever more rarely.
#[derive(Debug)]
struct Outage {
    pause: Duration,
    try_at: Instant,
}

impl Default for Outage {
    fn default() -> Self {
        Self { pause: Duration::ZERO, try_at: Instant::now() }
    }
}

impl Outage {
    fn goes_on(&mut self) {
        if self.pause.is_zero() {
            tracing::warn!("events cannot be recorded: they wait in memory until the store is back");
        }
        self.pause = (self.pause * 2).clamp(RETRY_FIRST, RETRY_MOST);
        self.try_at = Instant::now() + self.pause;
    }

    fn ends(&mut self) {
        if !self.pause.is_zero() {
            tracing::info!("events are recorded again");
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
        let mut pauses = Vec::new();
        for _ in 0..8 {
            outage.goes_on();
            pauses.push(outage.pause.as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        outage.ends();
        outage.goes_on();
        assert_eq!(outage.pause, RETRY_FIRST);
    }
}
