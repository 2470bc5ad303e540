//! One bound connection as all its users see it: what was submitted and is not answered, room in the window, and the
//! writing of whole PDUs.
//!
//! Knows of every PDU whether all its bytes were handed to the socket: one that was not cannot be acted on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::pdu::Pdu;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What the provider says of one `submit_sm`. Where the connection ends before, nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Taken, under this id.
    Taken(String),
    /// Not taken, with this status.
    Refused(u32),
    /// Nothing in time.
    Silent,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    since: Instant,
    _slot: OwnedSemaphorePermit,
}

pub(super) struct Wire {
    writer: tokio::sync::Mutex<Writer>,
    /// By sequence number; `None` once the connection ended.
    waiting: Mutex<Option<HashMap<u32, Waiting>>>,
    slots: Arc<Semaphore>,
    /// How many slots there are.
    window: u32,
    sequence: AtomicU32,
    throttled_until: Mutex<Option<Instant>>,
    /// Whether anything came since this was last asked.
    heard: AtomicBool,
    /// Nothing more is submitted.
    retired: CancellationToken,
    patience: Duration,
}

struct Writer {
    half: WriteHalf<Box<dyn Stream>>,
    encrypted: bool,
    /// Also by a write that was given up halfway: a PDU may stand half written.
    broken: bool,
}

/// A submit that is registered, and its place in a batch.
pub(super) struct Registered {
    pub(super) sequence: u32,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Wire {
    /// `sequence` is the last number that was used. Answers, and the socket's readiness for bytes, are waited for as
    /// long as `patience`.
    pub(super) fn new(
        half: WriteHalf<Box<dyn Stream>>,
        encrypted: bool,
        sequence: u32,
        window: u16,
        patience: Duration,
    ) -> Self {
        Wire {
            writer: tokio::sync::Mutex::new(Writer { half, encrypted, broken: false }),
            waiting: Mutex::new(Some(HashMap::new())),
            slots: Arc::new(Semaphore::new(usize::from(window))),
            window: window.into(),
            sequence: AtomicU32::new(sequence),
            throttled_until: Mutex::default(),
            heard: AtomicBool::new(true),
            retired: CancellationToken::new(),
            patience,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u32, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number, from 1 to 0x7FFFFFFF.
    pub(super) fn next_sequence(&self) -> u32 {
        let last = self.sequence.fetch_add(1, Ordering::Relaxed);
        last % 0x7FFF_FFFF + 1
    }

    /// Room for so many more submits, at once; for as many as the window holds where it cannot hold them.
    pub(super) fn try_slots(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_many_owned(self.within(wanted)).ok()
    }

    /// The same, once there is room; `None` where nothing more is submitted.
    pub(super) async fn slots(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_many_owned(self.within(wanted)).await.ok()
    }

    fn within(&self, wanted: usize) -> u32 {
        u32::try_from(wanted).unwrap_or(u32::MAX).min(self.window)
    }

    /// Before its bytes leave; `None` where nothing more is submitted.
    pub(super) fn register(&self, slot: OwnedSemaphorePermit) -> Option<Registered> {
        if self.retired.is_cancelled() {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        let sequence = self.next_sequence();
        let waiting = Waiting { answer: sender, since: Instant::now(), _slot: slot };
        self.waiting().as_mut()?.insert(sequence, waiting);
        Some(Registered { sequence, answer })
    }

    /// It did not leave after all.
    pub(super) fn forget(&self, sequence: u32) {
        if let Some(waiting) = self.waiting().as_mut() {
            waiting.remove(&sequence);
        }
    }

    /// An answer came; one that nobody waits for any more is let go.
    pub(super) fn answered(&self, sequence: u32, answer: Answer) {
        let waiting = self.waiting().as_mut().and_then(|waiting| waiting.remove(&sequence));
        if let Some(waiting) = waiting {
            waiting.answer.send(answer).ok();
        }
    }

    /// Gives up what was not answered in time.
    pub(super) fn give_up_late(&self) {
        let mut late = Vec::new();
        if let Some(waiting) = self.waiting().as_mut() {
            late.extend(waiting.extract_if(|_, waiting| waiting.since.elapsed() >= self.patience));
        }
        for (_, waiting) in late {
            waiting.answer.send(Answer::Silent).ok();
        }
    }

    pub(super) fn throttle(&self, rest: Duration) {
        *self.throttled_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + rest);
    }

    pub(super) fn is_throttled(&self) -> bool {
        let until = *self.throttled_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }

    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether anything came since the last call.
    pub(super) fn heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// Nothing more is submitted; what was submitted may still be answered.
    pub(super) fn retire(&self) {
        self.retired.cancel();
        self.slots.close();
    }

    /// The connection ended: nothing more is answered.
    pub(super) fn end(&self) {
        self.retire();
        self.waiting().take();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Waits until nothing more is submitted.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Writes one PDU.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn write(&self, pdu: &Pdu) -> Result<(), Broken> {
        let mut bytes = Vec::with_capacity(64);
        pdu.write(&mut bytes);
        self.write_all(&bytes).await
    }

    /// Writes PDUs.
    ///
    /// # Errors
    /// The connection is lost, and with it what was not handed over by then.
    pub(super) async fn write_all(&self, bytes: &[u8]) -> Result<(), Broken> {
        let mut handed = 0;
        let written = timeout(self.patience, async {
            let mut writer = self.writer.lock().await;
            writer.write_all(bytes, &mut handed).await
        });
        match written.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => {
                self.retire();
                Err(Broken { handed })
            }
        }
    }
}

/// The connection is lost, after so many bytes of what was written may have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) handed: usize,
}

impl Writer {
    async fn write_all(&mut self, bytes: &[u8], handed: &mut usize) -> bool {
        if std::mem::replace(&mut self.broken, true) {
            return false;
        }
        while let Some(rest) = bytes.get(*handed..).filter(|rest| !rest.is_empty()) {
            match self.half.write(rest).await {
                Ok(written @ 1..) => *handed += written,
                Ok(0) => return false,
                Err(_) => {
                    // Part of what was encrypted may have left.
                    if self.encrypted {
                        *handed = bytes.len();
                    }
                    return false;
                }
            }
        }
        if self.half.flush().await.is_err() {
            return false;
        }
        self.broken = false;
        true
    }
}
