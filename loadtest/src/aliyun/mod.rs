//! Alibaba Cloud's SMS service (`dysmsapi`, version 2017-05-25): `SendSms`, `SendBatchSms`, `QuerySendDetails`, receipts
//! and replies.
//!
//! Takes or refuses a call as a whole, as the service does: one code a call, results by number in the receipts alone.
//! It knows no idempotency. Answers are JSON whatever `Format` says.

mod answers;
mod receipts;
mod send;
mod signature;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::ToSocketAddrs;

use crate::callback::{Callbacks, Plan};
use crate::clock::Clock;
use crate::http::{self, Handler, Reply, Request, Server, form};
use crate::quota::{Cap, Caps, Nonces, Rate, Window};
use crate::script::{Rule, Script, Then, Verdict};
use crate::sms::segments;
use crate::tally::Tally;
pub use receipts::{Receipt, Reports};

/// The one account that may send.
#[derive(Debug, Clone)]
pub struct Account {
    pub access_key_id: String,
    pub access_key_secret: String,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Approved templates by code (`Dear ${name}, ...`): others are refused, and so are missing parameters. Where
    /// there is none, every code is taken.
    pub templates: BTreeMap<String, String>,
    /// Calls a second; above it `Throttling.User`. The service's own limit is 5,000.
    pub qps: Option<f64>,
    /// Messages to one number; [`notices`] are the service's own.
    pub caps: Vec<Cap>,
    pub rules: Vec<Rule>,
    pub seed: u64,
    pub receipts: Plan,
    /// Of the newest messages this many are kept whole, and answer `QuerySendDetails`.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            account: Account {
                access_key_id: "testAccessKeyId".to_owned(),
                access_key_secret: "testAccessKeySecret".to_owned(),
            },
            clock: Clock::system(),
            templates: BTreeMap::new(),
            qps: None,
            caps: Vec::new(),
            rules: Vec::new(),
            seed: 0,
            // What the service's documentation gives the customer.
            receipts: Plan { answer_within: Duration::from_millis(700), ..Plan::default() },
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// The service's caps on one-time codes to a number: 1 a minute, 5 an hour, 10 a day.
pub fn one_time_codes() -> Vec<Cap> {
    [("分钟", Window::Clock(60), 1), ("小时", Window::Clock(3600), 5), ("天", Window::Last(86_400), 10)]
        .map(|(name, window, most)| cap(name, window, most))
        .into()
}

/// The service's cap on notices and promotions to a number: 50 a day.
pub fn notices() -> Vec<Cap> {
    vec![cap("天", Window::Last(86_400), 50)]
}

