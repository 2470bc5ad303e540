//! Twilio's Programmable Messaging (version 2010-04-01): one call a message.
//!
//! It knows no idempotency: a call without an answer is in doubt until a status comes, whose address carries our key.

mod answer;
mod asking;
mod code;
mod hook;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;

use self::answer::judged;
use self::asking::{Asking, mark};
pub use self::hook::hook;
use super::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use super::sms::asking::ask;
use super::sms::calls::{Calls, Said};
use super::sms::{content, form, lacks, opt_out};
use super::unheard::Question;
use super::{Message, Provider, Receipts, Session};
use crate::config::{Codes, Secret, Sender, TwilioSettings};
use crate::model::Outcome;

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Messages that a session takes at once; each is a call.
const CHUNK: usize = 16;

/// One account.
#[derive(Debug)]
pub struct Twilio {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    name: String,
    endpoint: Arc<Endpoint>,
    path: String,
    /// Of basic authentication (RFC 7617).
    login: Secret,
    sender: Sender,
    hook_url: String,
    codes: Codes,
    ask_after: Option<Duration>,
    receipts: Receipts,
}

/// Where Twilio calls the account `name`.
fn hook_url(public_url: &str, name: &str) -> String {
    format!("{public_url}/hooks/{name}")
}

impl Twilio {
    /// Reads the certificates; connects to nothing. Statuses are asked for at `public_url`; what answers say of
    /// opt-outs goes to `receipts`.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(
        name: &str,
        settings: &TwilioSettings,
        public_url: &str,
        receipts: Receipts,
    ) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let TwilioSettings { account_sid, auth_token, .. } = settings;
        let account = Account {
            name: name.to_owned(),
            endpoint: Arc::new(endpoint),
            path: format!("/2010-04-01/Accounts/{account_sid}/Messages.json"),
            login: Secret::new(STANDARD.encode(format!("{account_sid}:{}", auth_token.reveal()))),
            sender: settings.sender.clone(),
            hook_url: hook_url(public_url, name),
            codes: settings.codes.clone(),
            ask_after: settings.ask_after,
            receipts,
        };
        Ok(Twilio { account: Arc::new(account) })
    }
}

#[async_trait]
impl Provider for Twilio {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        let client = Client::new(Arc::clone(&account.endpoint));
        Box::new(TwilioSession { account, client })
    }

    fn chunk_size(&self) -> usize {
        CHUNK
    }

    async fn listen(&self) {
        let account = &self.account;
        match account.ask_after {
            Some(after) => {
                ask(&account.name, &account.receipts, after, &mut Asking::new(Arc::clone(account))).await
            }
            None => std::future::pending().await,
        }
    }
}

impl Account {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        // Base64 is a header's value whatever was encoded.
        if let Ok(mut login) = HeaderValue::from_str(&format!("Basic {}", self.login.reveal())) {
            login.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, login);
        }
        headers
    }

    /// <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>
    fn body(&self, message: &Message, text: &str) -> String {
        let (key, sender) = match &self.sender {
            Sender::From(number) => ("From", number),
            Sender::Service(sid) => ("MessagingServiceSid", sid),
        };
        let statuses = format!("{}?mid={}", self.hook_url, message.delivery);
        form([("To", message.to.as_str()), (key, sender), ("Body", text), ("StatusCallback", &statuses)])
    }
}

impl Account {
    /// Keeps in mind what is to be asked about: a message of which no end is known.
    fn remember(&self, message: &Message, outcome: &Outcome, text: &str, now: Timestamp) {
        let Some(after) = self.ask_after else { return };
        let question = Question::after(outcome, message.delivery, &message.to, now, mark(text));
        if let Some(question) = question {
            self.receipts.unheard().ask(&self.name, question, after);
        }
    }
}

/// # Errors
/// The outcome of a message that has no text.
fn text(message: &Message) -> Result<&str, Outcome> {
    let text = content(message).and_then(|sms| sms.text.as_deref());
    text.ok_or_else(|| lacks("[sms] `text`"))
}

struct TwilioSession {
    account: Arc<Account>,
    client: Client,
}

impl TwilioSession {
    async fn call(&mut self, message: &Message) -> Outcome {
        let (account, now) = (&self.account, Timestamp::now());
        let text = match text(message) {
            Ok(text) => text,
            Err(refused) => return refused,
        };
        let body = account.body(message, text);
        let left = || message.permit.spend();
        let request = self.client.request(Method::POST, &account.path, account.headers(), body.into(), left);
        let (outcome, opted_out) = match request.await {
            Ok(response) => judged(&account.codes, &response, now),
            Err(no_answer) => (no_answer.into(), false),
        };
        account.remember(message, &outcome, text, now);
        if opted_out {
            account.receipts.bring(opt_out(&account.name, message, now)).await;
        }
        outcome
    }
}

#[async_trait]
impl Session for TwilioSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut calls = Calls::plan(messages, 1, text);
        while let Some((group, messages)) = calls.next() {
            let mut outcomes = Vec::with_capacity(messages.len());
            for message in messages {
                outcomes.push(self.call(message).await);
            }
            calls.settle(group, Said::Each(outcomes));
        }
        calls.outcomes()
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
