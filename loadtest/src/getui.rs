//! Getui, REST API v2: a signed call for a token, pushes to one device or to several, each with content of its own.
//!
//! A `request_id` of the last day sends nothing again. Rules of the script are about pushes' calls, numbered from 1,
//! and about devices: a code that is a word (`successed_ignore`) stands in the device's own part of the answer, a
//! number refuses the call.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::ToSocketAddrs;

use crate::bearer::Bearers;
use crate::clock::Clock;
use crate::digest::sha256_hex;
use crate::http::{self, Answer, Handler, Reply, Request, Server};
use crate::quota::Meter;
use crate::repeats::Repeats;
use crate::script::{Rule, Script, Then, Verdict};
use crate::tally::Tally;

/// Pushes in one batch.
const MOST_AT_ONCE: usize = 200;
/// A signature's time may differ from the service's by so many milliseconds.
const FRESH: i64 = 600_000;
const DAY: i64 = 86_400;

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub app_id: String,
    pub app_key: String,
    pub master_secret: String,
    pub clock: Clock,
    /// Of a new token, in seconds.
    pub token_life: i64,
    /// Calls for tokens a minute; above it 10003.
    pub auths_per_minute: Option<u64>,
    /// A repeated `request_id` is refused with 20001; else it is answered as if it were sent, as the vendor's "the
    /// message is lost" has it.
    pub refuse_repeats: bool,
    pub rules: Vec<Rule>,
    pub token_rules: Vec<Rule>,
    pub seed: u64,
    /// Of the newest messages this many are kept whole.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            app_id: "testAppId".to_owned(),
            app_key: "testAppKey".to_owned(),
            master_secret: "testMasterSecret".to_owned(),
            clock: Clock::system(),
            token_life: DAY,
            auths_per_minute: Some(100),
            refuse_repeats: false,
            rules: Vec::new(),
            token_rules: Vec::new(),
            seed: 0,
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub cid: String,
    pub request_id: String,
    pub task_id: String,
    pub push_message: Value,
    pub push_channel: Value,
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Getui {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    base: String,
    app_key: String,
    master_secret: String,
    clock: Clock,
    tokens: Bearers,
    auths: Meter,
    refuse_repeats: bool,
    repeats: Repeats<String>,
    script: Script,
    token_script: Script,
    calls: AtomicU64,
    token_calls: AtomicU64,
    tasks: AtomicU64,
    tally: Tally<Message>,
}

