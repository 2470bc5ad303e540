//! Twilio's Programmable Messaging (version 2010-04-01): messages are created, read and listed; statuses and replies are
//! posted with `X-Twilio-Signature`.
//!
//! A recipient who replies STOP is refused with 21610 until START. It knows no idempotency.

mod answers;
mod receipts;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use tokio::net::ToSocketAddrs;

use crate::callback::{Callbacks, Plan};
use crate::clock::Clock;
use crate::http::{self, Handler, Reply, Request, Server, form};
use crate::quota::Rate;
use crate::script::{Rule, Script, Then};
use crate::sms::{plausible, segments};
use crate::tally::Tally;
use answers::Refusal;
pub use receipts::{Receipt, Reports, signature};

/// The one account that may send.
#[derive(Debug, Clone)]
pub struct Account {
    pub account_sid: String,
    pub auth_token: String,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Messages a second; above it 20429.
    pub qps: Option<f64>,
    pub rules: Vec<Rule>,
    pub seed: u64,
    pub receipts: Plan,
    /// Between the status `sent` and the one that ends.
    pub in_the_air: Duration,
    /// Of the newest messages this many are kept whole, and can be read and listed.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            account: Account {
                account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
                auth_token: "test_auth_token".to_owned(),
            },
            clock: Clock::system(),
            qps: None,
            rules: Vec::new(),
            seed: 0,
            receipts: Plan { per_call: 1, ..Plan::default() },
            in_the_air: Duration::from_millis(20),
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sid: String,
    pub to: String,
    /// The sender, or empty where a messaging service chooses one.
    pub from: String,
    pub messaging_service_sid: String,
    pub body: String,
    /// Empty where absent.
    pub status_callback: String,
    pub segments: u32,
    /// Seconds since 1970.
    pub sent_at: i64,
    /// Why it does not arrive: an error code of the service.
    pub error_code: Option<String>,
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Twilio {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    account: Account,
    authorization: String,
    clock: Clock,
    rate: Rate,
    script: Script,
    tally: Tally<Message>,
    callbacks: Callbacks<Reports>,
    in_the_air: Duration,
    stopped: Mutex<HashSet<String>>,
}

impl Twilio {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Twilio> {
        let Account { account_sid, auth_token } = &options.account;
        let authorization = format!("Basic {}", STANDARD.encode(format!("{account_sid}:{auth_token}")));
        // Each call tells of one message.
        let plan = Plan { per_call: 1, ..options.receipts };
        let desk = Arc::new(Desk {
            authorization,
            clock: options.clock,
            rate: Rate::new(options.qps),
            script: Script::new(options.seed, options.rules),
            tally: Tally::new(options.keep),
            callbacks: Callbacks::start(Reports::new(options.account.clone()), plan),
            account: options.account,
            in_the_air: options.in_the_air,
            stopped: Mutex::default(),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Twilio { server, desk })
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The requests as they came, good and bad.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What was taken, and by whom.
    pub fn tally(&self) -> &Tally<Message> {
        &self.desk.tally
    }

    /// Statuses of messages without a `StatusCallback`, and replies: where they go, and what became of them.
    pub fn callbacks(&self) -> &Callbacks<Reports> {
        &self.desk.callbacks
    }

    /// A recipient answers; STOP and START mean what they say. Whether the customer took it.
    pub async fn reply(&self, from: &str, to: &str, body: &str) -> bool {
        let reply = Receipt::reply(from, to, body);
        match reply.opt_out_type() {
            Some("STOP") => _ = self.desk.stopped().insert(from.to_owned()),
            Some("START") => _ = self.desk.stopped().remove(from),
            _ => {}
        }
        self.desk.callbacks.now(reply).await
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        match self.answer(&request).await {
            Ok(reply) => reply,
            Err(refusal) => answers::refused(&refusal).into(),
        }
    }
}

impl Desk {
    fn stopped(&self) -> MutexGuard<'_, HashSet<String>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: &Request) -> Result<Reply, Refusal> {
        if request.header("authorization") != Some(&self.authorization) {
            return Err(Refusal::new(20003, "Authenticate"));
        }
        let folder = format!("/2010-04-01/Accounts/{}/Messages", self.account.account_sid);
        let rest = request.path().strip_prefix(&folder).and_then(|rest| rest.strip_suffix(".json"));
        let not_found = || Refusal::new(20404, "The requested resource was not found");
        match (request.method.clone(), rest.ok_or_else(not_found)?) {
            (Method::POST, "") => self.create(request).await,
            (Method::GET, "") => {
                let query = form::pairs(request.query()).unwrap_or_default();
                let asked = |message: &Message| form::value(&query, "To").is_none_or(|to| to == message.to);
                let found: Vec<_> = self.tally.newest().into_iter().rev().filter(asked).collect();
                Ok(answers::list(&found, &self.account.account_sid).into())
            }
            (Method::GET, sid) => {
                let newest = self.tally.newest();
                let found = newest.iter().find(|message| sid.strip_prefix('/') == Some(&message.sid));
                Ok(answers::message(found.ok_or_else(not_found)?, &self.account.account_sid, false).into())
            }
            _ => Err(Refusal::new(20004, "Method not allowed")),
        }
    }

