//! Alibaba Cloud's SMS service (`dysmsapi`, version 2017-05-25).
//!
//! It takes or refuses a call as a whole and knows no idempotency: a call without an answer is in doubt until a receipt
//! comes. With one number a call the receipts carry our key; with batches they carry the call's id and the number.

mod answer;
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
pub use self::hook::hook;
use self::signature::{Signer, Unsigned};
use super::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use super::sms::calls::{Calls, Said};
use super::{Message, Provider, Session};
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
    endpoint: Arc<Endpoint>,
    signer: Signer,
    single: bool,
    codes: Codes,
}

impl Aliyun {
    /// Reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(settings: &AliyunSettings) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let url: Uri = settings.base_url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let host = url.authority().ok_or(InvalidEndpoint::Url)?.as_str();
        let signer = Signer::new(&settings.access_key_id, settings.access_key_secret.clone(), host);
        let account = Account {
            endpoint: Arc::new(endpoint),
            signer,
            single: settings.single,
            codes: settings.codes.clone(),
        };
        Ok(Aliyun { account: Arc::new(account) })
    }
}

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
        match self.client.request(Method::POST, &path, headers, call.body.into(), left).await {
            Ok(response) => said(&self.account.codes, messages, &response, now),
            Err(no_answer) => Said::All(no_answer.into()),
        }
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
