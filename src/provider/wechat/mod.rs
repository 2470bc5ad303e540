//! WeChat official accounts: template messages, subscription messages, texts of the customer service.
//!
//! One request a message. All sessions of an account share its access token and a window that follows how many
//! requests at once WeChat takes. A template message carries an id that WeChat drops repeats by, for ten minutes: so
//! a request without an answer is repeated once, at once, and only a second silence leaves a doubt.

mod answer;
mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hook;
mod news;
mod request;
#[cfg(test)]
mod tests;
mod token;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use self::answer::{Asked, Verdict, verdict};
pub use self::hook::hook;
use self::token::{Tokens, json_headers};
use self::window::Window;
use super::credential::{Credential, Held};
use super::detail::masked;
use super::http::{Client, Endpoint, InvalidEndpoint, NoAnswer, Timeouts};
use super::{Message, Provider, Repeats, Session};
use crate::config::{Secret, WechatMessage, WechatSettings};
use crate::model::{Outcome, Reason};

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// WeChat drops a template message whose `client_msg_id` it took so long ago at most ("Send template message").
const KEY_LIVES: Duration = Duration::from_secs(600);
/// Messages that a session is given at once, at most.
const CHUNK: usize = 32;
/// What a token may hold and a query need not encode.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One official account.
#[derive(Debug)]
pub struct Wechat(Arc<Account>);

#[derive(Debug)]
struct Account {
    kind: WechatMessage,
    endpoint: Arc<Endpoint>,
    token: Credential<Tokens>,
    window: Window,
}

impl Wechat {
    /// Reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(settings: &WechatSettings) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Arc::new(Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?);
        let token = Credential::new(Tokens {
            endpoint: Arc::clone(&endpoint),
            app_id: settings.app_id.clone(),
            app_secret: settings.app_secret.clone(),
        });
        let window = Window::new();
        Ok(Wechat(Arc::new(Account { kind: settings.message, endpoint, token, window })))
    }
}

impl Provider for Wechat {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.0);
        let client = Client::new(Arc::clone(&account.endpoint));
        Box::new(WechatSession { account, client })
    }

    fn references(&self) -> bool {
        true
    }

    fn repeats(&self) -> Repeats {
        match self.0.kind {
            WechatMessage::Template => Repeats::Dropped(KEY_LIVES),
            _ => Repeats::Doubled,
        }
    }

    fn chunk_size(&self) -> usize {
        CHUNK
    }
}

struct WechatSession {
    account: Arc<Account>,
    client: Client,
}

/// Why a message that is in doubt may be in it: the first request's silence.
type Doubt = Option<(Reason, String)>;

impl WechatSession {
    async fn deliver(&mut self, message: &Message) -> Outcome {
        let account = Arc::clone(&self.account);
        let body = match request::body(account.kind, message) {
            Ok(body) => body,
            Err(error) => {
                return Outcome::Failed { reason: Reason::RenderError, detail: error.to_string() };
            }
        };
        let mut doubt = None;
        let mut token = match account.token.get().await {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        let mut renewed = false;
        loop {
            match self.post(message, &body, &token, doubt.is_some()).await {
                Verdict::Settled(outcome) | Verdict::TooMany(outcome) => return settled(outcome, doubt),
                Verdict::Stale { detail } if renewed => {
                    let detail = format!("a token that was just issued is refused: {detail}");
                    return settled(Outcome::AccountRefused { detail }, doubt);
                }
                Verdict::Stale { .. } => match account.token.renew(&token).await {
                    Ok(renewal) => (token, renewed) = (renewal, true),
                    Err(outcome) => return settled(outcome, doubt),
                },
                Verdict::InDoubt { reason, detail } => {
                    if doubt.is_some() || account.kind != WechatMessage::Template {
                        return settled(Outcome::Unknown { reason, detail }, doubt);
                    }
                    doubt = Some((reason, detail));
                }
            }
        }
    }

    /// One request, as soon as the window has room for it.
    async fn post(
        &mut self,
        message: &Message,
        body: &Bytes,
        token: &Held<Secret>,
        repeated: bool,
    ) -> Verdict {
        let token = utf8_percent_encode(token.value.reveal(), PLAIN);
        let path = format!("{}?access_token={token}", request::path(self.account.kind));
        let place = self.account.window.enter().await;
        let left = || message.permit.spend();
        let posted = self.client.request(Method::POST, &path, json_headers(), body.clone(), left).await;
        let verdict = match posted {
            Ok(response) => {
                let again = repeated || message.attempt > 1;
                verdict(&response, Asked { openid: &message.to, again }, Timestamp::now())
            }
            Err(NoAnswer::NotSent(outcome)) => Verdict::Settled(outcome),
            Err(NoAnswer::InDoubt { reason, detail }) => Verdict::InDoubt { reason, detail },
        };
        match &verdict {
            Verdict::Settled(Outcome::Accepted { .. }) => place.taken(),
            Verdict::TooMany(_) => place.too_many(),
            _ => {}
        }
        verdict
    }
}

/// After a doubt, only what holds for both requests settles the message: that one was not taken says nothing of the
/// other.
fn settled(outcome: Outcome, doubt: Doubt) -> Outcome {
    match (outcome, doubt) {
        (outcome @ (Outcome::Accepted { .. } | Outcome::Rejected { .. }), _) | (outcome, None) => outcome,
        (outcome, Some((reason, detail))) => {
            let then = outcome.detail().unwrap_or_default();
            Outcome::Unknown { reason, detail: masked(&format!("{detail}; then {then}")) }
        }
    }
}

#[async_trait]
impl Session for WechatSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.account.token.get().await?;
        self.client.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            let outcome = self.deliver(message).await;
            // The next request would meet the same.
            let ends = matches!(outcome, Outcome::AccountRefused { .. } | Outcome::Throttled { .. })
                || outcome.reason() == Some(Reason::ConnectionFailed);
            outcomes.push(outcome);
            if ends {
                break;
            }
        }
        outcomes.resize(messages.len(), Outcome::Returned);
        outcomes
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
