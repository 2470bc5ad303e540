//! Receipts and replies on their way to a bound client, and the clients that are bound to receive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::pdu::{Deliver, Submit};
use super::text;
use crate::callback::Carrier;
use crate::clock::utc;

/// A `deliver_sm` before its sequence number.
#[derive(Debug, Clone)]
pub(super) struct Receipt(Deliver);

/// States in the text of a receipt, and as `message_state` (SMPP 3.4, section 5.2.28 and appendix B).
const STATES: [(&str, u8); 7] = [
    ("DELIVRD", 2),
    ("EXPIRED", 3),
    ("DELETED", 4),
    ("UNDELIV", 5),
    ("ACCEPTD", 6),
    ("UNKNOWN", 7),
    ("REJECTD", 8),
];

impl Receipt {
    /// Of a part that was taken under `id`; `code` is a state or an error, none where it arrives.
    pub(super) fn of(submit: &Submit, id: &str, code: Option<&str>, now: i64) -> Receipt {
        let code = code.unwrap_or("DELIVRD");
        let known = STATES.iter().find(|(name, _)| *name == code);
        let (stat, state) = known.copied().unwrap_or(("UNDELIV", 5));
        let error = if known.is_some() { "000" } else { code };
        let delivered = u8::from(stat == "DELIVRD");
        let date = utc(now, "%y%m%d%H%M");
        let begins: String = text::decode(submit.data_coding, &submit.content)
            .chars()
            .filter(char::is_ascii)
            .take(20)
            .collect();
        let content = format!(
            "id:{id} sub:001 dlvrd:00{delivered} submit date:{date} done date:{date} stat:{stat} err:{error} text:{begins}"
        );
        Receipt(Deliver {
            source: submit.destination.clone(),
            destination: submit.source.clone(),
            esm_class: 0x04,
            data_coding: 0,
            content: content.into_bytes(),
            receipt: Some((id.to_owned(), state)),
        })
    }

    pub(super) fn reply(from: &str, to: &str, words: &str) -> Receipt {
        let (data_coding, content) = text::encode(words);
        Receipt(Deliver {
            source: from.to_owned(),
            destination: to.to_owned(),
            esm_class: 0,
            data_coding,
            content,
            receipt: None,
        })
    }
}

/// The connections that are bound to receive.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    bound: watch::Sender<Vec<Arc<Receiver>>>,
    turn: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Receiver {
    out: mpsc::Sender<Bytes>,
    sequence: AtomicU32,
    /// Who waits for the status of an answer.
    waiting: Mutex<HashMap<u32, oneshot::Sender<u32>>>,
}

impl Receiver {
    pub(super) fn new(out: mpsc::Sender<Bytes>) -> Arc<Receiver> {
        Arc::new(Receiver { out, sequence: AtomicU32::new(1), waiting: Mutex::default() })
    }

    /// An answer came.
    pub(super) fn answered(&self, sequence: u32, status: u32) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&sequence);
        // Who waited may have given up.
        let _late = waiting.map(|waiting| waiting.send(status));
    }

    /// The next sequence number of ours on this connection.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff
    }

    /// The status that the client answers; none where it does not.
    async fn deliver(&self, deliver: &Deliver) -> Option<u32> {
        let sequence = self.sequence();
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence, answer);
        self.out.send(deliver.written(sequence)).await.ok()?;
        answered.await.ok()
    }

    /// Nobody will answer any more.
    fn gone(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Receivers {
    pub(super) fn add(&self, receiver: Arc<Receiver>) {
        self.bound.send_modify(|bound| bound.push(receiver));
    }

    pub(super) fn remove(&self, receiver: &Arc<Receiver>) {
        self.bound.send_modify(|bound| bound.retain(|other| !Arc::ptr_eq(other, receiver)));
        receiver.gone();
    }

    /// Waits until so many are bound.
    pub(super) async fn bound(&self, receivers: usize) {
        let mut bound = self.bound.subscribe();
        let _bound = bound.wait_for(|bound| bound.len() >= receivers).await;
    }

    /// One of them in turn, once there is one.
    async fn next(&self) -> Option<Arc<Receiver>> {
        self.bound(1).await;
        let bound = self.bound.borrow();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        bound.get(turn % bound.len().max(1)).cloned()
    }
}

/// Brings receipts to whoever is bound.
#[derive(Debug)]
pub(super) struct Deliverer {
    pub(super) receivers: Arc<Receivers>,
    pub(super) tlvs: bool,
    pub(super) answer_within: Duration,
}

impl Carrier for Deliverer {
    type Receipt = Receipt;

    fn another(&self) -> Self {
        let Deliverer { receivers, tlvs, answer_within } = self;
        Deliverer { receivers: Arc::clone(receivers), tlvs: *tlvs, answer_within: *answer_within }
    }

    async fn carry(&mut self, receipts: &[Receipt]) -> Option<bool> {
        let mut deliver = receipts.first()?.0.clone();
        if !self.tlvs {
            deliver.receipt = None;
        }
        let delivered = async { self.receivers.next().await?.deliver(&deliver).await };
        let status = tokio::time::timeout(self.answer_within, delivered).await;
        Some(status == Ok(Some(0)))
    }
}
