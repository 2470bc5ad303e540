//! WeChat's official account platform: tokens, template, subscribe and customer-service messages, and its calls.
//!
//! Always answers 200 with an errcode. It knows one idempotency: a template message with the `client_msg_id` of the
//! last ten minutes is answered as the first was, and not sent. Rules of the script are about messages, numbered from
//! 1; those of `token_rules` are about calls for tokens.

mod desk;
mod events;
mod safe;
mod send;
mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::ToSocketAddrs;

use crate::callback::{Callbacks, Plan};
use crate::clock::Clock;
use crate::http::{self, Server};
use crate::script::Rule;
use crate::tally::Tally;
use desk::Desk;
pub use events::{Event, Events, What};
pub use send::{Kind, Message};
pub use tokens::Counts as TokenCounts;

/// The one account.
#[derive(Debug, Clone)]
pub struct Account {
    pub app_id: String,
    pub secret: String,
    /// What the account is called in calls to the customer.
    pub original_id: String,
    /// The token that calls to the customer are signed with.
    pub token: String,
    /// EncodingAESKey: where it is set, calls are encrypted.
    pub encoding_aes_key: Option<String>,
}

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub account: Account,
    pub clock: Clock,
    /// Of a new access token, in seconds.
    pub token_life: i64,
    /// The account's templates by id, with the keys that must have values: others are refused. Where there is none,
    /// every id is taken.
    pub templates: BTreeMap<String, Vec<String>>,
    /// Template messages a day in Beijing; above it 45009. The service's own limit is 100,000.
    pub daily: Option<u64>,
    /// Messages a minute; above it 45011.
    pub per_minute: Option<u64>,
    /// Messages at a time; above it -1.
    pub at_once: Option<usize>,
    /// What a repeated `client_msg_id` is answered; none: as the first was. The vendor does not say.
    pub repeated: Option<i64>,
    /// Subscribe messages need a follower's consent each, customer-service messages a text within 48 hours, for at
    /// most five. Else everybody has agreed to everything.
    pub opt_in: bool,
    pub rules: Vec<Rule>,
    /// About calls for tokens; no recipients.
    pub token_rules: Vec<Rule>,
    pub seed: u64,
    pub receipts: Plan,
    /// Of the newest messages this many are kept whole.
    pub keep: usize,
    pub http: http::Options,
}

impl Default for Options {
    fn default() -> Self {
        let again = vec![Duration::from_secs(1); 3];
        Options {
            account: Account {
                app_id: "wx1234567890abcdef".to_owned(),
                secret: "0123456789abcdef0123456789abcdef".to_owned(),
                original_id: "gh_7f083739789a".to_owned(),
                token: "test_token".to_owned(),
                encoding_aes_key: None,
            },
            clock: Clock::system(),
            token_life: 7200,
            templates: BTreeMap::new(),
            daily: None,
            per_minute: None,
            at_once: None,
            repeated: None,
            opt_in: false,
            rules: Vec::new(),
            token_rules: Vec::new(),
            seed: 0,
            receipts: Plan { per_call: 1, retries: again, ..Plan::default() },
            keep: 10_000,
            http: http::Options::default(),
        }
    }
}

/// A running service; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Wechat {
    server: Server,
    desk: Arc<Desk>,
}

impl Wechat {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound, or the EncodingAESKey is not 43 characters of base64.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Wechat> {
        let http = options.http.clone();
        let desk = Arc::new(Desk::new(options)?);
        let server = Server::start(address, http, Arc::clone(&desk)).await?;
        Ok(Wechat { server, desk })
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

    /// Calls to the customer: where they go, and what became of them.
    pub fn callbacks(&self) -> &Callbacks<Events> {
        &self.desk.callbacks
    }

    /// How often tokens were asked for.
    pub fn tokens(&self) -> TokenCounts {
        self.desk.tokens.counts()
    }

    /// Every access token ends now.
    pub fn expire_tokens(&self) {
        self.desk.tokens.expire(self.desk.clock.seconds());
    }

    /// Checks the customer's URL, as the platform does when it is set: whether it echoes what it is sent.
    pub async fn check_url(&self) -> bool {
        self.desk.check_url().await
    }

    /// Someone follows the account, perhaps again. Whether the customer took the call.
    pub async fn subscribe(&self, openid: &str) -> bool {
        self.desk.followers().left.remove(openid);
        self.desk.tell(openid, What::Subscribe).await
    }

    /// Someone leaves: messages are refused from now on. Whether the customer took the call.
    pub async fn unsubscribe(&self, openid: &str) -> bool {
        self.desk.followers().left.insert(openid.to_owned());
        self.desk.tell(openid, What::Unsubscribe).await
    }

    /// Someone writes, which lets customer-service messages through. Whether the customer took the call.
    pub async fn text(&self, openid: &str, content: &str) -> bool {
        let msgid = self.desk.wrote(openid);
        self.desk.tell(openid, What::Text { msgid, content: content.to_owned() }).await
    }

    /// Someone agrees to one more message of this template, or refuses. Whether the customer took the call.
    pub async fn asked(&self, openid: &str, template_id: &str, accepted: bool) -> bool {
        self.desk.agreed(openid, template_id, accepted);
        self.desk.tell(openid, What::Asked { template_id: template_id.to_owned(), accepted }).await
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
