//! Firebase Cloud Messaging, HTTP v1 (firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send).

mod answer;
mod request;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use self::token::ServiceAccountTokens;
use super::credential::Credential;
use super::http::{self as http1, Endpoint, InvalidEndpoint, Timeouts};
use super::http2::{self, Post};
use super::jwt::InvalidKey;
use super::push::{PushSession, Service, Verdict, Wire};
use super::{Message, Provider, Session};
use crate::config::{FcmSettings, HttpVersion};
use crate::model::Outcome;
use crate::model::content::PushContent;

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFcm {
    #[error("key")]
    Key(#[from] InvalidKey),
    #[error("base_url")]
    Endpoint(#[source] InvalidEndpoint),
    #[error("token_url")]
    TokenEndpoint(#[source] InvalidEndpoint),
}

/// One Firebase project.
#[derive(Debug)]
pub struct Fcm {
    account: Arc<Account>,
    endpoint: Arc<Endpoint>,
    streams: usize,
}

#[derive(Debug)]
struct Account {
    settings: FcmSettings,
    path: String,
    tokens: Credential<ServiceAccountTokens>,
}

impl Fcm {
    /// Reads the key and the certificates; connects to nothing.
    ///
    /// # Errors
    /// When the key cannot sign, or no request can go to one of the URLs.
    pub fn new(settings: &FcmSettings) -> Result<Self, InvalidFcm> {
        let timeouts = Timeouts { answer: settings.timeout, ..Timeouts::default() };
        let ca_file = settings.ca_file.as_deref();
        let endpoint = match settings.http {
            HttpVersion::Http1 => Endpoint::new(&settings.base_url, ca_file, timeouts),
            HttpVersion::Http2 => Endpoint::http2(&settings.base_url, ca_file, timeouts),
        };
        let account = Account {
            path: format!("/v1/projects/{}/messages:send", settings.project),
            tokens: Credential::new(ServiceAccountTokens::new(settings, timeouts)?),
            settings: settings.clone(),
        };
        Ok(Fcm {
            account: Arc::new(account),
            endpoint: Arc::new(endpoint.map_err(InvalidFcm::Endpoint)?),
            streams: settings.streams.get().into(),
        })
    }
}

impl Provider for Fcm {
    fn session(&self) -> Box<dyn Session> {
        let endpoint = Arc::clone(&self.endpoint);
        let wire = match self.account.settings.http {
            HttpVersion::Http1 => Wire::Http1(Box::new(http1::Client::new(endpoint))),
            HttpVersion::Http2 => Wire::Http2(http2::Client::new(endpoint)),
        };
        Box::new(PushSession::new(Arc::clone(&self.account), wire))
    }

    fn chunk_size(&self) -> usize {
        self.streams
    }
}

impl Service for Account {
    type Tokens = ServiceAccountTokens;

    fn tokens(&self) -> &Credential<ServiceAccountTokens> {
        &self.tokens
    }

    fn post(&self, message: &Message, push: &PushContent, now: Timestamp) -> Result<Post, Outcome> {
        request::post(&self.settings, &self.path, message, push, now)
    }

    fn verdict(&self, message: &Message, response: &Response<Bytes>, now: Timestamp) -> Verdict {
        answer::verdict(message, response, now)
    }
}