    async fn create(&self, request: &Request) -> Result<Reply, Refusal> {
        if !self.rate.pass() {
            return Err(Refusal::new(20429, "Too Many Requests"));
        }
        let body = std::str::from_utf8(&request.body).ok().and_then(form::pairs).unwrap_or_default();
        let mut message = self.message(&body, request.number)?;
        let verdict = self.script.request(request.number).and(self.script.recipient(&message.to));
        tokio::time::sleep(verdict.wait).await;
        if let Then::Code(code) = &verdict.then {
            return Err(Refusal::new(code.parse().unwrap_or(0), "refused by the script"));
        }
        if let Some(reply) = verdict.then.before() {
            return Ok(reply);
        }
        message.error_code = verdict.receipt;
        let answer = answers::message(&message, &self.account.account_sid, true);
        self.take(message).await;
        Ok(verdict.then.after(answer))
    }

    /// The message that the form asks for.
    fn message(&self, fields: &[(String, String)], number: u64) -> Result<Message, Refusal> {
        let value = |name: &str| form::value(fields, name).unwrap_or_default().to_owned();
        let message = Message {
            sid: format!("SM{number:032x}"),
            to: value("To"),
            from: value("From"),
            messaging_service_sid: value("MessagingServiceSid"),
            body: value("Body"),
            status_callback: value("StatusCallback"),
            segments: segments(&value("Body")),
            sent_at: self.clock.seconds(),
            error_code: None,
        };
        let wrong = if message.to.is_empty() {
            Some((21604, "A 'To' phone number is required."))
        } else if message.from.is_empty() && message.messaging_service_sid.is_empty() {
            Some((21603, "A 'From' phone number is required."))
        } else if message.body.is_empty() {
            Some((21602, "Message body is required."))
        } else if message.body.encode_utf16().count() > 1600 {
            Some((21617, "The concatenated message body exceeds the 1600 character limit."))
        } else if !message.to.starts_with('+') || !plausible(&message.to) {
            Some((21211, "Invalid 'To' Phone Number"))
        } else if self.stopped().contains(&message.to) {
            Some((21610, "Attempt to send to unsubscribed recipient"))
        } else {
            None
        };
        wrong.map_or(Ok(message), |(code, text)| Err(Refusal::new(code, text)))
    }

    async fn take(&self, message: Message) {
        self.tally.take(&message.to, &message.body, message.clone());
        let end = if message.error_code.is_some() { "undelivered" } else { "delivered" };
        for (status, delay) in [("sent", Duration::ZERO), (end, self.in_the_air)] {
            let name = format!("{} {status}", message.sid);
            self.callbacks.send(&name, delay, Receipt::Status { message: message.clone(), status }).await;
        }
    }
}
