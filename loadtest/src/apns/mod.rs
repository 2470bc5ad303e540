//! Apple's push service: HTTP/2 over TLS, tokens signed with ES256, a reason for every refusal.
//!
//! It knows no idempotency and sends no receipts. Rules of the script are about notifications, numbered from 1, and
//! their codes are Apple's reasons (`TooManyRequests`).

mod notification;
mod provider_token;
mod reasons;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;
use tokio::net::ToSocketAddrs;

use crate::clock::Clock;
use crate::http::{self, Answer, Handler, Http2, Reply, Request, Server, Versions};
use crate::jwt::PublicKey;
use crate::script::{Rule, Script, Then};
use crate::tally::Tally;
use crate::tls::own_authority;
pub use notification::Notification;
use provider_token::ProviderTokens;

/// The one team and its key.
#[derive(Debug, Clone)]
pub struct Account {
    pub team_id: String,
    pub key_id: String,
    /// PEM.
    pub public_key: String,
    /// The team's apps.
    pub topics: BTreeSet<String>,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// A new provider token is refused for so many seconds after the last: Apple's 20 minutes.
    pub token_updates_apart: i64,
    pub rules: Vec<Rule>,
    pub seed: u64,
    /// Of the newest notifications this many are kept whole.
    pub keep: usize,
    /// Where it has no TLS, an authority is made: [`Apns::authority`].
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        let goodbye = Bytes::from_static(br#"{"reason":"Shutdown"}"#);
        Options {
            account: Account {
                team_id: "TEAMID1234".to_owned(),
                key_id: "KEYID12345".to_owned(),
                public_key: include_str!("../../captures/p256_test_public.pem").to_owned(),
                topics: ["com.example.app".to_owned()].into(),
            },
            clock: Clock::system(),
            token_updates_apart: 20 * 60,
            rules: Vec::new(),
            seed: 0,
            keep: 10_000,
            http: http::Options {
                versions: Versions::Http2,
                http2: Http2 { goodbye, ..Http2::default() },
                ..http::Options::default()
            },
        }
    }
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Apns {
    server: Server,
    desk: Arc<Desk>,
    authority: Option<String>,
}

#[derive(Debug)]
struct Desk {
    topics: BTreeSet<String>,
    clock: Clock,
    tokens: ProviderTokens,
    /// Devices without the app, each since this second of 1970.
    unregistered: RwLock<BTreeMap<String, i64>>,
    script: Script,
    sends: AtomicU64,
    tally: Tally<Notification>,
}

impl Apns {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound, the public key is no P-256 key in PEM, or no authority can be made.
    pub async fn start(address: impl ToSocketAddrs, mut options: Options) -> io::Result<Apns> {
        let key = PublicKey::p256(&options.account.public_key).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the public key is no P-256 key in PEM")
        })?;
        let mut authority = None;
        if options.http.tls.is_none() {
            let (tls, pem) = own_authority(&["h2"])?;
            (options.http.tls, authority) = (Some(tls), Some(pem));
        }
        let account = options.account;
        let desk = Arc::new(Desk {
            tokens: ProviderTokens::new(key, account.team_id, account.key_id, options.token_updates_apart),
            topics: account.topics,
            clock: options.clock,
            unregistered: RwLock::default(),
            script: Script::new(options.seed, options.rules),
            sends: AtomicU64::new(0),
            tally: Tally::new(options.keep),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Apns { server, desk, authority })
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The PEM of the authority to trust, where the service made one. Its names are `localhost` and `127.0.0.1`.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The requests as they came, good and bad; and the goodbye on demand.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What was taken, and by whom.
    pub fn tally(&self) -> &Tally<Notification> {
        &self.desk.tally
    }

    /// The app left this device at so many seconds since 1970: 410 `Unregistered` from now on.
    pub fn unregister(&self, device: &str, at: i64) {
        let mut gone = self.desk.unregistered.write().unwrap_or_else(PoisonError::into_inner);
        gone.insert(device.to_owned(), at);
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let number = self.sends.fetch_add(1, Ordering::Relaxed) + 1;
        let id = request.header("apns-id").map_or_else(|| new_id(number), str::to_owned);
        let mut verdict = self.script.request(number);
        let refused = match self.judged(&request) {
            Err(reason) => Some((reason.to_owned(), None)),
            Ok(notification) => {
                verdict = verdict.and(self.script.recipient(&notification.device));
                if let Some(reply) = verdict.then.before() {
                    verdict.pause().await;
                    return reply;
                }
                self.taken(notification, &id, &verdict.then)
            }
        };
        let answer = match refused {
            None => Answer::status(StatusCode::OK),
            Some((reason, since)) => refusal(&reason, since.unwrap_or_else(|| self.clock.seconds())),
        };
        verdict.pause().await;
        let id = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""));
        verdict.then.after(answer.header(HeaderName::from_static("apns-id"), id))
    }
}

impl Desk {
    /// The notification of a request that only the script and its device can refuse.
    fn judged(&self, request: &Request) -> Result<Notification, &'static str> {
        let device = notification::device(request)?;
        let authorization = request.header("authorization").unwrap_or_default();
        let token = match authorization.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token,
            _ => return Err("MissingProviderToken"),
        };
        self.tokens.check(token, self.clock.seconds())?;
        notification::read(request, device, &self.topics)
    }

    /// Counts the notification, unless there is a reason to refuse it, perhaps since a time.
    fn taken(&self, notification: Notification, id: &str, then: &Then) -> Option<(String, Option<i64>)> {
        if let Then::Code(reason) = then {
            return Some((reason.clone(), None));
        }
        let gone = self.unregistered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = gone.get(&notification.device) {
            return Some(("Unregistered".to_owned(), Some(*since)));
        }
        let notification = Notification { id: id.to_owned(), ..notification };
        self.tally.take(&notification.device.clone(), &notification.payload.to_string(), notification);
        None
    }
}

fn new_id(number: u64) -> String {
    format!("eabeae54-14a8-11e5-b60b-{number:012x}")
}

/// With the time since when a device is gone, in milliseconds.
fn refusal(reason: &str, since: i64) -> Answer {
    let status = reasons::status(reason);
    let mut body = json!({"reason": reason});
    if status == StatusCode::GONE {
        body["timestamp"] = (since * 1000).into();
    }
    Answer::json(status, &body)
}
