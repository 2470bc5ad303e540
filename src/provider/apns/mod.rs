//! Apple's push service (developer.apple.com: Sending notification requests to APNs), by provider tokens.

mod answer;
mod request;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Response};
use jiff::Timestamp;
use serde_json::json;

use super::credential::{Credential, Issued, Issuer};
use super::http::{Endpoint, InvalidEndpoint, Timeouts};
use super::http2::{Client, Post};
use super::jwt::{InvalidKey, Signer};
use super::push::{PushSession, Service, Verdict, Wire};
use super::{Message, Provider, Session};
use crate::config::ApnsSettings;
use crate::model::Outcome;
use crate::model::content::PushContent;

/// A token is refused once it is an hour old; one that is replaced before it is 20 minutes old is held against the
/// team (Establishing a token-based connection to APNs).
const TOKEN_LIVES: Duration = Duration::from_secs(60 * 60);
const TOKEN_EARLY: Duration = Duration::from_secs(10 * 60);

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidApns {
    #[error("key")]
    Key(#[from] InvalidKey),
    #[error("base_url")]
    Endpoint(#[from] InvalidEndpoint),
}

/// One key of a team, and the app that it sends to.
#[derive(Debug)]
pub struct Apns {
    account: Arc<Account>,
    endpoint: Arc<Endpoint>,
    streams: usize,
}

#[derive(Debug)]
struct Account {
    settings: ApnsSettings,
    tokens: Credential<Tokens>,
    census: Census,
}

impl Apns {
    /// Reads the key and the certificates; connects to nothing.
    ///
    /// # Errors
    /// When the key cannot sign, or no request can go to the URL.
    pub fn new(settings: &ApnsSettings) -> Result<Self, InvalidApns> {
        let signer = Signer::es256(&settings.key_id, settings.key.reveal())?;
        let timeouts = Timeouts { answer: settings.timeout, ..Timeouts::default() };
        let endpoint = Endpoint::http2(&settings.base_url, settings.ca_file.as_deref(), timeouts)?;
        let account = Account {
            settings: settings.clone(),
            tokens: Credential::new(Tokens { signer, team: settings.team_id.clone() }),
            census: Census::default(),
        };
        Ok(Apns {
            account: Arc::new(account),
            endpoint: Arc::new(endpoint),
            streams: settings.streams.get().into(),
        })
    }
}

impl Provider for Apns {
    fn session(&self) -> Box<dyn Session> {
        let wire = Wire::Http2(Client::new(Arc::clone(&self.endpoint)));
        Box::new(PushSession::new(Arc::clone(&self.account), wire))
    }

    fn chunk_size(&self) -> usize {
        self.streams
    }
}

#[derive(Debug)]
struct Tokens {
    signer: Signer,
    team: String,
}

#[async_trait]
impl Issuer for Tokens {
    type Value = HeaderValue;

    async fn issue(&self) -> Result<Issued<HeaderValue>, Outcome> {
        let token = self.signer.token(&json!({"iss": self.team, "iat": Timestamp::now().as_second()}))?;
        let mut value = HeaderValue::try_from(format!("bearer {token}"))
            .map_err(|_| Outcome::AccountRefused { detail: "check key_id and team_id".to_owned() })?;
        value.set_sensitive(true);
        Ok(Issued { value, lives: TOKEN_LIVES, early: TOKEN_EARLY })
    }
}

impl Service for Account {
    type Tokens = Tokens;

    fn tokens(&self) -> &Credential<Tokens> {
        &self.tokens
    }

    fn post(&self, message: &Message, push: &PushContent, now: Timestamp) -> Result<Post, Outcome> {
        request::post(&self.settings, message, push, now)
    }

    fn verdict(&self, message: &Message, response: &Response<Bytes>, now: Timestamp) -> Verdict {
        let answer = answer::Answer::read(response);
        let wrong_place = self.census.counts(answer.is_bad_token());
        answer.verdict(message, wrong_place, now)
    }
}

/// How many answers there were, and how many called the token bad, which every token is in the wrong environment.
#[derive(Debug, Default)]
struct Census {
    all: AtomicU64,
    bad: AtomicU64,
}

impl Census {
    /// Returns whether so many tokens are bad, more than a fifth, that the account is to blame rather than the token.
    fn counts(&self, bad: bool) -> bool {
        let all = self.all.fetch_add(1, Ordering::Relaxed) + 1;
        let bad = self.bad.fetch_add(bad.into(), Ordering::Relaxed) + u64::from(bad);
        bad * 5 > all
    }
}
