//! A bind: from a host's name to a connection that takes messages and brings receipts, and the tasks that keep it.
//!
//! One task reads, one writes what is not a message (answers, `enquire_link`) and looks at the time, one hands receipts
//! on. None of them waits for another for ever: what the provider brings faster than it can be taken is refused for now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::account::Account;
use super::pdu::{self, Deliver, Pdu};
use super::receipt::receipts;
use super::status;
use super::wire::{Answer, Stream, Wire};
use crate::config::Codes;
use crate::model::{Outcome, Reason};

/// Deliveries that wait to be handed on, at most.
const DELIVERIES: usize = 256;
/// Answers that wait to be written, at most.
const ANSWERS: usize = 1_024;
/// How often late answers are looked for.
const LATE: Duration = Duration::from_millis(250);
/// Without a word for so many times `enquire`, the connection is taken for lost.
const MISSES: u32 = 2;

/// A bound connection; it closes when it is dropped.
pub(super) struct Link {
    wire: Arc<Wire>,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("retired", &self.wire.is_retired()).finish_non_exhaustive()
    }
}

fn failed(detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail }
}

impl Link {
    /// # Errors
    /// `Retry`, `Throttled` or `AccountRefused`.
    pub(super) async fn open(account: &Arc<Account>) -> Result<Link, Outcome> {
        let wait = account.settings.timeout;
        let mut stream = dial(account, wait).await?;
        let mut input = BytesMut::with_capacity(16 << 10);
        let bound = timeout(wait, bind(account, &mut stream, &mut input)).await;
        bound.map_err(|_| failed(format!("no answer to the bind within {} s", wait.as_secs())))??;
        let (reader, writer) = tokio::io::split(stream);
        let window = account.settings.window.get();
        let wire = Arc::new(Wire::new(writer, account.trust.is_some(), BIND_SEQUENCE, window, wait));
        let (answers, to_write) = mpsc::channel(ANSWERS);
        let (deliveries, to_hand_on) = mpsc::channel(DELIVERIES);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(Arc::clone(&wire), to_write, account.settings.enquire));
        tasks.spawn(hand_on(Arc::clone(account), to_hand_on, answers.clone()));
        let codes = account.settings.codes.clone();
        let reading = Reading { wire: Arc::clone(&wire), reader, input, codes, answers, deliveries };
        tasks.spawn(reading.run());
        Ok(Link { wire, _tasks: tasks })
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Says goodbye; the answer is not worth waiting for.
    pub(super) async fn unbind(self) {
        let sequence = self.wire.next_sequence();
        let unbind = Pdu::request(pdu::UNBIND, sequence, "");
        let _unsaid = timeout(Duration::from_secs(1), self.wire.write(&unbind)).await;
    }
}

async fn dial(account: &Account, wait: Duration) -> Result<Box<dyn Stream>, Outcome> {
    let settings = &account.settings;
    let host = settings.host.trim_matches(['[', ']']);
    let stream = timeout(wait, TcpStream::connect((host, settings.port)))
        .await
        .map_err(|_| failed(format!("no connection within {} s", wait.as_secs())))?
        .map_err(|error| failed(format!("cannot connect: {error}")))?;
    stream.set_nodelay(true).map_err(|error| failed(format!("cannot set up the socket: {error}")))?;
    Ok(match &account.trust {
        None => Box::new(stream),
        Some(trust) => Box::new(trust.encrypt(stream, wait).await?),
    })
}

const BIND_SEQUENCE: u32 = 1;

async fn bind(account: &Account, stream: &mut dyn Stream, input: &mut BytesMut) -> Result<(), Outcome> {
    let settings = &account.settings;
    let lost = |error| failed(format!("the connection broke before the bind was answered: {error}"));
    let mut bytes = Vec::with_capacity(64);
    let (password, system_type) = (settings.password.reveal(), settings.system_type.as_str());
    // What nobody reads here stays with the SMSC for those who do.
    let both_ways = account.receipts.are_read();
    let command = if both_ways { pdu::BIND_TRANSCEIVER } else { pdu::BIND_TRANSMITTER };
    pdu::bind(command, BIND_SEQUENCE, &settings.system_id, password, system_type).write(&mut bytes);
    stream.write_all(&bytes).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    loop {
        match Pdu::take(input) {
            Ok(None) => {
                if stream.read_buf(input).await.map_err(lost)? == 0 {
                    // So do some whose bind limit is reached, or who do not know our address.
                    return Err(failed(
                        "the server closed the connection instead of answering the bind".into(),
                    ));
                }
            }
            Ok(Some(answer)) if answer.sequence == BIND_SEQUENCE && answer.command & pdu::RESPONSE != 0 => {
                return match answer.status {
                    status::OK => Ok(()),
                    refused => Err(status::not_bound(refused)),
                };
            }
            // An `enquire_link` before the answer is none of our business yet.
            Ok(Some(_)) => {}
            Err(pdu::Lost) => return Err(failed("the server does not speak SMPP".into())),
        }
    }
}

