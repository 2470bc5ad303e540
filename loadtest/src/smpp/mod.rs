//! An SMSC that speaks SMPP 3.4: binds, takes messages, sends receipts and replies, delivers nothing.
//!
//! Long messages are put together again from their parts and counted whole. A wait of a rule holds back one answer
//! alone, so that others overtake it. Receipts that nobody is bound for, or that are not answered, are sent again.

mod pdu;
mod receipts;
mod session;
mod text;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::callback::{Counts, Plan, Schedule};
use crate::clock::Clock;
use crate::quota::Rate;
use crate::script::{Rule, Script};
use crate::tally::Tally;
pub use pdu::Part;
use receipts::{Deliverer, Receivers};

/// The one account that may bind.
#[derive(Debug, Clone)]
pub struct Account {
    pub system_id: String,
    pub password: String,
}

/// How message ids look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    #[default]
    Decimal,
    Hex,
    /// In hex when a message is taken, in decimal in its receipt.
    HexThenDecimal,
}

/// How the SMSC behaves. A rule's code is a command status, as `0x58` or `88`; the code of a receipt is a state
/// (`EXPIRED`, `REJECTD`, ...) or else the error of an `UNDELIV`.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Messages without an answer on one connection; above it, and above `qps`, messages are throttled (0x58).
    pub window: usize,
    /// Parts a second.
    pub qps: Option<f64>,
    pub ids: Ids,
    /// Receipts have `receipted_message_id` and `message_state`, beside the text that says the same.
    pub tlvs: bool,
    /// Asks so often whether the client is there; none: never.
    pub enquire: Option<Duration>,
    pub rules: Vec<Rule>,
    pub seed: u64,
    pub receipts: Plan,
    /// Of the newest messages this many are kept whole.
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            account: Account { system_id: "user".to_owned(), password: "pass".to_owned() },
            clock: Clock::system(),
            window: 1000,
            qps: None,
            ids: Ids::default(),
            tlvs: true,
            enquire: None,
            rules: Vec::new(),
            seed: 0,
            receipts: Plan {
                connections: 100,
                retries: vec![Duration::from_millis(100); 600],
                ..Plan::default()
            },
            keep: 10_000,
        }
    }
}

/// A message that was taken, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub source: String,
    pub destination: String,
    pub data_coding: u8,
    pub text: String,
    /// The ids of its parts as they were answered, in the order of the parts.
    pub ids: Vec<String>,
}

/// A running SMSC; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Smsc {
    address: SocketAddr,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

/// The parts of a long message, by number, as they come: id and text.
type Parts = Vec<Option<(String, String)>>;

#[derive(Debug)]
struct Desk {
    account: Account,
    clock: Clock,
    window: usize,
    rate: Rate,
    ids: Ids,
    enquire: Option<Duration>,
    early: bool,
    script: Script,
    tally: Tally<Message>,
    unfinished: Mutex<HashMap<(String, String, Part), Parts>>,
    submitted: AtomicU64,
    receivers: Arc<Receivers>,
    schedule: Schedule<Deliverer>,
    deaf: AtomicBool,
    /// Raised to end every connection.
    cuts: watch::Sender<u64>,
}

/// Long messages that wait for parts; with more of them all are forgotten.
const UNFINISHED: usize = 100_000;

