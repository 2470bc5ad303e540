//! Amazon SES: its events over a topic of Amazon SNS, which signs them and wants its subscription confirmed.
//! <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::sns::{Envelope, Kind, NoCertificate, SigningKey};
use super::{is_fresh, json, posted, refusal};
use crate::config::SesHookSettings;
use crate::provider::http::{Client, Endpoint, InvalidEndpoint, Timeouts};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

mod event;

/// A call is answered within four seconds, with what must be asked before: TCP, TLS and one answer.
const PATIENCE: Timeouts = Timeouts { connect: Duration::from_secs(1), answer: Duration::from_secs(2) };

/// Certificates at a time; SNS changes its own about once a year.
const MOST_KEYS: usize = 8;

/// Why the settings of a hook of SES cannot work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSes {
    #[error("base_url: {0}")]
    BaseUrl(#[from] InvalidEndpoint),
    #[error("certificate_file {} cannot be read", .path.display())]
    CertificateFile { path: PathBuf, source: std::io::Error },
    #[error("certificate_file {} is no certificate in PEM with an RSA key of at least 2048 bits", .path.display())]
    Certificate { path: PathBuf },
}

pub(super) struct SesHook {
    name: String,
    /// Of the address that the account's mail is from: where our Message-IDs end.
    domain: String,
    topic: String,
    base_url: String,
    /// One request at a time is enough.
    client: Mutex<Client>,
    keys: Keys,
}

enum Keys {
    Given(SigningKey),
    /// By their URLs' paths.
    Fetched(RwLock<HashMap<String, SigningKey>>),
}