struct Reading {
    wire: Arc<Wire>,
    reader: ReadHalf<Box<dyn Stream>>,
    input: BytesMut,
    codes: Codes,
    answers: mpsc::Sender<Pdu>,
    deliveries: mpsc::Sender<Pdu>,
}

impl Reading {
    async fn run(mut self) {
        loop {
            match Pdu::take(&mut self.input) {
                Ok(Some(pdu)) => {
                    self.wire.hear();
                    self.handle(pdu);
                }
                Ok(None) => {
                    if !matches!(self.reader.read_buf(&mut self.input).await, Ok(1..)) {
                        break;
                    }
                }
                Err(pdu::Lost) => break,
            }
        }
        self.wire.end();
    }

    /// Waits for nothing: what finds no room is not answered, so that the provider asks again.
    fn handle(&self, pdu: Pdu) {
        match pdu.command {
            pdu::DELIVER_SM => {
                if let Err(full) = self.deliveries.try_send(pdu) {
                    self.answers.try_send(full.into_inner().answer(status::COME_AGAIN)).ok();
                }
            }
            pdu::UNBIND => {
                self.wire.retire();
                self.answers.try_send(pdu.answer(status::OK)).ok();
            }
            pdu::ENQUIRE_LINK => {
                self.answers.try_send(pdu.answer(status::OK)).ok();
            }
            answer if answer & pdu::RESPONSE != 0 => self.answered(&pdu),
            _ => {
                let nack = Pdu { command: pdu::GENERIC_NACK, status: 0x03, ..pdu.answer(0) };
                self.answers.try_send(nack).ok();
            }
        }
    }

    fn answered(&self, pdu: &Pdu) {
        if pdu.status == status::OK {
            return self.wire.answered(pdu.sequence, Answer::Taken(pdu.message_id()));
        }
        if status::is_throttle(&self.codes, pdu.status) {
            self.wire.throttle(status::REST);
        }
        if pdu.status == status::NOT_BOUND {
            self.wire.retire();
        }
        self.wire.answered(pdu.sequence, Answer::Refused(pdu.status));
    }
}

/// Writes what is no message, asks whether the provider is there, and gives up what is late.
async fn keep(wire: Arc<Wire>, mut to_write: mpsc::Receiver<Pdu>, enquire: Duration) {
    let mut late = interval(LATE);
    late.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut enquiries = interval(enquire);
    enquiries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    enquiries.reset();
    let mut missed = 0;
    loop {
        let written = tokio::select! {
            pdu = to_write.recv() => match pdu {
                Some(pdu) => write_waiting(&wire, pdu, &mut to_write).await,
                None => break,
            },
            _ = late.tick() => {
                wire.give_up_late();
                Ok(())
            }
            _ = enquiries.tick() => {
                missed = if wire.heard() { 0 } else { missed + 1 };
                if missed >= MISSES {
                    break;
                }
                wire.write(&Pdu::request(pdu::ENQUIRE_LINK, wire.next_sequence(), "")).await
            }
        };
        if written.is_err() {
            break;
        }
    }
    wire.end();
}

/// In one write.
async fn write_waiting(
    wire: &Wire,
    first: Pdu,
    waiting: &mut mpsc::Receiver<Pdu>,
) -> Result<(), super::wire::Broken> {
    let mut bytes = Vec::with_capacity(256);
    first.write(&mut bytes);
    while let Ok(pdu) = waiting.try_recv() {
        pdu.write(&mut bytes);
    }
    wire.write_all(&bytes).await
}

/// Answers each delivery once its receipt is with the writer of receipts.
async fn hand_on(account: Arc<Account>, mut deliveries: mpsc::Receiver<Pdu>, answers: mpsc::Sender<Pdu>) {
    while let Some(pdu) = deliveries.recv().await {
        let deliver = Deliver::read(&pdu.body);
        if deliver.is_none() {
            // It would come again and again if it were refused.
            debug!(provider = account.name, "a deliver_sm cannot be read and is let go");
        }
        let told = deliver
            .map(|it| receipts(&account.name, account.ids(), &account.settings.codes, &it, Timestamp::now()));
        let mut taken = true;
        for told in told.into_iter().flatten().filter_map(|told| account.parts.told(told)) {
            taken &= account.receipts.bring(told).await;
        }
        let status = if taken { status::OK } else { status::COME_AGAIN };
        if answers.send(pdu.answer(status)).await.is_err() {
            return;
        }
    }
}
