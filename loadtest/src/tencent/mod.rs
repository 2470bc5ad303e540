//! Tencent Cloud's SMS service (version 2021-01-11): `SendSms` with a code for each number, the pull actions, receipts
//! and replies.
//!
//! Always answers 200. It knows no idempotency; `SessionContext` is echoed, and receipts carry the serial number alone.

mod receipts;
mod send;
mod signature;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::ToSocketAddrs;

use crate::callback::{Callbacks, Plan};
use crate::clock::Clock;
use crate::http::{self, Answer, Handler, Reply, Request, Server};
use crate::quota::{Cap, Caps, Rate, Window};
use crate::script::{Rule, Script, Then, Verdict};
use crate::sms::segments;
use crate::tally::Tally;
pub use receipts::{Receipt, Reports};

/// The one account that may send, and its application.
#[derive(Debug, Clone)]
pub struct Account {
    pub secret_id: String,
    pub secret_key: String,
    pub sdk_app_id: String,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Approved templates by id (`Dear {1}, ...`): others are refused, and so are other counts of parameters. Where
    /// there is none, every id is taken.
    pub templates: BTreeMap<String, String>,
    /// Templates of marketing, which go from 8 to 22 o'clock in Beijing alone.
    pub marketing: BTreeSet<String>,
    /// Calls a second; above it `RequestLimitExceeded`. The service's own limit is 3,000.
    pub qps: Option<f64>,
    /// Messages to one number.
    pub caps: Vec<Cap>,
    /// Messages with one text to one number; [`same_content`] is the service's own.
    pub content_caps: Vec<Cap>,
    pub rules: Vec<Rule>,
    pub seed: u64,
    pub receipts: Plan,
    /// Of the newest messages this many are kept whole, and answer the pull actions.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            account: Account {
                secret_id: "AKIDtestSecretId".to_owned(),
                secret_key: "testSecretKey".to_owned(),
                sdk_app_id: "1400006666".to_owned(),
            },
            clock: Clock::system(),
            templates: BTreeMap::new(),
            marketing: BTreeSet::new(),
            qps: None,
            caps: Vec::new(),
            content_caps: Vec::new(),
            rules: Vec::new(),
            seed: 0,
            receipts: Plan::default(),
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// The service's default cap on one text to one number: 1 in 30 seconds.
pub fn same_content() -> Vec<Cap> {
    vec![Cap {
        window: Window::Last(30),
        most: 1,
        code: "LimitExceeded.PhoneNumberThirtySecondLimit".to_owned(),
        message: "the number of sms messages sent from a single mobile number within 30 seconds exceeds the upper limit".to_owned(),
    }]
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// With `+` and the country's code.
    pub phone_number: String,
    pub sign_name: String,
    pub template_id: String,
    pub template_params: Vec<String>,
    pub session_context: String,
    pub serial_no: String,
    /// Seconds since 1970.
    pub sent_at: i64,
    /// `DELIVRD`, or what its receipt says instead.
    pub description: String,
}

/// Why a call, or a number, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    fn new(code: &str, message: &str) -> Self {
        Refusal { code: code.to_owned(), message: message.to_owned() }
    }

    fn scripted(code: &str) -> Self {
        Refusal::new(code, "refused by the script")
    }
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Tencent {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    account: Account,
    clock: Clock,
    templates: BTreeMap<String, String>,
    marketing: BTreeSet<String>,
    rate: Rate,
    caps: Caps,
    content_caps: Caps,
    script: Script,
    tally: Tally<Message>,
    callbacks: Callbacks<Reports>,
    keep: usize,
    /// What `PullSmsSendStatus` and `PullSmsReplyStatus` have not given yet; the oldest goes where there is no room.
    statuses: Mutex<VecDeque<Value>>,
    replies: Mutex<VecDeque<Value>>,
}

impl Tencent {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Tencent> {
        let desk = Arc::new(Desk {
            account: options.account,
            clock: options.clock,
            templates: options.templates,
            marketing: options.marketing,
            rate: Rate::new(options.qps),
            caps: Caps::new(options.caps),
            content_caps: Caps::new(options.content_caps),
            script: Script::new(options.seed, options.rules),
            tally: Tally::new(options.keep),
            callbacks: Callbacks::start(Reports, options.receipts),
            keep: options.keep,
            statuses: Mutex::default(),
            replies: Mutex::default(),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Tencent { server, desk })
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

    /// A recipient answers, to be posted and to be pulled. Whether the customer took the call.
    pub async fn reply(&self, phone_number: &str, sign: &str, text: &str) -> bool {
        let reply = Receipt::Reply {
            phone_number: phone_number.to_owned(),
            sign: sign.to_owned(),
            text: text.to_owned(),
            at: self.desk.clock.seconds(),
        };
        self.desk.keep(&self.desk.replies, reply.pulled());
        self.desk.callbacks.now(reply).await
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let request_id = format!("a0aabda6-cf91-4f3e-a81f-{:012x}", request.number);
        let verdict = self.script.request(request.number);
        let mut then = verdict.then.clone();
        let answered = match self.judged(&request, &verdict.then) {
            Ok(call) => {
                if let Some(reply) = verdict.then.before() {
                    verdict.pause().await;
                    return reply;
                }
                self.act(&request, &call, verdict.receipt.as_deref(), &mut then).await
            }
            Err(refusal) => Err(refusal),
        };
        let mut response = answered
            .unwrap_or_else(|Refusal { code, message }| json!({"Error": {"Code": code, "Message": message}}));
        response["RequestId"] = request_id.into();
        verdict.pause().await;
        then.after(Answer::json(StatusCode::OK, &json!({"Response": response})))
    }
}

impl Desk {
    /// The body of a request that may be acted on.
    fn judged(&self, request: &Request, then: &Then) -> Result<Value, Refusal> {
        signature::verify(request, &self.account, self.clock.seconds())?;
        if !self.rate.pass() {
            return Err(Refusal::new("RequestLimitExceeded", "Your current request times exceed the limit."));
        }
        if request.header("x-tc-version") != Some("2021-01-11") {
            return Err(Refusal::new("NoSuchVersion", "The API version does not exist."));
        }
        if let Then::Code(code) = then {
            return Err(Refusal::scripted(code));
        }
        let body: Value = serde_json::from_slice(&request.body)
            .map_err(|_| Refusal::new("InvalidParameter", "The request is not valid JSON."))?;
        if body["SmsSdkAppId"] != self.account.sdk_app_id.as_str() {
            let message = "SmsSdkAppId is not one of the account's.";
            return Err(Refusal::new("UnauthorizedOperation.SmsSdkAppIdVerifyFail", message));
        }
        Ok(body)
    }

