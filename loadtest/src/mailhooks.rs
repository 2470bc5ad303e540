//! The calls of e-mail services as they sign them: Amazon SNS, SendGrid, Mailgun and Postmark.

use std::io;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::ToSocketAddrs;
use tokio_rustls::TlsAcceptor;

use crate::digest::hmac_sha256;
use crate::faulty_http::{Action, Answer, Event, Options, Server};

/// One call: what is posted to the hook's URL.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// SendGrid's event webhook with a key of its own.
#[derive(Debug)]
pub struct SendGrid(EcdsaKeyPair);

impl SendGrid {
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self, Unspecified> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(SendGrid)
    }

    /// The verification key as the settings show it.
    ///
    /// # Errors
    /// When the key cannot be written.
    pub fn public_key(&self) -> Result<String, Unspecified> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der()?;
        Ok(STANDARD.encode(der.as_ref()))
    }

    /// `events` end in CRLF, as SendGrid writes them.
    ///
    /// # Errors
    /// When the call cannot be signed.
    pub fn call(&self, timestamp: i64, events: &Value) -> Result<Call, Unspecified> {
        let body = format!("{events}\r\n").into_bytes();
        let timestamp = timestamp.to_string();
        let signed = [timestamp.as_bytes(), &body].concat();
        let signature = STANDARD.encode(self.0.sign(&SystemRandom::new(), &signed)?);
        let headers = vec![
            ("x-twilio-email-event-webhook-signature", signature),
            ("x-twilio-email-event-webhook-timestamp", timestamp),
        ];
        Ok(Call { headers, body })
    }
}

/// A call of Mailgun.
pub fn mailgun(signing_key: &str, timestamp: i64, token: &str, event: &Value) -> Call {
    let signature =
        hex::encode(hmac_sha256(signing_key.as_bytes(), format!("{timestamp}{token}").as_bytes()));
    let signed = json!({"timestamp": timestamp.to_string(), "token": token, "signature": signature});
    let body = json!({"signature": signed, "event-data": event});
    Call { headers: Vec::new(), body: body.to_string().into_bytes() }
}

/// A call of Postmark, with Basic authentication where a login is given.
pub fn postmark(login: Option<(&str, &str)>, event: &Value) -> Call {
    let headers = login.map(|(user, password)| {
        ("authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    });
    Call { headers: headers.into_iter().collect(), body: event.to_string().into_bytes() }
}

/// A topic of SNS: signs by version 2, and serves its certificate and the confirmation of its subscription.
#[derive(Debug)]
pub struct Sns {
    pub server: Server,
    key: RsaKeyPair,
    topic: String,
    base_url: String,
}

/// Where the certificate lies.
const CERTIFICATE: &str = "/SimpleNotificationService-0123456789abcdef.pem";

/// Why the topic does not start.
#[derive(Debug)]
pub enum NotStarted {
    Key(KeyRejected),
    Listen(io::Error),
}

impl Sns {
    /// `certificate` in PEM is for `pkcs8`, an RSA key in DER.
    ///
    /// # Errors
    /// When the key is none, or the address cannot be bound.
    pub async fn start(
        address: impl ToSocketAddrs,
        topic: &str,
        certificate: String,
        pkcs8: &[u8],
        tls: Option<TlsAcceptor>,
    ) -> Result<Self, NotStarted> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(NotStarted::Key)?;
        let certificate: Arc<str> = certificate.into();
        let options = Options { tls, ..Options::default() }.script(move |event| match event {
            Event::Request(request) if request.target == CERTIFICATE => {
                Action::Answer(Answer::new(200, certificate.to_string()))
            }
            Event::Request(request) if request.target.starts_with("/?Action=ConfirmSubscription&") => {
                Action::Answer(Answer::new(200, "<ConfirmSubscriptionResponse/>"))
            }
            Event::Request(_) => Action::Answer(Answer::new(404, "")),
            _ => Action::Go,
        });
        let server = Server::start(address, options).await.map_err(NotStarted::Listen)?;
        let base_url = server.url();
        Ok(Sns { server, key, topic: topic.to_owned(), base_url })
    }

    pub fn certificate_url(&self) -> String {
        format!("{}{CERTIFICATE}", self.base_url)
    }

    /// # Errors
    /// When the call cannot be signed.
    pub fn notification(&self, message: &str) -> Result<Call, Unspecified> {
        self.notification_of(jiff::Timestamp::now().as_second(), message)
    }

    /// One that was published at this second.
    ///
    /// # Errors
    /// When the call cannot be signed.
    pub fn notification_of(&self, second: i64, message: &str) -> Result<Call, Unspecified> {
        let fields = [("Message", message), ("Subject", "Amazon SES Email Event Notification")];
        self.call("Notification", second, &fields)
    }

    pub fn subscribe_url(&self) -> String {
        format!("{}/?Action=ConfirmSubscription&TopicArn={}&Token=t0ken", self.base_url, self.topic)
    }

    /// # Errors
    /// When the call cannot be signed.
    pub fn confirmation(&self, subscribe_url: &str) -> Result<Call, Unspecified> {
        self.call(
            "SubscriptionConfirmation",
            jiff::Timestamp::now().as_second(),
            &[
                ("Message", "You have chosen to subscribe."),
                ("SubscribeURL", subscribe_url),
                ("Token", "t0ken"),
            ],
        )
    }

    fn call(&self, kind: &str, second: i64, more: &[(&str, &str)]) -> Result<Call, Unspecified> {
        let at = jiff::Timestamp::from_second(second).map_err(|_| Unspecified)?;
        let at = at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
        let mut fields = more.to_vec();
        fields.extend([
            ("MessageId", "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"),
            ("Timestamp", &at),
            ("TopicArn", &self.topic),
            ("Type", kind),
        ]);
        fields.sort_unstable();
        let text: String = fields.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)?;
        let mut body: Value = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        body["SignatureVersion"] = json!("2");
        body["Signature"] = json!(STANDARD.encode(signature));
        body["SigningCertURL"] = json!(self.certificate_url());
        Ok(Call {
            headers: vec![("content-type", "text/plain; charset=UTF-8".to_owned())],
            body: body.to_string().into_bytes(),
        })
    }
}