impl fmt::Debug for SesHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SesHook")
            .field("name", &self.name)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl SesHook {
    pub(super) fn new(name: &str, from: &str, settings: &SesHookSettings) -> Result<Self, InvalidSes> {
        let endpoint = Endpoint::new(&settings.base_url, settings.ca_file.as_deref(), PATIENCE)?;
        let keys = match &settings.certificate_file {
            None => Keys::Fetched(RwLock::default()),
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|source| InvalidSes::CertificateFile { path: path.clone(), source })?;
                let key = SigningKey::of_certificate(&pem)
                    .map_err(|NoCertificate| InvalidSes::Certificate { path: path.clone() })?;
                Keys::Given(key)
            }
        };
        let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain.trim_end_matches(['>', ' ']));
        Ok(SesHook {
            name: name.to_owned(),
            domain: domain.to_owned(),
            topic: settings.topic.clone(),
            base_url: settings.base_url.clone(),
            client: Mutex::new(Client::new(Arc::new(endpoint))),
            keys,
        })
    }

    fn envelope(&self, request: &HookRequest) -> Result<Envelope, HookRefusal> {
        posted(request)?;
        let envelope: Envelope = json(&request.body)?;
        if envelope.topic_arn == self.topic {
            return Ok(envelope);
        }
        Err(refusal(StatusCode::FORBIDDEN, "another topic than the one in topic"))
    }

    /// The path of a URL that a call names, where it leads to the topic's own host and nowhere else.
    fn path<'u>(&self, url: &'u str) -> Option<&'u str> {
        url.strip_prefix(self.base_url.as_str()).filter(|path| path.starts_with('/'))
    }

    /// The path of the certificate that the envelope says it is signed by.
    fn certificate_path<'e>(&self, envelope: &'e Envelope) -> Result<&'e str, HookRefusal> {
        let path = self.path(&envelope.signing_cert_url).filter(|path| path.ends_with(".pem"));
        path.ok_or_else(|| {
            let detail = format!("SigningCertURL leads elsewhere than to a certificate at {}", self.base_url);
            refusal(StatusCode::FORBIDDEN, detail)
        })
    }

    fn key(&self, envelope: &Envelope) -> Result<Option<SigningKey>, HookRefusal> {
        match &self.keys {
            Keys::Given(key) => Ok(Some(key.clone())),
            Keys::Fetched(keys) => {
                let path = self.certificate_path(envelope)?;
                Ok(keys.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned())
            }
        }
    }

    /// SNS comes again for an hour, with the first time's instant.
    fn verify(&self, envelope: &Envelope, now: Timestamp) -> Result<(), HookRefusal> {
        let Some(key) = self.key(envelope)? else {
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "the certificate is not here yet"));
        };
        if !key.signed(envelope) {
            return Err(refusal(
                StatusCode::FORBIDDEN,
                "the signature is not made with the certificate's key",
            ));
        }
        let at = envelope.timestamp.parse::<Timestamp>();
        if at.is_ok_and(|at| is_fresh(at.as_second(), now)) {
            return Ok(());
        }
        Err(refusal(StatusCode::FORBIDDEN, "the call is older than a day, or our clock is wrong"))
    }

    async fn fetch_key(&self, envelope: &Envelope) -> Result<(), HookRefusal> {
        let Keys::Fetched(keys) = &self.keys else { return Ok(()) };
        let path = self.certificate_path(envelope)?;
        let mut client = self.client.lock().await;
        // Of calls that come together, the first has fetched it for all.
        if self.key(envelope)?.is_some() {
            return Ok(());
        }
        let pem = self.get(&mut client, path, "the certificate").await?;
        let key = SigningKey::of_certificate(&pem).map_err(|error| {
            refusal(StatusCode::FORBIDDEN, format!("what SigningCertURL leads to {error}"))
        })?;
        let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        keys.insert(path.to_owned(), key);
        Ok(())
    }

    async fn confirm(&self, envelope: &Envelope) -> Result<(), HookRefusal> {
        let url = envelope.subscribe_url.as_deref().unwrap_or_default();
        let path = self.path(url).filter(|path| path.contains("Action=ConfirmSubscription"));
        let path = path.ok_or_else(|| {
            let detail = format!("SubscribeURL leads elsewhere than to a confirmation at {}", self.base_url);
            refusal(StatusCode::FORBIDDEN, detail)
        })?;
        self.get(&mut *self.client.lock().await, path, "the confirmation").await?;
        tracing::info!(provider = self.name, topic = self.topic, "subscribed to the topic of SES");
        Ok(())
    }

    /// # Errors
    /// SNS is to come again.
    async fn get(&self, client: &mut Client, path: &str, what: &str) -> Result<Bytes, HookRefusal> {
        let answer = client.request(Method::GET, path, HeaderMap::new(), Bytes::new(), || {}).await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(answer.into_body()),
            Ok(answer) => {
                let detail = format!("{what}: {} answered {}", self.base_url, answer.status().as_u16());
                Err(refusal(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
            Err(_) => {
                let detail = format!("{what}: no answer from {}", self.base_url);
                Err(refusal(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }

    pub(super) fn receive_at(
        &self,
        request: &HookRequest,
        now: Timestamp,
    ) -> Result<HookAnswer, HookRefusal> {
        let envelope = self.envelope(request)?;
        self.verify(&envelope, now)?;
        let receipts = match envelope.kind {
            Kind::Notification => event::receipts(&self.name, &self.domain, &envelope.message, now),
            Kind::SubscriptionConfirmation => Vec::new(),
            Kind::UnsubscribeConfirmation => {
                tracing::warn!(
                    provider = self.name,
                    topic = self.topic,
                    "unsubscribed from the topic of SES"
                );
                Vec::new()
            }
        };
        Ok(HookAnswer { receipts, ..HookAnswer::default() })
    }
}

#[async_trait]
impl Hook for SesHook {
    async fn prepare(&self, request: &HookRequest) -> Result<(), HookRefusal> {
        let envelope = self.envelope(request)?;
        if self.key(&envelope)?.is_none() {
            self.fetch_key(&envelope).await?;
        }
        if envelope.kind == Kind::SubscriptionConfirmation {
            self.verify(&envelope, Timestamp::now())?;
            self.confirm(&envelope).await?;
        }
        Ok(())
    }

    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}
