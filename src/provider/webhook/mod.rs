//! Any provider by way of a receiver of the user's own: signed HTTP POSTs by Standard Webhooks (standardwebhooks.com).
//!
//! One request carries a chunk of messages of any channel and is answered with one result a message. What the
//! receiver learns later comes back to our hook, signed the same way.

mod answer;
mod hook;
mod request;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Uri};
use jiff::Timestamp;

use self::answer::outcomes;
pub use self::hook::hook;
use self::signature::Signer;
use super::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use super::{Body, Message, Provider, Repeats, Session};
use crate::config::WebhookSettings;
use crate::model::{Outcome, Reason};

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// One receiver.
#[derive(Debug)]
pub struct Webhook {
    account: Arc<Account>,
    batch: usize,
}

#[derive(Debug)]
struct Account {
    endpoint: Arc<Endpoint>,
    path_and_query: String,
    signer: Signer,
    idempotent: bool,
}

impl Webhook {
    /// Reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// When no request can go to the URL.
    pub fn new(settings: &WebhookSettings) -> Result<Self, InvalidEndpoint> {
        let url: Uri = settings.url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let (scheme, authority) = url.scheme_str().zip(url.authority()).ok_or(InvalidEndpoint::Url)?;
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let base = format!("{scheme}://{authority}");
        let endpoint = Arc::new(Endpoint::new(&base, settings.ca_file.as_deref(), timeouts)?);
        let account = Account {
            endpoint,
            path_and_query: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            signer: Signer::new(settings),
            idempotent: settings.idempotent,
        };
        Ok(Webhook { account: Arc::new(account), batch: settings.batch.get().into() })
    }
}

impl Provider for Webhook {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        let client = Client::new(Arc::clone(&account.endpoint));
        Box::new(WebhookSession { account, client, batch: self.batch })
    }

    /// The receiver names no time after which it forgets an id.
    fn repeats(&self) -> Repeats {
        if self.account.idempotent { Repeats::Dropped(Duration::MAX) } else { Repeats::Doubled }
    }

    fn chunk_size(&self) -> usize {
        self.batch
    }
}

struct WebhookSession {
    account: Arc<Account>,
    client: Client,
    batch: usize,
}

impl WebhookSession {
    async fn post(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let (account, now) = (&self.account, Timestamp::now());
        let body = match request::body(messages, now) {
            Ok(body) => body,
            Err(error) => {
                let detail = format!("the message cannot be written as JSON: {error}");
                return vec![Outcome::Failed { reason: Reason::RenderError, detail }; messages.len()];
            }
        };
        let headers = account.signer.headers(&request::id(messages), now, &body);
        let left = || messages.iter().for_each(|message| message.permit.spend());
        let posted = self.client.request(Method::POST, &account.path_and_query, headers, body, left);
        match posted.await {
            Ok(response) => outcomes(messages, &response, now),
            Err(no_answer) => vec![no_answer.into(); messages.len()],
        }
    }
}

#[async_trait]
impl Session for WebhookSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for part in messages.chunks(self.batch) {
            outcomes.extend(self.post(part).await);
            // The next request would meet the same.
            if outcomes.last().is_some_and(|last| {
                matches!(last, Outcome::AccountRefused { .. } | Outcome::Throttled { .. })
                    || last.reason() == Some(Reason::ConnectionFailed)
            }) {
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

/// What the receiver gets of a message; none of a mail that is already composed, which no account of this kind is given.
fn content(message: &Message) -> Option<&crate::model::Content> {
    match &message.body {
        Body::Content(content) => Some(content),
        Body::Email(_) => None,
    }
}
