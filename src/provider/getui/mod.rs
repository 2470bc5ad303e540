//! Push by Getui (docs.getui.com, REST API v2): up to 200 messages a request, each with a text of its own.
//!
//! Every message has a request_id that all attempts at a delivery share, and Getui drops repeats. Getui's own receipts
//! are not read.

mod answer;
mod request;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use self::answer::Heard;
use self::token::{Desk, Token};
use super::credential::{Credential, Held};
use super::http::{Client, Endpoint, InvalidEndpoint, NoAnswer, Timeouts};
use super::keyed::{self, Answer, Ask, Keyed, Terms, hand_over};
use super::{Message, Provider, Repeats, Session};
use crate::config::GetuiSettings;
use crate::model::Outcome;

/// TCP, and again the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request_id is relied on: Getui does not say how long it remembers one.
const KEY_LIVES: Duration = Duration::from_secs(600);

/// One app at Getui.
#[derive(Debug)]
pub struct Getui(Arc<Account>);

#[derive(Debug)]
struct Account {
    endpoint: Arc<Endpoint>,
    token: Credential<Desk>,
    settings: GetuiSettings,
}

impl Account {
    fn terms(&self) -> Terms {
        Terms { most: self.settings.batch.get().into() }
    }
}

impl Getui {
    /// Reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// When no request can go to the base URL.
    pub fn new(settings: &GetuiSettings) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts { connect: CONNECT, answer: settings.timeout };
        let base = format!("{}/{}", settings.base_url.trim_end_matches('/'), settings.app_id);
        let endpoint = Arc::new(Endpoint::new(&base, settings.ca_file.as_deref(), timeouts)?);
        let token = Credential::new(Desk::new(Arc::clone(&endpoint), settings));
        Ok(Getui(Arc::new(Account { endpoint, token, settings: settings.clone() })))
    }
}

impl Provider for Getui {
    fn session(&self) -> Box<dyn Session> {
        let client = Client::new(Arc::clone(&self.0.endpoint));
        Box::new(GetuiSession { account: Arc::clone(&self.0), client })
    }

    fn repeats(&self) -> Repeats {
        Repeats::Dropped(KEY_LIVES)
    }

    fn chunk_size(&self) -> usize {
        self.0.terms().most
    }
}

struct GetuiSession {
    account: Arc<Account>,
    client: Client,
}

impl GetuiSession {
    async fn post(
        &mut self,
        path: &str,
        body: &Bytes,
        messages: &[Keyed<'_>],
        token: &Held<Token>,
    ) -> Result<Heard, NoAnswer> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        headers.insert("token", token.value.0.clone());
        let left = || messages.iter().for_each(|keyed| keyed.message.permit.spend());
        let response = self.client.request(Method::POST, path, headers, body.clone(), left).await?;
        Ok(answer::read(&response, messages))
    }

    /// Asks with the token of this moment, and once more with another where Getui does not take it.
    async fn put(&mut self, path: &str, body: &Bytes, messages: &[Keyed<'_>]) -> Result<Answer, Outcome> {
        let account = Arc::clone(&self.account);
        let token = account.token.get().await?;
        if let Heard::Answer(answer) = self.post(path, body, messages, &token).await? {
            return Ok(answer);
        }
        let token = account.token.renew(&token).await?;
        match self.post(path, body, messages, &token).await? {
            Heard::Answer(answer) => Ok(answer),
            Heard::TokenRefused(detail) => Err(Outcome::AccountRefused { detail }),
        }
    }
}

#[async_trait]
impl Ask for GetuiSession {
    async fn ask(&mut self, messages: &[Keyed<'_>]) -> Answer {
        let request = match messages {
            [alone] => request::single(alone, &self.account.settings).map(|body| ("/push/single/cid", body)),
            many => request::batch(many, &self.account.settings).map(|body| ("/push/single/batch/cid", body)),
        };
        let asked = match request {
            Ok((path, body)) => self.put(path, &body, messages).await,
            Err(outcome) => Err(outcome),
        };
        asked.unwrap_or_else(Answer::Whole)
    }
}

#[async_trait]
impl Session for GetuiSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.client.ready().await?;
        self.account.token.get().await.map(drop)
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let app = &self.account.settings.app_id;
        // 32 hexadecimal digits: Getui takes 10 to 32 characters.
        let key = |message| keyed::key(app, message).simple().to_string();
        let keyed: Vec<Keyed<'_>> =
            messages.iter().map(|message| Keyed { message, key: key(message) }).collect();
        let terms = self.account.terms();
        hand_over(self, &keyed, terms).await
    }

    async fn close(&mut self) {
        self.client.close();
    }
}
