//! Firebase Cloud Messaging, HTTP v1: the token endpoint of Google's OAuth and `messages:send`.
//!
//! It knows no idempotency and sends no receipts. Rules of the script are about messages, numbered from 1, and their
//! codes are FCM's (`UNREGISTERED`), or `BAD_REQUEST` for a request that is wrong; those of `token_rules` are about
//! calls for tokens.

mod answers;
mod message;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::net::ToSocketAddrs;

use crate::bearer::Bearers;
use crate::clock::Clock;
use crate::http::{self, Answer, Handler, Reply, Request, Server, Versions, form};
use crate::jwt::PublicKey;
use crate::quota::Meter;
use crate::script::{Rule, Script, Then};
use crate::tally::Tally;
use answers::Refusal;
pub use message::Message;

/// The one service account.
#[derive(Debug, Clone)]
pub struct Account {
    pub project_id: String,
    pub client_email: String,
    /// PEM.
    pub public_key: String,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Of a new access token, in seconds.
    pub token_life: i64,
    /// Messages a minute; above it `QUOTA_EXCEEDED`. The service's own limit is 600,000.
    pub per_minute: Option<u64>,
    /// `Retry-After` of answers 429 and 503, in seconds.
    pub retry_after: Option<u64>,
    pub rules: Vec<Rule>,
    pub token_rules: Vec<Rule>,
    pub seed: u64,
    /// Of the newest messages this many are kept whole.
    pub keep: usize,
    /// HTTP/1.1 and HTTP/2 are both spoken unless it says otherwise.
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            account: Account {
                project_id: "test-proj".to_owned(),
                client_email: "fcm@test-proj.iam.gserviceaccount.com".to_owned(),
                public_key: include_str!("../../captures/rsa_test_public.pem").to_owned(),
            },
            clock: Clock::system(),
            token_life: 3599,
            per_minute: None,
            retry_after: None,
            rules: Vec::new(),
            token_rules: Vec::new(),
            seed: 0,
            keep: 10_000,
            http: http::Options { versions: Versions::Both, ..http::Options::default() },
        }
    }
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Fcm {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    account: Account,
    key: PublicKey,
    clock: Clock,
    tokens: Bearers,
    per_minute: Meter,
    retry_after: Option<u64>,
    unregistered: RwLock<BTreeSet<String>>,
    script: Script,
    token_script: Script,
    sends: AtomicU64,
    token_calls: AtomicU64,
    tally: Tally<Message>,
}

impl Fcm {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound, or the public key is no RSA key in PEM.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Fcm> {
        let key = PublicKey::rsa(&options.account.public_key).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the public key is no RSA key in PEM")
        })?;
        let desk = Arc::new(Desk {
            account: options.account,
            key,
            clock: options.clock,
            tokens: Bearers::new("ya29.", options.token_life),
            per_minute: Meter::new(60, options.per_minute),
            retry_after: options.retry_after,
            unregistered: RwLock::default(),
            script: Script::new(options.seed, options.rules),
            token_script: Script::new(options.seed, options.token_rules),
            sends: AtomicU64::new(0),
            token_calls: AtomicU64::new(0),
            tally: Tally::new(options.keep),
        });
        let server = Server::start(address, options.http, Arc::clone(&desk)).await?;
        Ok(Fcm { server, desk })
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

    /// How many access tokens were given out.
    pub fn tokens(&self) -> u64 {
        self.desk.tokens.given()
    }

    /// Every access token ends now.
    pub fn expire_tokens(&self) {
        self.desk.tokens.expire();
    }

    /// The app on this device is gone: `UNREGISTERED` from now on.
    pub fn unregister(&self, device: &str) {
        let mut gone = self.desk.unregistered.write().unwrap_or_else(PoisonError::into_inner);
        gone.insert(device.to_owned());
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        if request.method == Method::POST && request.path() == "/token" {
            return self.token(&request).await;
        }
        match request
            .path()
            .strip_prefix("/v1/projects/")
            .and_then(|rest| rest.strip_suffix("/messages:send"))
        {
            Some(project) if request.method == Method::POST => self.send(project, &request).await,
            _ => Answer::status(StatusCode::NOT_FOUND).into(),
        }
    }
}

