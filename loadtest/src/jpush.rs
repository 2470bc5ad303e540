//! JPush, REST API v3: pushes to registration ids, many in one call or each with content of its own.
//!
//! A `cid` of the last day is answered as the first was, and not sent. Rules of the script are about calls, numbered
//! from 1, and about registration ids: one that is bad fails its own push in a batch, is left out of a push to several,
//! and fails a push to itself alone.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::ToSocketAddrs;

use crate::clock::Clock;
use crate::http::{self, Answer, Handler, Reply, Request, Server, form};
use crate::quota::Meter;
use crate::repeats::Repeats;
use crate::script::{Rule, Script, Then, Verdict};
use crate::tally::Tally;

/// Registration ids in one push, and pushes in one batch.
const MOST_AT_ONCE: usize = 1000;
/// Bytes of notification and message together.
const MOST_BYTES: usize = 4000;
/// A `cid` is known for so many seconds.
const DAY: i64 = 86_400;

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub app_key: String,
    pub master_secret: String,
    pub clock: Clock,
    /// Calls a minute, told in headers; above it 2002. The service's own limit is 600 without a contract.
    pub per_minute: Option<u64>,
    pub rules: Vec<Rule>,
    pub seed: u64,
    /// Of the newest messages this many are kept whole.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            app_key: "appkey00000000000000abcd".to_owned(),
            master_secret: "mastersecret000000000000".to_owned(),
            clock: Clock::system(),
            per_minute: None,
            rules: Vec::new(),
            seed: 0,
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// A message that was taken, by one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub registration_id: String,
    /// Empty where absent.
    pub cid: String,
    pub msg_id: String,
    /// `notification`, `message` and `options` as they came.
    pub body: Value,
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Jpush {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    app_key: String,
    authorization: String,
    clock: Clock,
    per_minute: Meter,
    limited: bool,
    repeats: Repeats<String>,
    script: Script,
    calls: AtomicU64,
    ids: AtomicU64,
    tally: Tally<Message>,
}

impl Jpush {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Jpush> {
        let credentials = STANDARD.encode(format!("{}:{}", options.app_key, options.master_secret));
        let desk = Arc::new(Desk {
            authorization: format!("Basic {credentials}"),
            app_key: options.app_key,
            clock: options.clock,
            per_minute: Meter::new(60, options.per_minute),
            limited: options.per_minute.is_some(),
            repeats: Repeats::new(DAY),
            script: Script::new(options.seed, options.rules),
            calls: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            tally: Tally::new(options.keep),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Jpush { server, desk })
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

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// The service's code for a refusal.
type Code = u32;

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let now = self.clock.seconds();
        let mut verdict = Verdict::default();
        let answer = match self.judged(&request, now) {
            Err(code) => refused(code),
            Ok(()) if request.path() == "/v3/push/cid" => self.cids(request.query()),
            Ok(()) => {
                let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
                verdict = self.script.request(number);
                match (&verdict.then, verdict.then.before()) {
                    (_, Some(reply)) => {
                        verdict.pause().await;
                        return reply;
                    }
                    (Then::Code(code), None) => refused(number_of(code)),
                    _ => {
                        let done = self.act(&request, now, &mut verdict);
                        // A rule about a device may cut the call, too.
                        if let Some(reply) = verdict.then.before() {
                            verdict.pause().await;
                            return reply;
                        }
                        done.map_or_else(refused, |body| Answer::json(StatusCode::OK, &body))
                    }
                }
            }
        };
        verdict.pause().await;
        verdict.then.after(self.with_rate(answer, now))
    }
}

impl Desk {
    fn judged(&self, request: &Request, now: i64) -> Result<(), Code> {
        if request.header("authorization") != Some(&self.authorization) {
            return Err(1004);
        }
        let wanted = match request.path() {
            "/v3/push/cid" => Method::GET,
            "/v3/push" | "/v3/push/validate" | "/v3/push/batch/regid/single" => Method::POST,
            _ => return Err(1003),
        };
        match () {
            () if request.method != wanted => Err(1001),
            () if !self.per_minute.pass(now) => Err(2002),
            () => Ok(()),
        }
    }

    fn cids(&self, query: &str) -> Answer {
        let pairs = form::pairs(query).unwrap_or_default();
        let count = form::value(&pairs, "count").unwrap_or("1").parse::<usize>();
        let Some(count) = count.ok().filter(|count| (1..=MOST_AT_ONCE).contains(count)) else {
            return refused(1003);
        };
        let cid = || format!("{}-{}", self.app_key, uuid(fastrand::u128(..)));
        let cids: Vec<_> = (0..count).map(|_| cid()).collect();
        Answer::json(StatusCode::OK, &json!({"cidlist": cids}))
    }

