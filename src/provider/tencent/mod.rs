//! Tencent Cloud's SMS service (version 2021-01-11).
//!
//! One call carries messages of equal parameters to up to 200 numbers and is answered with a code for each. The service
//! knows no idempotency; its receipts carry the serial number alone that it gave each message with its answer.

mod answer;
mod hook;
mod pull;
mod signature;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Uri};
use jiff::Timestamp;
use serde::Serialize;

use self::answer::{Judged, judged};
pub use self::hook::hook;
use self::signature::Signer;
use super::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use super::sms::calls::{Calls, Said};
use super::sms::{content, lacks, opt_out};
use super::{Message, Provider, Receipts, Session};
use crate::config::{Codes, TencentSettings};
use crate::model::Outcome;
use crate::model::content::TencentTemplate;

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Numbers of one call.
const MOST: usize = 200;

/// One account.
#[derive(Debug)]
pub struct Tencent {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    name: String,
    endpoint: Arc<Endpoint>,
    signer: Signer,
    sdk_app_id: String,
    codes: Codes,
    pull_every: Option<Duration>,
    receipts: Receipts,
}

impl Tencent {
    /// Reads the certificates; connects to nothing. What answers say of opt-outs goes to `receipts`.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(name: &str, settings: &TencentSettings, receipts: Receipts) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let url: Uri = settings.base_url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let host = url.authority().ok_or(InvalidEndpoint::Url)?.as_str();
        let signer = Signer::new(&settings.secret_id, settings.secret_key.clone(), &settings.region, host);
        let account = Account {
            name: name.to_owned(),
            endpoint: Arc::new(endpoint),
            signer,
            sdk_app_id: settings.sdk_app_id.clone(),
            codes: settings.codes.clone(),
            pull_every: settings.pull_every,
            receipts,
        };
        Ok(Tencent { account: Arc::new(account) })
    }
}

#[async_trait]
impl Provider for Tencent {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        let client = Client::new(Arc::clone(&account.endpoint));
        Box::new(TencentSession { account, client })
    }

    fn references(&self) -> bool {
        true
    }

    fn chunk_size(&self) -> usize {
        MOST
    }

    async fn listen(&self) {
        match self.account.pull_every {
            Some(every) => pull::pull(&self.account, every).await,
            None => std::future::pending().await,
        }
    }
}

/// <https://cloud.tencent.com/document/api/382/55981>
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendSms<'a> {
    phone_number_set: Vec<&'a str>,
    sms_sdk_app_id: &'a str,
    sign_name: &'a str,
    template_id: &'a str,
    template_param_set: &'a [String],
    /// Our key, where the call carries one message: the service's pull interface shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_context: Option<String>,
}

/// # Errors
/// The outcome of a message whose template is not for Tencent Cloud.
fn template(message: &Message) -> Result<&TencentTemplate, Outcome> {
    let template = content(message).and_then(|sms| sms.tencent.as_ref());
    template.ok_or_else(|| lacks("[sms] `tencent` with `sign_name` and `template_id`"))
}

struct TencentSession {
    account: Arc<Account>,
    client: Client,
}

impl TencentSession {
    async fn call<'m>(&mut self, messages: &[&'m Message], now: Timestamp) -> Judged<'m> {
        let shared = messages.first().and_then(|first| Some((first, template(first).ok()?)));
        let Some((first, template)) = shared else { return Said::Each(Vec::new()).into() };
        let request = SendSms {
            phone_number_set: messages.iter().map(|message| message.to.as_str()).collect(),
            sms_sdk_app_id: &self.account.sdk_app_id,
            sign_name: &template.sign_name,
            template_id: &template.template_id,
            template_param_set: &template.params,
            session_context: (messages.len() == 1).then(|| first.delivery.to_string()),
        };
        // Texts become JSON whatever they hold.
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let headers = self.account.signer.headers("SendSms", &body, now);
        let left = || messages.iter().for_each(|message| message.permit.spend());
        match self.client.request(Method::POST, "/", headers, body.into(), left).await {
            Ok(response) => judged(&self.account.codes, messages, &response, now),
            Err(no_answer) => Said::All(no_answer.into()).into(),
        }
    }
}

#[async_trait]
impl Session for TencentSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        // A call goes to numbers of China or to others, not to both.
        let shared = |message| Ok((template(message)?, message.to.starts_with("+86")));
        let mut calls = Calls::plan(messages, MOST, shared);
        while let Some((group, messages)) = calls.next() {
            let now = Timestamp::now();
            let Judged { said, opted_out } = self.call(&messages, now).await;
            calls.settle(group, said);
            for message in opted_out {
                self.account.receipts.bring(opt_out(&self.account.name, message, now)).await;
            }
        }
        calls.outcomes()
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