fn cap(name: &str, window: Window, most: usize) -> Cap {
    Cap {
        window,
        most,
        code: "isv.BUSINESS_LIMIT_CONTROL".to_owned(),
        message: format!("触发{name}级流控Permits:{most}"),
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub phone_number: String,
    pub sign_name: String,
    pub template_code: String,
    /// JSON, as it came; empty where absent.
    pub template_param: String,
    pub out_id: String,
    pub biz_id: String,
    /// Seconds since 1970.
    pub sent_at: i64,
    /// `DELIVERED`, or what its receipt says instead.
    pub err_code: String,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Refusal {
    /// The gateway's, with an HTTP status of its own.
    fn gateway(status: u16, code: &str, message: &str) -> Self {
        Refusal { status, code: code.to_owned(), message: message.to_owned() }
    }

    /// The service's, which answers 200.
    fn service(code: &str, message: &str) -> Self {
        Refusal::gateway(200, code, message)
    }
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Aliyun {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    account: Account,
    clock: Clock,
    templates: BTreeMap<String, String>,
    rate: Rate,
    caps: Caps,
    nonces: Nonces,
    script: Script,
    tally: Tally<Message>,
    callbacks: Callbacks<Reports>,
}

/// Nonces that are remembered: what a full rate uses within the minutes that a request stays fresh.
const NONCES: usize = 1 << 22;

impl Aliyun {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Aliyun> {
        let desk = Arc::new(Desk {
            account: options.account,
            clock: options.clock,
            templates: options.templates,
            rate: Rate::new(options.qps),
            caps: Caps::new(options.caps),
            nonces: Nonces::new(NONCES),
            script: Script::new(options.seed, options.rules),
            tally: Tally::new(options.keep),
            callbacks: Callbacks::start(Reports, options.receipts),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Aliyun { server, desk })
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

    /// Receipts: where they go, and what became of them.
    pub fn callbacks(&self) -> &Callbacks<Reports> {
        &self.desk.callbacks
    }

    /// A recipient answers (`SmsUp`). Whether the customer took it.
    pub async fn reply(&self, phone_number: &str, dest_code: &str, content: &str) -> bool {
        let at = self.desk.clock.seconds();
        let reply = Receipt::Reply {
            phone_number: phone_number.to_owned(),
            dest_code: dest_code.to_owned(),
            content: content.to_owned(),
            at,
            sequence_id: fastrand::u64(..),
        };
        self.desk.callbacks.now(reply).await
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let request_id = answers::request_id(request.number);
        let refused = |refusal: &Refusal| Reply::from(answers::refused(refusal, &request_id));
        let parameters =
            match signature::verified(&request, &self.account, &self.nonces, self.clock.seconds()) {
                Ok(parameters) => parameters,
                Err(refusal) => return refused(&refusal),
            };
        if !self.rate.pass() {
            let message = "Request was denied due to user flow control.";
            return refused(&Refusal::gateway(400, "Throttling.User", message));
        }
        let value = |name: &str| form::value(&parameters, name).unwrap_or_default();
        match (value("Version"), value("Action")) {
            ("2017-05-25", action @ ("SendSms" | "SendBatchSms")) => {
                self.send(action, &parameters, request.number, &request_id).await
            }
            ("2017-05-25", "QuerySendDetails") => {
                match send::query(&parameters, |asked| self.tally.matching(asked)) {
                    Ok((page, total)) => answers::details(&page, total, &request_id).into(),
                    Err(refusal) => refused(&refusal),
                }
            }
            _ => {
                let message = "Specified api is not found, please check your url and method.";
                refused(&Refusal::gateway(404, "InvalidAction.NotFound", message))
            }
        }
    }
}

impl Desk {
    async fn send(
        &self,
        action: &str,
        parameters: &[(String, String)],
        number: u64,
        request_id: &str,
    ) -> Reply {
        let refused = |refusal: &Refusal| Reply::from(answers::refused(refusal, request_id));
        let mut messages = match send::messages(action, parameters, &self.templates) {
            Ok(messages) => messages,
            Err(refusal) => return refused(&refusal),
        };
        let mut verdict = self.script.request(number);
        for message in &mut messages {
            let about = self.script.recipient(&message.phone_number);
            if let Some(code) = about.receipt.as_ref().or(verdict.receipt.as_ref()) {
                message.err_code.clone_from(code);
            }
            verdict = verdict.and(Verdict { receipt: None, ..about });
        }
        let reply = match self.objection(&verdict.then, &messages) {
            Some(Ok(reply)) => reply,
            Some(Err(refusal)) => refused(&refusal),
            None => {
                let biz_id = format!("{}^0", 607_300_000_000_000_000 + number);
                self.take(messages, &biz_id).await;
                verdict.then.after(answers::taken(&biz_id, request_id))
            }
        };
        verdict.pause().await;
        reply
    }

    /// What keeps a call without a fault from being taken.
    fn objection(&self, then: &Then, messages: &[Message]) -> Option<Result<Reply, Refusal>> {
        if let Then::Code(code) = then {
            return Some(Err(answers::scripted(code)));
        }
        if let Some(reply) = then.before() {
            return Some(Ok(reply));
        }
        let keys: Vec<String> = messages.iter().map(send::cap_key).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let cap = self.caps.charge(&keys, self.clock.seconds())?;
        Some(Err(Refusal::service(&cap.code, &cap.message)))
    }

    async fn take(&self, mut messages: Vec<Message>, biz_id: &str) {
        for message in &mut messages {
            biz_id.clone_into(&mut message.biz_id);
            message.sent_at = self.clock.seconds();
            let text = [&*message.sign_name, &message.template_code, &message.template_param].join("\n");
            self.tally.take(&message.phone_number, &text, message.clone());
        }
        for message in messages {
            let name = format!("{biz_id} {}", message.phone_number);
            let size = send::text(&message, &self.templates).map_or(1, |text| segments(&text));
            self.callbacks.send(&name, Duration::ZERO, Receipt::Report { message, size }).await;
        }
    }
}
