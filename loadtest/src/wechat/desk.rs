//! The service behind the routes: what it knows, and what it answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::events::{Event, Events, What};
use super::safe::Safe;
use super::send::{self, Kind, Message, Refusal};
use super::tokens::{Mode, Tokens};
use super::{Account, Options};
use crate::callback::Callbacks;
use crate::clock::Clock;
use crate::http::{Answer, Handler, Reply, Request, form};
use crate::quota::Meter;
use crate::repeats::Repeats;
use crate::script::{Script, Then};
use crate::tally::Tally;

/// Message ids are above 2^53: a customer that reads them as floating point loses them.
const FIRST_MSGID: u64 = 3_428_411_849_815_000_000;
/// A `client_msg_id` is known for so many seconds.
const REPEATED_WITHIN: i64 = 600;
/// A text lets so many customer-service messages through, for so many seconds.
const REPLIES: u32 = 5;
const REPLIED_WITHIN: i64 = 48 * 3600;

#[derive(Debug)]
pub(super) struct Desk {
    account: Account,
    pub(super) clock: Clock,
    templates: BTreeMap<String, Vec<String>>,
    pub(super) tokens: Tokens,
    daily: Meter,
    per_minute: Meter,
    at_once: usize,
    inside: AtomicUsize,
    repeats: Repeats<u64>,
    repeated: Option<i64>,
    opt_in: bool,
    followers: Mutex<Followers>,
    script: Script,
    token_script: Script,
    /// Requests so far: for messages, and for tokens.
    sends: AtomicU64,
    token_calls: AtomicU64,
    msgids: AtomicU64,
    pub(super) tally: Tally<Message>,
    pub(super) callbacks: Callbacks<Events>,
}

/// What the script and the calls of the test said about people: no more than they named.
#[derive(Debug, Default)]
pub(super) struct Followers {
    pub(super) left: HashSet<String>,
    /// Consents that are left, by openid and template.
    agreed: HashMap<(String, String), u32>,
    /// When someone wrote last, and how many messages that still lets through.
    wrote: HashMap<String, (i64, u32)>,
}

/// Counts one message less when it has been answered.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    pub(super) fn new(options: Options) -> io::Result<Self> {
        let account = options.account;
        let safe = match &account.encoding_aes_key {
            None => None,
            Some(key) => Some(Safe::new(key, &account.app_id).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "an EncodingAESKey is 43 characters of base64")
            })?),
        };
        let events = Events {
            original_id: account.original_id.clone(),
            token: account.token.clone(),
            safe,
            clock: options.clock.clone(),
        };
        Ok(Desk {
            tokens: Tokens::new(options.token_life),
            account,
            clock: options.clock,
            templates: options.templates,
            daily: Meter::new(86_400, options.daily),
            per_minute: Meter::new(60, options.per_minute),
            at_once: options.at_once.unwrap_or(usize::MAX),
            inside: AtomicUsize::new(0),
            repeats: Repeats::new(REPEATED_WITHIN),
            repeated: options.repeated,
            opt_in: options.opt_in,
            followers: Mutex::default(),
            script: Script::new(options.seed, options.rules),
            token_script: Script::new(options.seed, options.token_rules),
            sends: AtomicU64::new(0),
            token_calls: AtomicU64::new(0),
            msgids: AtomicU64::new(FIRST_MSGID),
            tally: Tally::new(options.keep),
            callbacks: Callbacks::start(events, crate::callback::Plan { per_call: 1, ..options.receipts }),
        })
    }

    pub(super) fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn tell(&self, openid: &str, what: What) -> bool {
        let event = Event { openid: openid.to_owned(), at: self.clock.seconds(), what };
        self.callbacks.now(event).await
    }

    /// Notes that someone wrote; the id of what was written.
    pub(super) fn wrote(&self, openid: &str) -> u64 {
        self.followers().wrote.insert(openid.to_owned(), (self.clock.seconds(), REPLIES));
        self.msgid()
    }

    pub(super) fn agreed(&self, openid: &str, template_id: &str, accepted: bool) {
        let key = (openid.to_owned(), template_id.to_owned());
        let mut followers = self.followers();
        if accepted {
            *followers.agreed.entry(key).or_default() += 1;
        } else {
            followers.agreed.remove(&key);
        }
    }

    pub(super) async fn check_url(&self) -> bool {
        let (query, _, _) = self.callbacks.callback().signed();
        let echo = fastrand::u64(..).to_string();
        let answer = self.callbacks.get(&format!("{query}&echostr={echo}")).await;
        answer.is_some_and(|answer| answer == echo.as_bytes())
    }

    fn msgid(&self) -> u64 {
        self.msgids.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        if let Some(kind) = Kind::of(request.path()) {
            return self.send(kind, &request).await;
        }
        match request.path() {
            "/cgi-bin/token" | "/cgi-bin/stable_token" => self.token(&request).await,
            "/cgi-bin/openapi/quota/get" => self.quota(&request).into(),
            "/cgi-bin/clear_quota" => self.clear(&request).into(),
            _ => refused(&40066.into(), request.number).into(),
        }
    }
}

