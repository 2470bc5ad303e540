//! One connection of the SMSC.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::Desk;
use super::pdu::{self, Pdu, Submit};
use super::receipts::{Receipt, Receiver};
use crate::script::{Then, Verdict};

/// PDUs that wait to be written.
const OUT: usize = 1024;

pub(super) async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (mut reader, writer) = stream.into_split();
    let (out, written) = mpsc::channel(OUT);
    let writing = tokio::spawn(write(written, writer, Arc::clone(&desk)));
    let mut cuts = desk.cuts.subscribe();
    let cut = Arc::new(Notify::new());
    let enquires = desk.enquire.is_some();
    let mut enquiries = tokio::time::interval(desk.enquire.unwrap_or(Duration::from_secs(60)));
    enquiries.reset();
    let receiver = Receiver::new(out.clone());
    let mut session = Session {
        desk,
        receiver,
        out,
        cut: Arc::clone(&cut),
        bound: None,
        open: Arc::default(),
        answers: JoinSet::new(),
    };
    let mut input = BytesMut::with_capacity(64 << 10);
    let unbound = 'session: loop {
        tokio::select! {
            read = reader.read_buf(&mut input) => {
                if !matches!(read, Ok(1..)) {
                    break false;
                }
                loop {
                    match Pdu::take(&mut input) {
                        Ok(Some(pdu)) => if !session.handle(pdu).await { break 'session true },
                        Ok(None) => break,
                        Err(pdu::Lost) => {
                            session.say(&Pdu::nack(0, pdu::INVALID_COMMAND_LENGTH)).await;
                            break 'session true;
                        }
                    }
                }
            }
            () = cut.notified() => break false,
            _ = cuts.changed() => break false,
            _ = enquiries.tick(), if enquires => {
                let (command, sequence) = (pdu::ENQUIRE_LINK, session.receiver.sequence());
                session.say(&Pdu { command, status: 0, sequence, body: Bytes::new() }).await;
            }
            Some(_) = session.answers.join_next() => {}
        }
    };
    session.desk.receivers.remove(&session.receiver);
    drop(session);
    if unbound {
        // The last answers still leave: the writer ends with the last sender.
        let _ended = writing.await;
    } else {
        writing.abort();
    }
}