/// Google takes either, whatever the key file's `token_uri` says.
const AUDIENCES: [&str; 2] =
    ["https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token"];
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];

impl Desk {
    async fn token(&self, request: &Request) -> Reply {
        let number = self.token_calls.fetch_add(1, Ordering::Relaxed) + 1;
        let verdict = self.token_script.request(number);
        let answer = match (verdict.then.before(), &verdict.then, self.objection(request)) {
            (Some(reply), _, _) => {
                verdict.pause().await;
                return reply;
            }
            (None, Then::Code(code), _) => answers::denied(code, "refused by the script"),
            (None, _, Some((error, description))) => answers::denied(error, description),
            (None, _, None) => {
                let token = self.tokens.give(self.clock.seconds());
                let body =
                    json!({"access_token": token, "expires_in": self.tokens.life(), "token_type": "Bearer"});
                Answer::json(StatusCode::OK, &body)
            }
        };
        verdict.pause().await;
        verdict.then.after(answer)
    }

    /// What is wrong with a call for a token.
    /// <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
    fn objection(&self, request: &Request) -> Option<(&'static str, &'static str)> {
        let pairs = str::from_utf8(&request.body).ok().and_then(form::pairs).unwrap_or_default();
        if form::value(&pairs, "grant_type") != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
            return Some(("unsupported_grant_type", "Invalid grant_type"));
        }
        let assertion = form::value(&pairs, "assertion").unwrap_or_default();
        let Some(token) = self.key.verify(assertion) else {
            return Some(("invalid_grant", "Invalid JWT Signature."));
        };
        let claims = &token.claims;
        if claims["iss"] != self.account.client_email.as_str() {
            return Some(("invalid_grant", "Invalid grant: account not found"));
        }
        if !AUDIENCES.iter().any(|audience| claims["aud"] == *audience) {
            return Some(("invalid_grant", "Invalid JWT: Failed audience check."));
        }
        let scopes = claims["scope"].as_str().unwrap_or_default();
        if !scopes.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Some(("invalid_scope", "Invalid OAuth scope or ID token audience provided."));
        }
        let now = self.clock.seconds();
        let (from, until) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
        if from > now + 300 || until <= now || until - from > 3600 {
            let timeframe =
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
            return Some(("invalid_grant", timeframe));
        }
        None
    }

    async fn send(&self, project: &str, request: &Request) -> Reply {
        let number = self.sends.fetch_add(1, Ordering::Relaxed) + 1;
        let mut verdict = self.script.request(number);
        let answer = match self.judged(project, request) {
            Err(refusal) => refusal.answer(self.retry_after),
            Ok(mut message) => {
                verdict = verdict.and(self.script.recipient(&message.to));
                if let Some(reply) = verdict.then.before() {
                    verdict.pause().await;
                    return reply;
                }
                let gone =
                    self.unregistered.read().unwrap_or_else(PoisonError::into_inner).contains(&message.to);
                match &verdict.then {
                    Then::Code(code) => answers::error(code, self.retry_after),
                    _ if gone => answers::error("UNREGISTERED", None),
                    _ => {
                        message.name = format!("projects/{project}/messages/0:{number}%31bd1c9631bd1c96");
                        let name = json!({"name": message.name});
                        if !message.validate_only {
                            self.tally.take(&message.to.clone(), &message.text(), message);
                        }
                        Answer::json(StatusCode::OK, &name)
                    }
                }
            }
        };
        verdict.pause().await;
        verdict.then.after(answer)
    }

    /// The message of a request that only the script and its recipient can refuse.
    fn judged(&self, project: &str, request: &Request) -> Result<Message, Refusal> {
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let now = self.clock.seconds();
        if !bearer.is_some_and(|token| self.tokens.alive(token, now)) {
            return Err(Refusal::Code("UNAUTHENTICATED"));
        }
        if project != self.account.project_id {
            return Err(Refusal::Code("PERMISSION_DENIED"));
        }
        if !self.per_minute.pass(now) {
            return Err(Refusal::Code("QUOTA_EXCEEDED"));
        }
        message::read(&request.body)
    }
}
