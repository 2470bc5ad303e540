//! Push by JPush (docs.jiguang.cn, Push API v3): one message a request, or many with the interface for VIP accounts.
//!
//! Every message has a cid, by which JPush answers a repeat with the first result. JPush's own receipts are not read.

mod answer;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use tokio::time::Instant;

use super::http::{Client, Endpoint, InvalidEndpoint, NoAnswer, Timeouts};
use super::keyed::{self, Answer, Ask, Keyed, Terms, hand_over};
use super::{Message, Provider, Repeats, Session};
use crate::config::{Cid, JpushSettings};
use crate::model::Outcome;

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Messages of one request with the batch interface at most; cids of one request of a VIP account, too.
const MAX_BATCH: usize = 1_000;
/// Messages that a session takes at once where each is a request of its own; cids that every account may fetch at once.
const SINGLES: usize = 10;
/// JPush forgets a cid after a day.
const CID_REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// Those fetched are used earlier.
const CID_LIVES: Duration = Duration::from_secs(12 * 3_600);

/// One app at JPush.
#[derive(Debug)]
pub struct Jpush(Arc<Account>);

struct Account {
    endpoint: Arc<Endpoint>,
    headers: HeaderMap,
    settings: JpushSettings,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Account {
    fn chunk(&self) -> usize {
        if self.settings.batch { MAX_BATCH } else { SINGLES }
    }

    fn terms(&self) -> Terms {
        let most = if self.settings.batch { MAX_BATCH } else { 1 };
        Terms { most }
    }
}

impl Jpush {
    /// Reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(settings: &JpushSettings) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let account =
            Account { endpoint: Arc::new(endpoint), headers: headers(settings), settings: settings.clone() };
        Ok(Jpush(Arc::new(account)))
    }
}

impl Provider for Jpush {
    fn session(&self) -> Box<dyn Session> {
        let client = Client::new(Arc::clone(&self.0.endpoint));
        Box::new(JpushSession { account: Arc::clone(&self.0), client, stock: Stock::default() })
    }

    fn repeats(&self) -> Repeats {
        match self.0.settings.cid {
            Cid::Derived => Repeats::Dropped(CID_REMEMBERED),
            Cid::Fetched => Repeats::Doubled,
        }
    }

    fn chunk_size(&self) -> usize {
        self.0.chunk()
    }
}

/// `Basic` of the AppKey and the Master Secret (RFC 7617).
fn headers(settings: &JpushSettings) -> HeaderMap {
    let JpushSettings { app_key, master_secret, .. } = settings;
    let login = STANDARD.encode(format!("{app_key}:{}", master_secret.reveal()));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
    if let Ok(mut login) = HeaderValue::try_from(format!("Basic {login}")) {
        login.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, login);
    }
    headers
}

/// Cids that were fetched and are not used yet.
#[derive(Debug, Default)]
struct Stock {
    cids: VecDeque<String>,
    /// Of the oldest.
    fetched_at: Option<Instant>,
}

struct JpushSession {
    account: Arc<Account>,
    client: Client,
    stock: Stock,
}

impl JpushSession {
    /// Makes sure of that many cids.
    ///
    /// # Errors
    /// As of a session that cannot be made ready: nothing was handed over.
    async fn provide(&mut self, many: usize) -> Result<(), Outcome> {
        if self.account.settings.cid == Cid::Derived {
            return Ok(());
        }
        if self.stock.fetched_at.is_some_and(|fetched_at| fetched_at.elapsed() >= CID_LIVES) {
            self.stock = Stock::default();
        }
        while self.stock.cids.len() < many {
            let path = format!("/v3/push/cid?count={}", self.account.chunk());
            let headers = self.account.headers.clone();
            let asked = Instant::now();
            let answer = self.client.request(Method::GET, &path, headers, Bytes::new(), || {}).await;
            let cids = answer::cids(answer)?;
            if self.stock.cids.is_empty() {
                self.stock.fetched_at = Some(asked);
            }
            self.stock.cids.extend(cids);
        }
        Ok(())
    }

    fn keyed<'m>(&mut self, messages: &'m [Message]) -> Vec<Keyed<'m>> {
        let JpushSettings { app_key, cid, .. } = &self.account.settings;
        let keyed = messages.iter().map_while(|message| {
            let key = match cid {
                Cid::Fetched => self.stock.cids.pop_front()?,
                Cid::Derived => format!("{app_key}-{}", keyed::key(app_key, message)),
            };
            Some(Keyed { message, key })
        });
        keyed.collect()
    }

    async fn post(
        &mut self,
        path: &str,
        body: Bytes,
        messages: &[Keyed<'_>],
    ) -> Result<Response<Bytes>, NoAnswer> {
        let left = || messages.iter().for_each(|keyed| keyed.message.permit.spend());
        let headers = self.account.headers.clone();
        self.client.request(Method::POST, path, headers, body, left).await
    }
}

#[async_trait]
impl Ask for JpushSession {
    async fn ask(&mut self, messages: &[Keyed<'_>]) -> Answer {
        let settings = &self.account.settings;
        let request = if settings.batch {
            request::batch(messages, settings).map(|body| ("/v3/push/batch/regid/single", body))
        } else {
            request::single(messages, settings).map(|body| ("/v3/push", body))
        };
        let (path, body) = match request {
            Ok(request) => request,
            Err(outcome) => return Answer::Whole(outcome),
        };
        match self.post(path, body, messages).await {
            Ok(response) => answer::read(&response, messages),
            Err(no_answer) => Answer::Whole(no_answer.into()),
        }
    }
}

#[async_trait]
impl Session for JpushSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await?;
        self.provide(1).await
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        if let Err(outcome) = self.provide(messages.len()).await {
            let mut outcomes = vec![Outcome::Returned; messages.len()];
            if let Some(first) = outcomes.first_mut() {
                *first = outcome;
            }
            return outcomes;
        }
        let keyed = self.keyed(messages);
        let terms = self.account.terms();
        let mut outcomes = hand_over(self, &keyed, terms).await;
        outcomes.resize(messages.len(), Outcome::Returned);
        outcomes
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