impl Smsc {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Smsc> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let receivers = Arc::new(Receivers::default());
        let plan = Plan { per_call: 1, ..options.receipts };
        let early = plan.early > 0.0;
        let deliverer = Deliverer {
            receivers: Arc::clone(&receivers),
            tlvs: options.tlvs,
            answer_within: plan.answer_within,
        };
        let desk = Arc::new(Desk {
            account: options.account,
            clock: options.clock,
            window: options.window,
            rate: Rate::new(options.qps),
            ids: options.ids,
            enquire: options.enquire,
            early,
            script: Script::new(options.seed, options.rules),
            tally: Tally::new(options.keep),
            unfinished: Mutex::default(),
            submitted: AtomicU64::new(0),
            receivers,
            schedule: Schedule::start(deliverer, plan),
            deaf: AtomicBool::new(false),
            cuts: watch::Sender::new(0),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&desk)));
        Ok(Smsc { address, desk, server })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What was taken, and by whom: whole messages.
    pub fn tally(&self) -> &Tally<Message> {
        &self.desk.tally
    }

    /// Every `submit_sm` that came over a bound connection, taken or not: each is a part of a message, or one alone.
    pub fn submitted(&self) -> u64 {
        self.desk.submitted.load(Ordering::Relaxed)
    }

    /// Long messages of which parts are missing.
    pub fn unfinished(&self) -> usize {
        self.desk.unfinished.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many connections are bound to receive.
    pub async fn bound(&self, receivers: usize) {
        self.desk.receivers.bound(receivers).await;
    }

    /// What became of the receipts.
    pub fn receipts(&self) -> Counts {
        self.desk.schedule.counts()
    }

    /// Waits until what became of the receipts is as wanted.
    pub async fn settled(&self, wanted: impl FnMut(&Counts) -> bool) {
        self.desk.schedule.settled(wanted).await;
    }

    /// A recipient answers. Whether a bound client took it.
    pub async fn reply(&self, from: &str, to: &str, text: &str) -> bool {
        self.desk.schedule.now(receipts::Receipt::reply(from, to, text)).await
    }

    /// From now on it reads what comes and says nothing, not even to `enquire_link`; or speaks again.
    pub fn deafen(&self, deaf: bool) {
        self.desk.deaf.store(deaf, Ordering::Relaxed);
    }

    /// Ends every connection, without a word to the clients; new ones are welcome.
    pub fn cut(&self) {
        self.desk.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(mut self) {
        self.server.abort();
        let _cancelled = (&mut self.server).await;
    }
}

impl Drop for Smsc {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors is all that goes wrong here: clients that leave make room again.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                connections.spawn(session::serve(stream, Arc::clone(&desk)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Desk {
    /// The ids of a part: as it is answered, and as its receipt names it.
    fn ids(&self, number: u64) -> (String, String) {
        let (decimal, hex) = (format!("{number:010}"), format!("{number:08X}"));
        match self.ids {
            Ids::Decimal => (decimal.clone(), decimal),
            Ids::Hex => (hex.clone(), hex),
            Ids::HexThenDecimal => (hex, decimal),
        }
    }

    /// Counts a message once all its parts are there.
    fn take(&self, submit: &pdu::Submit, id: &str) {
        let text = text::decode(submit.data_coding, &submit.content);
        let parts = match submit.part {
            None => vec![Some((id.to_owned(), text))],
            Some(part) => match self.joined(submit, part, (id.to_owned(), text)) {
                Some(parts) => parts,
                None => return,
            },
        };
        let (ids, texts): (Vec<_>, Vec<String>) = parts.into_iter().flatten().unzip();
        let text = texts.concat();
        let message = Message {
            source: submit.source.clone(),
            destination: submit.destination.clone(),
            data_coding: submit.data_coding,
            text: text.clone(),
            ids,
        };
        self.tally.take(&submit.destination, &text, message);
    }

    /// All parts, if this one was the last that was missing.
    fn joined(&self, submit: &pdu::Submit, part: Part, this: (String, String)) -> Option<Parts> {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if unfinished.len() >= UNFINISHED {
            unfinished.clear();
        }
        let key = (submit.source.clone(), submit.destination.clone(), Part { number: 0, ..part });
        let parts = unfinished.entry(key.clone()).or_insert_with(|| vec![None; usize::from(part.total)]);
        *parts.get_mut(usize::from(part.number).checked_sub(1)?)? = Some(this);
        parts.iter().all(Option::is_some).then(|| unfinished.remove(&key)).flatten()
    }
}