impl Desk {
    async fn token(&self, request: &Request) -> Reply {
        let number = self.token_calls.fetch_add(1, Ordering::Relaxed) + 1;
        let verdict = self.token_script.request(number);
        if let Some(reply) = verdict.then.before() {
            verdict.pause().await;
            return reply;
        }
        let given = match &verdict.then {
            Then::Code(code) => Err(errcode(code)),
            _ => self.asked_by(request).and_then(|mode| self.tokens.give(mode, self.clock.seconds())),
        };
        let answer = match given {
            Ok((token, life)) => json_answer(&json!({"access_token": token, "expires_in": life})),
            Err(code) => refused(&code.into(), request.number),
        };
        verdict.pause().await;
        verdict.then.after(answer)
    }

    /// How a call for a token asks; the errcode where it is not the account's.
    fn asked_by(&self, request: &Request) -> Result<Mode, i64> {
        let (app_id, secret, grant, mode) = if request.path() == "/cgi-bin/token" {
            let pairs = form::pairs(request.query()).unwrap_or_default();
            let value = |name| form::value(&pairs, name).unwrap_or_default().to_owned();
            (value("appid"), value("secret"), value("grant_type"), Mode::Plain)
        } else {
            if request.method != Method::POST {
                return Err(43002);
            }
            let body: Value = serde_json::from_slice(&request.body).map_err(|_| 47001)?;
            let value = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let mode = if body["force_refresh"] == true { Mode::Forced } else { Mode::Stable };
            (value("appid"), value("secret"), value("grant_type"), mode)
        };
        match () {
            () if grant != "client_credential" => Err(40002),
            () if app_id.is_empty() => Err(41002),
            () if secret.is_empty() => Err(41004),
            () if app_id != self.account.app_id => Err(40013),
            () if secret != self.account.secret => Err(40125),
            () => Ok(mode),
        }
    }

    fn authorized(&self, request: &Request) -> Result<(), i64> {
        if request.method != Method::POST {
            return Err(43002);
        }
        let pairs = form::pairs(request.query()).unwrap_or_default();
        let token = form::value(&pairs, "access_token").unwrap_or_default();
        self.tokens.check(token, self.clock.seconds())
    }

    async fn send(&self, kind: Kind, request: &Request) -> Reply {
        let number = self.sends.fetch_add(1, Ordering::Relaxed) + 1;
        let mut verdict = self.script.request(number);
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        let _place = Place(&self.inside);
        let answer = match self.judged(kind, request, inside) {
            Err(refusal) => refused(&refusal, request.number),
            Ok(mut message) => {
                let about = self.script.recipient(&message.to);
                verdict = verdict.and(about);
                if let Some(reply) = verdict.then.before() {
                    verdict.pause().await;
                    return reply;
                }
                if let Some(status) = &verdict.receipt {
                    message.status.clone_from(status);
                }
                match &verdict.then {
                    Then::Code(code) => refused(&errcode(code).into(), request.number),
                    _ => self.taken(message, request.number).await,
                }
            }
        };
        verdict.pause().await;
        verdict.then.after(answer)
    }

    /// The message of a request that nothing keeps from being taken but the script and who gets it.
    fn judged(&self, kind: Kind, request: &Request, inside: usize) -> Result<Message, Refusal> {
        self.authorized(request)?;
        if inside > self.at_once {
            return Err((-1).into());
        }
        let message = send::message(kind, &request.body, &self.templates)?;
        let now = self.clock.seconds();
        if !self.per_minute.pass(now) {
            return Err(45011.into());
        }
        if kind == Kind::Template && !self.daily.pass(now) {
            return Err(45009.into());
        }
        Ok(message)
    }