/// Writes what is queued, in as few writes as it can.
async fn write(mut written: mpsc::Receiver<Bytes>, mut writer: OwnedWriteHalf, desk: Arc<Desk>) {
    let mut output = Vec::with_capacity(16 << 10);
    while let Some(pdu) = written.recv().await {
        output.extend_from_slice(&pdu);
        while let Ok(pdu) = written.try_recv() {
            output.extend_from_slice(&pdu);
        }
        let deaf = desk.deaf.load(Ordering::Relaxed);
        if !deaf && writer.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// What a bind allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    sends: bool,
}

struct Session {
    desk: Arc<Desk>,
    receiver: Arc<Receiver>,
    out: mpsc::Sender<Bytes>,
    cut: Arc<Notify>,
    bound: Option<Bound>,
    /// Messages without an answer.
    open: Arc<AtomicUsize>,
    answers: JoinSet<()>,
}

impl Session {
    async fn say(&self, pdu: &Pdu) {
        // The writer ends with the connection.
        let _gone = self.out.send(pdu.written()).await;
    }

    /// Whether the connection goes on.
    async fn handle(&mut self, pdu: Pdu) -> bool {
        match pdu.command {
            pdu::BIND_RECEIVER | pdu::BIND_TRANSMITTER | pdu::BIND_TRANSCEIVER => self.bind(&pdu).await,
            pdu::SUBMIT_SM => self.submit(pdu).await,
            pdu::ENQUIRE_LINK => self.say(&pdu.answer(0, Bytes::new())).await,
            pdu::UNBIND => {
                self.say(&pdu.answer(0, Bytes::new())).await;
                return false;
            }
            answer if answer & pdu::RESPONSE != 0 => self.receiver.answered(pdu.sequence, pdu.status),
            _ => self.say(&Pdu::nack(pdu.sequence, pdu::INVALID_COMMAND_ID)).await,
        }
        true
    }

    async fn bind(&mut self, pdu: &Pdu) {
        let account = &self.desk.account;
        let status = match pdu::credentials(&pdu.body) {
            _ if self.bound.is_some() => pdu::ALREADY_BOUND,
            Some((system_id, _)) if system_id != account.system_id => pdu::INVALID_SYSTEM_ID,
            Some((_, password)) if password == account.password => 0,
            _ => pdu::INVALID_PASSWORD,
        };
        let body = if status == 0 { pdu::bound() } else { Vec::new() };
        self.say(&pdu.answer(status, body)).await;
        if status == 0 {
            self.bound = Some(Bound { sends: pdu.command != pdu::BIND_RECEIVER });
            if pdu.command != pdu::BIND_TRANSMITTER {
                self.desk.receivers.add(Arc::clone(&self.receiver));
            }
        }
    }

    async fn submit(&mut self, pdu: Pdu) {
        if self.bound != Some(Bound { sends: true }) {
            return self.say(&pdu.answer(pdu::INVALID_BIND_STATUS, Bytes::new())).await;
        }
        let number = self.desk.submitted.fetch_add(1, Ordering::Relaxed) + 1;
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let submit = Submit::read(&pdu.body).ok_or(pdu::INVALID_MESSAGE_LENGTH).and_then(valid);
        let mut submit = match submit {
            Ok(_) if open >= self.desk.window || !self.desk.rate.pass() => Err(pdu::THROTTLED),
            other => other,
        };
        let mut verdict = Verdict::default();
        if let Ok(message) = &submit {
            verdict = self.desk.script.request(number).and(self.desk.script.recipient(&message.destination));
            match &verdict.then {
                Then::Code(code) => submit = Err(status(code)),
                // What a gateway says over HTTP has no place here.
                Then::Status(_) => submit = Err(pdu::SYSTEM_ERROR),
                _ => {}
            }
        }
        let waits = !verdict.wait.is_zero() || self.desk.early;
        let answer = Answer {
            desk: Arc::clone(&self.desk),
            out: self.out.clone(),
            cut: Arc::clone(&self.cut),
            open: Arc::clone(&self.open),
            pdu,
            number,
            verdict,
        };
        // What waits, for a rule or for the client's answer to an early receipt, must not stop the reading.
        if waits {
            self.answers.spawn(answer.give(submit));
        } else {
            answer.give(submit).await;
        }
    }
}

/// What is wrong with a message, whoever sends it.
fn valid(submit: Submit) -> Result<Submit, u32> {
    let alphanumeric = submit.source_ton == 5;
    if alphanumeric && submit.source.chars().count() > 11 {
        return Err(pdu::INVALID_SOURCE);
    }
    if !(5..=20).contains(&submit.destination.len())
        || !submit.destination.bytes().all(|c| c.is_ascii_digit())
    {
        return Err(pdu::INVALID_DESTINATION);
    }
    Ok(submit)
}

/// A command status as a rule names it.
fn status(code: &str) -> u32 {
    let parsed = match code.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => code.parse(),
    };
    parsed.unwrap_or(pdu::SYSTEM_ERROR)
}

/// The answer to one `submit_sm`.
struct Answer {
    desk: Arc<Desk>,
    out: mpsc::Sender<Bytes>,
    cut: Arc<Notify>,
    open: Arc<AtomicUsize>,
    pdu: Pdu,
    number: u64,
    verdict: Verdict,
}

impl Answer {
    async fn give(self, submit: Result<Submit, u32>) {
        tokio::time::sleep(self.verdict.wait).await;
        let answer = match submit {
            Err(status) => self.pdu.answer(status, Bytes::new()),
            Ok(_) if self.verdict.then == Then::CutBefore => return self.cut.notify_one(),
            Ok(submit) => {
                let (id, receipted) = self.desk.ids(self.number);
                self.take(&submit, &id, &receipted).await;
                if matches!(self.verdict.then, Then::CutAfter | Then::CutInAnswer) {
                    return self.cut.notify_one();
                }
                self.pdu.answer(0, [id.as_bytes(), b"\0"].concat())
            }
        };
        self.open.fetch_sub(1, Ordering::Relaxed);
        // The writer ends with the connection.
        let _gone = self.out.send(answer.written()).await;
    }

    async fn take(&self, submit: &Submit, id: &str, receipted: &str) {
        self.desk.take(submit, id);
        let code = self.verdict.receipt.as_deref();
        // SMPP 3.4, section 5.2.17: 1 asks for every receipt, 2 for those of failure.
        let wanted = match submit.registered_delivery & 0x03 {
            1 => true,
            2 => code.is_some_and(|code| code != "DELIVRD"),
            _ => false,
        };
        if wanted {
            let receipt = Receipt::of(submit, receipted, code, self.desk.clock.seconds());
            self.desk.schedule.send(receipted, Duration::ZERO, receipt).await;
        }
    }
}