impl Getui {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Getui> {
        let desk = Arc::new(Desk {
            base: format!("/v2/{}/", options.app_id),
            app_key: options.app_key,
            master_secret: options.master_secret,
            clock: options.clock,
            tokens: Bearers::new("", options.token_life),
            auths: Meter::new(60, options.auths_per_minute),
            refuse_repeats: options.refuse_repeats,
            repeats: Repeats::new(DAY),
            script: Script::new(options.seed, options.rules),
            token_script: Script::new(options.seed, options.token_rules),
            calls: AtomicU64::new(0),
            token_calls: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
            tally: Tally::new(options.keep),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Getui { server, desk })
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

    /// How many tokens were given out.
    pub fn tokens(&self) -> u64 {
        self.desk.tokens.given()
    }

    /// Every token ends now.
    pub fn expire_tokens(&self) {
        self.desk.tokens.expire();
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// The service's code for a refusal, and its words.
type Refusal = (u32, &'static str);

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let route = request.path().strip_prefix(&self.base);
        let about_tokens = route == Some("auth");
        let (script, calls) =
            if about_tokens { (&self.token_script, &self.token_calls) } else { (&self.script, &self.calls) };
        let mut verdict = script.request(calls.fetch_add(1, Ordering::Relaxed) + 1);
        let done = match (&verdict.then, verdict.then.before()) {
            (_, Some(reply)) => {
                verdict.pause().await;
                return reply;
            }
            (Then::Code(code), None) => Err(scripted(code)),
            _ if request.method != Method::POST => Err((405, "method not allowed")),
            _ => match route {
                Some("auth") => self.auth(&request.body),
                Some(route @ ("push/single/cid" | "push/single/batch/cid")) => {
                    self.push(route, &request, &mut verdict)
                }
                _ => Err((404, "url not found")),
            },
        };
        verdict.pause().await;
        if let Some(reply) = verdict.then.before() {
            return reply;
        }
        verdict.then.after(match done {
            Ok(data) => Answer::json(StatusCode::OK, &json!({"code": 0, "msg": "success", "data": data})),
            Err((code, msg)) => Answer::json(status(code), &json!({"code": code, "msg": msg})),
        })
    }
}

impl Desk {
    /// <https://docs.getui.com/getui/server/rest_v2/token/>
    fn auth(&self, body: &[u8]) -> Result<Value, Refusal> {
        let now = self.clock.seconds();
        let body: Value = serde_json::from_slice(body).map_err(|_| (20001, "body is no JSON"))?;
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let (sign, timestamp) = (text("sign"), text("timestamp"));
        let time = timestamp.parse::<i64>().map_err(|_| (20001, "timestamp is invalid"))?;
        if timestamp.len() != 13 || (time - now * 1000).abs() > FRESH {
            return Err((20001, "timestamp is invalid"));
        }
        let wanted = [&self.app_key, timestamp, &self.master_secret].concat();
        if text("appkey") != self.app_key || sign != sha256_hex(wanted.as_bytes()) {
            return Err((20001, "sign is invalid"));
        }
        if !self.auths.pass(now) {
            return Err((10003, "too many auths in a minute"));
        }
        let ends = (now + self.tokens.life()) * 1000;
        Ok(json!({"token": self.tokens.give(now), "expire_time": ends.to_string()}))
    }

    fn push(&self, route: &str, request: &Request, verdict: &mut Verdict) -> Result<Value, Refusal> {
        let now = self.clock.seconds();
        if !self.tokens.alive(request.header("token").unwrap_or_default(), now) {
            return Err((10001, "token is invalid"));
        }
        let body: Value = serde_json::from_slice(&request.body).map_err(|_| (20001, "body is no JSON"))?;
        let pushes = match route {
            "push/single/cid" => std::slice::from_ref(&body),
            _ => body["msg_list"].as_array().ok_or((20001, "msg_list is invalid"))?,
        };
        if !(1..=MOST_AT_ONCE).contains(&pushes.len()) {
            return Err((20001, "msg_list is too long"));
        }
        let mut words = Vec::with_capacity(pushes.len());
        for push in pushes {
            let (cid, _) = named(push)?;
            let about = self.script.recipient(cid);
            let word = match &about.then {
                Then::Code(word) if word.parse::<u32>().is_err() => Some(word.clone()),
                Then::Code(code) => return Err(scripted(code)),
                _ => None,
            };
            words.push(word.clone());
            verdict.wait += about.wait;
            if word.is_none() {
                *verdict = std::mem::take(verdict).and(Verdict { then: about.then, ..Verdict::default() });
            }
        }
        if verdict.then.before().is_some() {
            return Ok(Value::Null);
        }
        let mut data = Map::new();
        for (push, word) in pushes.iter().zip(words) {
            let (cid, request_id) = named(push)?;
            let task_id = self.taken(push, cid, request_id, word.is_none(), now)?;
            let word = word.unwrap_or_else(|| "successed_online".to_owned());
            data.insert(task_id, json!({cid: word}));
        }
        Ok(Value::Object(data))
    }

    /// Counts the message, unless it came before or goes to nobody. Its task's id.
    fn taken(
        &self,
        push: &Value,
        cid: &str,
        request_id: &str,
        reached: bool,
        now: i64,
    ) -> Result<String, Refusal> {
        let task_id = format!("RASS_{:08}", self.tasks.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(earlier) = self.repeats.earlier(request_id, now, task_id.clone()) {
            return if self.refuse_repeats {
                Err((20001, "request_id cannot be repeat"))
            } else {
                Ok(earlier)
            };
        }
        if reached {
            let message = Message {
                cid: cid.to_owned(),
                request_id: request_id.to_owned(),
                task_id: task_id.clone(),
                push_message: push["push_message"].clone(),
                push_channel: push["push_channel"].clone(),
            };
            let text = [&push["push_message"], &push["push_channel"]].map(Value::to_string).join("\n");
            self.tally.take(cid, &text, message);
        }
        Ok(task_id)
    }
}

/// Device and `request_id` of a push that says everything it must.
fn named(push: &Value) -> Result<(&str, &str), Refusal> {
    let request_id = push["request_id"].as_str().unwrap_or_default();
    if !(10..=32).contains(&request_id.len()) {
        return Err((20001, "request_id is invalid"));
    }
    let [Value::String(cid)] = push["audience"]["cid"].as_array().map_or(&[][..], Vec::as_slice) else {
        return Err((20001, "audience is invalid"));
    };
    let message = &push["push_message"];
    let parts = ["notification", "transmission", "revoke"];
    if parts.iter().filter(|part| !message[**part].is_null()).count() != 1 {
        return Err((20001, "push_message is invalid"));
    }
    let notification = &message["notification"];
    let empty = |name: &str| notification[name].as_str().is_none_or(str::is_empty);
    if notification.is_object() && (empty("title") || empty("body") || empty("click_type")) {
        return Err((20001, "notification is invalid"));
    }
    Ok((cid, request_id))
}

/// A script's code; what is no number is the server's own failure.
fn scripted(code: &str) -> Refusal {
    let code = code.parse().unwrap_or(5000);
    (code, if code == 20001 { "target user is invalid" } else { "refused by the script" })
}

fn status(code: u32) -> StatusCode {
    match code {
        404 => StatusCode::NOT_FOUND,
        405 => StatusCode::METHOD_NOT_ALLOWED,
        10001..=10099 => StatusCode::UNAUTHORIZED,
        20001..=21999 => StatusCode::BAD_REQUEST,
        30000..=39999 => StatusCode::FORBIDDEN,
        5000 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}