    fn act(&self, request: &Request, now: i64, verdict: &mut Verdict) -> Result<Value, Code> {
        let body: Value = serde_json::from_slice(&request.body).map_err(|_| 1003_u32)?;
        if request.path() == "/v3/push/batch/regid/single" {
            let pushes = body["pushlist"].as_object().filter(|pushes| !pushes.is_empty()).ok_or(1002_u32)?;
            if pushes.len() > MOST_AT_ONCE {
                return Err(1003);
            }
            let mut looked = Vec::with_capacity(pushes.len());
            for (cid, push) in pushes {
                let ids = push["target"].as_str().map(|id| vec![id]).ok_or(1002_u32);
                looked.push((cid, push, ids.and_then(|ids| self.reached(push, ids, verdict))));
            }
            if verdict.then.before().is_some() {
                return Ok(Value::Null);
            }
            let mut answers = Map::new();
            for (cid, push, reached) in looked {
                let answer = reached.map(|ids| json!({"msg_id": self.sent(push, cid, &ids, now)}));
                answers.insert(cid.clone(), answer.unwrap_or_else(error));
            }
            return Ok(Value::Object(answers));
        }
        let ids = body["audience"]["registration_id"].as_array().ok_or(1002_u32)?;
        let ids: Option<Vec<_>> = ids.iter().map(Value::as_str).collect();
        let ids = ids.filter(|ids| (1..=MOST_AT_ONCE).contains(&ids.len())).ok_or(1003_u32)?;
        let cid = body["cid"].as_str().unwrap_or_default();
        if request.path() == "/v3/push/validate" {
            checked(&body)?;
            return Ok(json!({"sendno": "0", "msg_id": "0"}));
        }
        let ids = self.reached(&body, ids, verdict)?;
        if verdict.then.before().is_some() {
            return Ok(Value::Null);
        }
        let msg_id = self.sent(&body, cid, &ids, now);
        Ok(json!({"sendno": body["options"]["sendno"].as_i64().unwrap_or(0).to_string(), "msg_id": msg_id}))
    }

    /// Those of the devices that a push reaches, or why it reaches none.
    fn reached<'a>(
        &self,
        push: &Value,
        ids: Vec<&'a str>,
        verdict: &mut Verdict,
    ) -> Result<Vec<&'a str>, Code> {
        checked(push)?;
        let mut bad = None;
        let mut good = Vec::with_capacity(ids.len());
        for id in ids {
            let about = self.script.recipient(id);
            verdict.wait += about.wait;
            match about.then {
                Then::Code(code) => bad = Some(number_of(&code)),
                then => {
                    *verdict = std::mem::take(verdict).and(Verdict { then, ..Verdict::default() });
                    good.push(id);
                }
            }
        }
        match bad {
            Some(code) if good.is_empty() => Err(code),
            _ => Ok(good),
        }
    }

    /// Sends one push to these devices, unless its `cid` came before. Its id.
    fn sent(&self, push: &Value, cid: &str, ids: &[&str], now: i64) -> String {
        let msg_id = (18_100_000_000_000_000 + self.ids.fetch_add(1, Ordering::Relaxed)).to_string();
        if !cid.is_empty()
            && let Some(earlier) = self.repeats.earlier(cid, now, msg_id.clone())
        {
            return earlier;
        }
        let body = json!({
            "notification": push["notification"], "message": push["message"], "options": push["options"],
        });
        let text = [&push["notification"], &push["message"]].map(Value::to_string).join("\n");
        for id in ids {
            let message = Message {
                registration_id: (*id).to_owned(),
                cid: cid.to_owned(),
                msg_id: msg_id.clone(),
                body: body.clone(),
            };
            self.tally.take(id, &text, message);
        }
        msg_id
    }

    fn with_rate(&self, answer: Answer, now: i64) -> Answer {
        if !self.limited {
            return answer;
        }
        let header = |answer: Answer, name, value: u64| {
            answer.header(HeaderName::from_static(name), HeaderValue::from(value))
        };
        let reset = u64::try_from(self.per_minute.renewed_in(now)).unwrap_or_default();
        let answer = header(answer, "x-rate-limit-limit", self.per_minute.most());
        let answer = header(answer, "x-rate-limit-remaining", self.per_minute.left(now));
        header(answer, "x-rate-limit-reset", reset)
    }
}

/// What every push needs.
fn checked(push: &Value) -> Result<(), Code> {
    let platform = &push["platform"];
    let known =
        |name: &Value| matches!(name.as_str(), Some("android" | "ios" | "winphone" | "quickapp" | "hmos"));
    match platform {
        Value::Null => return Err(1002),
        Value::String(all) if all == "all" => {}
        Value::Array(names) if !names.is_empty() && names.iter().all(known) => {}
        _ => return Err(1003),
    }
    let content = [&push["notification"], &push["message"]];
    if content.iter().all(|part| part.is_null()) {
        return Err(1002);
    }
    let bytes: usize = content.iter().filter(|part| !part.is_null()).map(|part| part.to_string().len()).sum();
    if bytes > MOST_BYTES { Err(1005) } else { Ok(()) }
}

/// A script's code; what is no number is the server's own failure.
fn number_of(code: &str) -> Code {
    code.parse().unwrap_or(1000)
}

fn error(code: Code) -> Value {
    json!({"error": {"code": code, "message": told(code).1}})
}

fn refused(code: Code) -> Answer {
    let status = StatusCode::from_u16(told(code).0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer::json(status, &error(code))
}

/// Status and words of a code. <https://docs.jiguang.cn/jpush/server/push/rest_api_v3_push>, section "return codes"
fn told(code: Code) -> (u16, &'static str) {
    match code {
        1001 => (405, "Only support HTTP Post method"),
        1002 => (400, "Missing parameter"),
        1003 => (400, "Parameter value is invalid"),
        1004 => (401, "Authentication failed"),
        1005 => (400, "Push message exceeds limit"),
        1008 => (400, "app_key is not a valid app_key"),
        1009 => (400, "Push object contains an unsupported key"),
        1011 => (400, "cannot find user by this audience"),
        1020 => (404, "Only support HTTPS"),
        1030 => (503, "Internal service timeout"),
        2002 => (429, "Rate limit exceeded"),
        2003 => (403, "app_key is blocked by the service"),
        2008 => (403, "No permission to use this API"),
        _ => (500, "Internal service error"),
    }
}

fn uuid(bits: u128) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bits.to_be_bytes().iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}
