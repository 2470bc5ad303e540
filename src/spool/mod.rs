//! Events on this machine's disk, while the store is away or slow.
//!
//! Owns a folder of files for one daemon. Promises that what [`Spool::keep`] took is there after a power cut, with its id
//! and time, until [`Spool::forget`]; that many events share one fsync; that it never grows beyond its limit; that damage
//! costs what lies behind it in its file and is told; and that nothing older than the age limit stays. Never judges an
//! event and knows no store: whoever replays may do so twice, and the store tells repeats by their ids.

mod log;
mod record;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::batcher::{Batcher, Flusher, Limits, batcher};
use crate::clock::Clock;
use crate::model::Event;
use crate::telemetry::Metrics;
use log::{Contents, Log, Segment as File};

pub use log::OpenError;

/// Events in one write and fsync, and events that wait for the next one.
const GROUP: NonZeroUsize = NonZeroUsize::new(1_000).expect("is not 0");
const QUEUE: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not 0");

#[derive(Debug, Clone)]
pub struct Settings {
    /// One daemon's own.
    pub folder: PathBuf,
    /// Of all files together, in bytes.
    pub limit: u64,
    /// What is older is thrown away, an hour late at most: events tell of people.
    pub age: Duration,
}

/// An event on its way to the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub event: Event,
    /// Whether a machine or a person did it was decided already.
    pub judged: bool,
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the spool is full")]
    Full,
    #[error("the disk does not take it")]
    Disk,
}

impl Refusal {
    /// As metrics name it.
    fn as_str(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::Disk => "disk",
        }
    }
}

/// A part of the spool, to be handed over and forgotten as a whole.
#[derive(Debug)]
pub struct Segment {
    /// In the order of their reception.
    pub entries: Vec<Entry>,
    file: File,
}

/// Clones share the folder.
#[derive(Clone)]
pub struct Spool {
    queue: Batcher<Vec<u8>, Result<(), Refusal>, Infallible>,
    shared: Arc<Shared>,
}

/// The writing end.
pub struct Writer {
    queue: Flusher<Vec<u8>, Result<(), Refusal>, Infallible>,
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    age: SignedDuration,
    grew: Notify,
    /// The disk refused the last write, which was told.
    fails: AtomicBool,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Spool {
    /// Takes the folder for this process; blocks for a moment.
    ///
    /// # Errors
    /// A folder that another daemon has, or that cannot be written to.
    pub fn open(
        settings: &Settings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Writer), OpenError> {
        let log = Log::open(&settings.folder, settings.limit)?;
        let age = SignedDuration::try_from(settings.age).unwrap_or(SignedDuration::MAX);
        let (log, grew, fails) = (Mutex::new(log), Notify::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { log, age, grew, fails, clock, metrics });
        shared.with(|_| {});
        let (keeper, flusher) =
            batcher(Limits { size: GROUP, pace: Duration::ZERO, enough: GROUP, queue: QUEUE });
        Ok((Spool { queue: keeper, shared: shared.clone() }, Writer { queue: flusher, shared }))
    }

    /// Resolves once the event is on the disk.
    ///
    /// # Errors
    /// The event is not kept, and counted as dropped.
    pub async fn keep(&self, entry: &Entry) -> Result<(), Refusal> {
        let record = serde_json::to_vec(entry).ok().and_then(|content| record::framed(&content).ok());
        let kept = match record {
            Some(record) => self.queue.submit(record).await.unwrap_or(Err(Refusal::Disk)),
            None => Err(Refusal::Disk),
        };
        if let Err(refusal) = kept {
            self.shared.dropped(refusal.as_str(), 1);
        }
        kept
    }

    /// Resolves once something was kept after the last time.
    pub async fn grew(&self) {
        self.shared.grew.notified().await;
    }

    /// Its oldest part, again and again until that is forgotten; `None` when it is empty.
    pub async fn oldest(&self) -> Option<Segment> {
        loop {
            let contents = match self.shared.blocking(Log::oldest).await {
                Ok(contents) => contents?,
                Err(error) => {
                    error!(
                        error = &error as &dyn std::error::Error,
                        "a spool file cannot be read; it is left for the next start"
                    );
                    continue;
                }
            };
            let age = self.shared.clock.now().duration_since(contents.segment.begun);
            if age <= self.shared.age {
                return Some(self.shared.decoded(contents));
            }
            warn!(events = contents.records.len(), "spooled events are over their age limit and thrown away");
            self.shared.dropped("expired", contents.records.len());
            self.shared.forget(contents.segment).await;
        }
    }

    /// Deletes what was handed over.
    pub async fn forget(&self, segment: Segment) {
        self.shared.forget(segment.file).await;
        self.shared.metrics.events_replayed.inc_by(segment.entries.len() as u64);
    }

    /// What lies there, in bytes.
    pub fn bytes(&self) -> u64 {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

impl Writer {
    /// Writes what is kept until every [`Spool`] is gone.
    pub async fn run(self) {
        let Writer { queue, shared } = self;
        queue
            .run(move |records: Vec<Vec<u8>>| {
                let shared = shared.clone();
                async move { Ok(shared.write(records).await) }
            })
            .await;
    }
}

impl Shared {
    /// One result a record.
    async fn write(self: &Arc<Self>, records: Vec<Vec<u8>>) -> Vec<Result<(), Refusal>> {
        let (count, now) = (records.len(), self.clock.now());
        match self.blocking(move |log| log.append(&records, now)).await {
            Ok(taken) => {
                self.fails.store(false, Ordering::Relaxed);
                if taken > 0 {
                    self.metrics.events_spooled.inc_by(taken as u64);
                    self.grew.notify_one();
                }
                (0..count).map(|at| if at < taken { Ok(()) } else { Err(Refusal::Full) }).collect()
            }
            Err(error) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    error!(error = &error as &dyn std::error::Error, "events cannot be spooled");
                }
                vec![Err(Refusal::Disk); count]
            }
        }
    }

    fn decoded(&self, contents: Contents) -> Segment {
        let Contents { segment, records, damaged } = contents;
        if damaged > 0 {
            warn!(
                bytes = damaged,
                "the end of a spool file is cut off: a crash tore it, or the disk is damaged"
            );
        }
        let read: Vec<_> = records.iter().map(|record| serde_json::from_slice(record)).collect();
        let entries: Vec<Entry> = read.into_iter().filter_map(Result::ok).collect();
        if entries.len() < records.len() {
            let count = records.len() - entries.len();
            error!(events = count, "spooled events of another version cannot be read");
            self.dropped("unreadable", count);
        }
        Segment { entries, file: segment }
    }

    async fn forget(self: &Arc<Self>, segment: File) {
        if let Err(error) = self.blocking(move |log| log.forget(segment)).await {
            error!(
                error = &error as &dyn std::error::Error,
                "a spool file cannot be deleted; it is replayed after the next start"
            );
        }
    }

    fn dropped(&self, reason: &str, count: usize) {
        self.metrics.events_dropped.with_label_values(&[reason]).inc_by(count as u64);
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Log) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shared = self.clone();
        spawn_blocking(move || shared.with(act)).await.map_err(io::Error::other)?
    }

    /// Acts on the files, and shows what became of them.
    fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut log);
        self.metrics.event_spool_bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
        let begun = log.begun().map_or(0.0, |begun| begun.as_millisecond() as f64 / 1e3);
        self.metrics.event_spool_oldest.set(begun);
        done
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