    async fn taken(&self, mut message: Message, number: u64) -> Answer {
        message.msgid = self.msgid();
        message.sent_at = self.clock.seconds();
        if let Some(code) = self.unwanted(&message) {
            return refused(&code.into(), number);
        }
        if message.kind == Kind::Template && !message.client_msg_id.is_empty() {
            let key = [&*message.to, &message.client_msg_id].join("\n");
            if let Some(msgid) = self.repeats.earlier(&key, message.sent_at, message.msgid) {
                return match self.repeated {
                    Some(code) => refused(&code.into(), number),
                    None => sent(Kind::Template, msgid),
                };
            }
        }
        self.tally.take(&message.to, &message.text(), message.clone());
        let Message { kind, to, template_id, msgid, sent_at, status, .. } = message;
        let what = match kind {
            Kind::Template => What::Finished { msgid, status },
            Kind::Subscribe => {
                let error_code = if status == "success" { "0".to_owned() } else { status };
                What::Sent { msgid, template_id, error_code }
            }
            Kind::Custom => return sent(kind, msgid),
        };
        let event = Event { openid: to, at: sent_at, what };
        self.callbacks.send(&msgid.to_string(), Duration::ZERO, event).await;
        sent(kind, msgid)
    }

    /// The errcode where this follower gets no such message.
    fn unwanted(&self, message: &Message) -> Option<i64> {
        let mut followers = self.followers();
        let left = followers.left.contains(&message.to);
        match message.kind {
            Kind::Custom if left => Some(45015),
            _ if left => Some(43004),
            Kind::Subscribe if self.opt_in => {
                let key = (message.to.clone(), message.template_id.clone());
                match followers.agreed.get_mut(&key) {
                    Some(consents) if *consents > 0 => *consents -= 1,
                    _ => return Some(43101),
                }
                None
            }
            Kind::Custom if self.opt_in => match followers.wrote.get_mut(&message.to) {
                Some((at, _)) if message.sent_at - *at >= REPLIED_WITHIN => Some(45015),
                Some((_, 0)) => Some(45047),
                Some((_, replies)) => {
                    *replies -= 1;
                    None
                }
                None => Some(45015),
            },
            _ => None,
        }
    }

    fn quota(&self, request: &Request) -> Answer {
        if let Err(code) = self.authorized(request) {
            return refused(&code.into(), request.number);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if body["cgi_path"] != "/cgi-bin/message/template/send" {
            return refused(&76021.into(), request.number);
        }
        let (most, left) = (self.daily.most(), self.daily.left(self.clock.seconds()));
        let quota = json!({"daily_limit": most, "used": most - left, "remain": left});
        json_answer(&json!({"errcode": 0, "errmsg": "ok", "quota": quota}))
    }

    fn clear(&self, request: &Request) -> Answer {
        let code = self.authorized(request).map_or_else(|code| code, |()| 0);
        if code == 0 {
            self.daily.clear();
        }
        refused(&code.into(), request.number)
    }
}

/// A script's code; what is no number is a busy system.
fn errcode(code: &str) -> i64 {
    code.parse().unwrap_or(-1)
}

fn json_answer(body: &Value) -> Answer {
    Answer::status(StatusCode::OK).content("application/json; encoding=utf-8", body.to_string())
}

fn sent(kind: Kind, msgid: u64) -> Answer {
    json_answer(&match kind {
        Kind::Template => json!({"errcode": 0, "errmsg": "ok", "msgid": msgid}),
        Kind::Subscribe | Kind::Custom => json!({"errcode": 0, "errmsg": "ok"}),
    })
}

fn refused(refusal: &Refusal, number: u64) -> Answer {
    let words = refusal.detail.as_deref().unwrap_or_else(|| send::words(refusal.code));
    let errmsg = match refusal.code {
        0 => words.to_owned(),
        _ => format!("{words} rid: {number:08x}-0a5c4f6e-2e0e2a62"),
    };
    json_answer(&json!({"errcode": refusal.code, "errmsg": errmsg}))
}
