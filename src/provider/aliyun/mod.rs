//! Alibaba Cloud's SMS service (`dysmsapi`, version 2017-05-25).
//!
//! It takes or refuses a call as a whole and knows no idempotency: a call without an answer is in doubt until a receipt
//! comes. With one number a call the receipts carry our key; with batches they carry the call's id and the number.

mod answer;
mod asking;
mod hook;
mod number;
mod request;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Uri};
use jiff::Timestamp;
use uuid::Uuid;

use self::answer::said;
use self::asking::Asking;
pub use self::hook::hook;
use self::signature::{Signer, Unsigned};
use super::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use super::sms::asking::ask;
use super::sms::calls::{Calls, Said};
use super::unheard::Question;
use super::{Message, Provider, Receipts, Session};
use crate::config::{AliyunSettings, Codes};
use crate::model::Outcome;

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Messages of one `SendBatchSms`.
const MOST: usize = 100;
/// Messages that a session takes at once where each is a call.
const CHUNK: usize = 16;

/// One account.
#[derive(Debug)]
pub struct Aliyun {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    name: String,
    endpoint: Arc<Endpoint>,
    signer: Signer,
    single: bool,
    codes: Codes,
    ask_after: Option<Duration>,
    receipts: Receipts,
}

impl Aliyun {
    /// Reads the certificates; connects to nothing. What is learnt by asking goes to `receipts`.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(name: &str, settings: &AliyunSettings, receipts: Receipts) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let url: Uri = settings.base_url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let host = url.authority().ok_or(InvalidEndpoint::Url)?.as_str();
        let signer = Signer::new(&settings.access_key_id, settings.access_key_secret.clone(), host);
        let account = Account {
            name: name.to_owned(),
            ask_after: settings.ask_after,
            receipts,
            endpoint: Arc::new(endpoint),
            signer,
            single: settings.single,
            codes: settings.codes.clone(),
        };
        Ok(Aliyun { account: Arc::new(account) })
    }
}

impl Account {
    /// Keeps in mind what is to be asked about: what the call left open.
    fn remember(&self, messages: &[&Message], said: &Said, out_id: &str, now: Timestamp) {
        let Some(after) = self.ask_after else { return };
        for (place, message) in messages.iter().enumerate() {
            let outcome = match said {
                Said::All(outcome) => Some(outcome),
                Said::Each(outcomes) => outcomes.get(place),
            };
            let question = outcome.and_then(|outcome| {
                Question::after(outcome, message.delivery, &message.to, now, out_id.to_owned())
            });
            if let Some(question) = question {
                self.receipts.unheard().ask(&self.name, question, after);
            }
        }
    }
}

#[async_trait]
impl Provider for Aliyun {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        let client = Client::new(Arc::clone(&account.endpoint));
        Box::new(AliyunSession { account, client })
    }

    fn references(&self) -> bool {
        !self.account.single
    }

    fn chunk_size(&self) -> usize {
        if self.account.single { CHUNK } else { MOST }
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

struct AliyunSession {
    account: Arc<Account>,
    client: Client,
}

impl AliyunSession {
    async fn call(&mut self, messages: &[&Message]) -> Said {
        let Some(call) = request::call(messages) else { return Said::Each(Vec::new()) };
        let now = Timestamp::now();
        let unsigned = Unsigned { action: call.action, query: &call.query, body: call.body.as_bytes() };
        let headers = self.account.signer.headers(&unsigned, now, &Uuid::new_v4().simple().to_string());
        let path = format!("/?{}", call.query);
        let left = || messages.iter().for_each(|message| message.permit.spend());
        let said = match self.client.request(Method::POST, &path, headers, call.body.into(), left).await {
            Ok(response) => said(&self.account.codes, messages, &response, now),
            Err(no_answer) => Said::All(no_answer.into()),
        };
        self.account.remember(messages, &said, &call.out_id, now);
        said
    }
}

#[async_trait]
impl Session for AliyunSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let most = if self.account.single { 1 } else { MOST };
        let shared = |message| {
            request::template(message).map(|template| (&template.sign_name, &template.template_code))
        };
        let mut calls = Calls::plan(messages, most, shared);
        while let Some((group, messages)) = calls.next() {
            let said = self.call(&messages).await;
            calls.settle(group, said);
        }
        calls.outcomes()
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