    /// `then` is what becomes of the answer.
    async fn act(
        &self,
        request: &Request,
        call: &Value,
        receipt: Option<&str>,
        then: &mut Then,
    ) -> Result<Value, Refusal> {
        match request.header("x-tc-action") {
            Some("SendSms") => self.send(call, request.number, receipt, then).await,
            Some("PullSmsSendStatus") => {
                Ok(json!({"PullSmsSendStatusSet": self.pull(&self.statuses, call)?}))
            }
            Some("PullSmsReplyStatus") => {
                Ok(json!({"PullSmsReplyStatusSet": self.pull(&self.replies, call)?}))
            }
            Some("PullSmsSendStatusByPhoneNumber") => {
                Ok(json!({"PullSmsSendStatusSet": self.by_number(call)}))
            }
            _ => Err(Refusal::new("InvalidAction", "The request action is invalid.")),
        }
    }

    /// A cut after one recipient was taken ends the whole call.
    async fn send(
        &self,
        call: &Value,
        number: u64,
        receipt: Option<&str>,
        then: &mut Then,
    ) -> Result<Value, Refusal> {
        let messages = send::messages(call)?;
        let mut set = Vec::with_capacity(messages.len());
        let mut taken = Vec::with_capacity(messages.len());
        let mut slow = Verdict::default();
        for (index, mut message) in messages.into_iter().enumerate() {
            let about = self.script.recipient(&message.phone_number);
            slow.wait += about.wait;
            message.sent_at = self.clock.seconds();
            if let Some(code) = about.receipt.as_deref().or(receipt) {
                code.clone_into(&mut message.description);
            }
            let refused = match about.then {
                Then::Code(code) => Some(Refusal::scripted(&code)),
                cut @ (Then::CutAfter | Then::CutInAnswer) => {
                    *then = cut;
                    self.refusal(&message)
                }
                _ => self.refusal(&message),
            };
            if refused.is_none() {
                message.serial_no = format!("5000:{number:018}{index:03}");
            }
            let parts = send::text(&message, &self.templates).map_or(1, |text| segments(&text));
            set.push(send::status(&message, parts, refused.as_ref()));
            if refused.is_none() {
                self.tally.take(&message.phone_number, &send::content(&message), message.clone());
                taken.push(message);
            }
        }
        for message in taken {
            let name = message.serial_no.clone();
            let receipt = Receipt::Status(message);
            self.keep(&self.statuses, receipt.pulled());
            self.callbacks.send(&name, Duration::ZERO, receipt).await;
        }
        slow.pause().await;
        Ok(json!({"SendStatusSet": set}))
    }

    /// Why this message is not taken.
    fn refusal(&self, message: &Message) -> Option<Refusal> {
        let wrong = send::wrong(message, &self.templates, self.marketing.contains(&message.template_id));
        let content = [&*message.phone_number, &send::content(message)].join("\n");
        let capped = || {
            let cap = self.caps.charge(&[&message.phone_number], message.sent_at);
            cap.or_else(|| self.content_caps.charge(&[&content], message.sent_at))
        };
        wrong.or_else(|| capped().map(|cap| Refusal::new(&cap.code, &cap.message)))
    }

    fn keep(&self, pulled: &Mutex<VecDeque<Value>>, value: Value) {
        let mut waiting = pulled.lock().unwrap_or_else(PoisonError::into_inner);
        if self.keep > 0 {
            if waiting.len() == self.keep {
                waiting.pop_front();
            }
            waiting.push_back(value);
        }
    }

    /// The asked page of the statuses of one number.
    fn by_number(&self, call: &Value) -> Vec<Value> {
        let sent = self.tally.matching(|message| call["PhoneNumber"] == message.phone_number.as_str());
        send::page(call, &sent)
    }

    /// At most `Limit` of what waits; each is given once.
    fn pull(&self, waiting: &Mutex<VecDeque<Value>>, call: &Value) -> Result<Vec<Value>, Refusal> {
        let limit = call["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=100).contains(limit));
        let limit = limit.ok_or_else(|| Refusal::new("InvalidParameterValue", "Limit is 1 to 100."))?;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let given = limit.min(waiting.len());
        Ok(waiting.drain(..given).collect())
    }
}
