//! SendGrid's event webhook, signed by ECDSA over P-256 with SHA-256.
//! <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::told::Told;
use super::{is_fresh, json, posted, refusal, verdict};
use crate::model::receipt::{Bounce, News};
use crate::model::{DeliveryKey, Reason};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

#[derive(Debug)]
pub(super) struct SendGridHook {
    name: String,
    key: ParsedPublicKey,
}

/// <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>
#[derive(Debug, Deserialize)]
struct Event {
    event: String,
    sg_event_id: String,
    email: Option<String>,
    /// Seconds.
    timestamp: Option<i64>,
    /// Of a bounce: `bounce` or `blocked`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// What SendGrid makes of the reply.
    bounce_classification: Option<String>,
    status: Option<String>,
    #[serde(default)]
    reason: String,
    /// Our label.
    campaignd_delivery: Option<String>,
}

impl SendGridHook {
    /// `None` without a key of P-256 in `public_key`.
    pub(super) fn new(name: &str, public_key: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).ok()?;
        Some(SendGridHook { name: name.to_owned(), key })
    }

    /// The signature covers the timestamp and the body's raw bytes, so that a repeat within the time tells nothing new.
    fn verify(&self, request: &HookRequest, now: Timestamp) -> Result<(), HookRefusal> {
        let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(timestamp), Some(signature)) = (text(TIMESTAMP), text(SIGNATURE)) else {
            return Err(refusal(
                StatusCode::UNAUTHORIZED,
                "not signed: switch the signed event webhook on in SendGrid's settings",
            ));
        };
        let signed = [timestamp.as_bytes(), &request.body].concat();
        let signature = STANDARD.decode(signature).unwrap_or_default();
        if self.key.verify_sig(&signed, &signature).is_err() {
            return Err(refusal(
                StatusCode::UNAUTHORIZED,
                "the signature is not made with the key to public_key; copy it from SendGrid again",
            ));
        }
        if timestamp.parse().is_ok_and(|second| is_fresh(second, now)) {
            return Ok(());
        }
        Err(refusal(StatusCode::BAD_REQUEST, "the call is older than a day, or our clock is wrong"))
    }

    pub(super) fn receive_at(
        &self,
        request: &HookRequest,
        now: Timestamp,
    ) -> Result<HookAnswer, HookRefusal> {
        posted(request)?;
        self.verify(request, now)?;
        let mut receipts = Vec::new();
        for event in json::<Vec<Value>>(&request.body)? {
            // One event that nobody understands must not hold up the hundreds beside it.
            match Event::deserialize(event) {
                Ok(event) => receipts.extend(event.told().receipts(&self.name, now)),
                Err(_) => tracing::warn!(provider = self.name, "an event of SendGrid is not as documented"),
            }
        }
        Ok(HookAnswer { receipts, ..HookAnswer::default() })
    }
}

impl Hook for SendGridHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}

impl Event {
    fn told(&self) -> Told<'_> {
        Told {
            id: &self.sg_event_id,
            delivery: self.campaignd_delivery.as_deref().and_then(|key| key.parse::<DeliveryKey>().ok()),
            address: self.email.as_deref(),
            at: self.timestamp.and_then(|second| Timestamp::from_second(second).ok()),
            news: self.news(),
            detail: Some(&self.reason),
        }
    }

    fn news(&self) -> Vec<News> {
        match self.event.as_str() {
            // A deferred message is with SendGrid, which goes on trying.
            "processed" | "deferred" => vec![News::Accepted],
            "delivered" => vec![News::Delivered],
            "bounce" => vec![verdict::bounced(self.bounce(), self.status.as_deref(), &self.reason)],
            "dropped" => dropped(&self.reason),
            "spamreport" => vec![News::Complained],
            "unsubscribe" | "group_unsubscribe" => vec![News::Unsubscribed],
            _ => Vec::new(),
        }
    }

    fn bounce(&self) -> Bounce {
        match (self.kind.as_deref(), self.bounce_classification.as_deref()) {
            (_, Some("Reputation" | "Content" | "Frequency or Volume Too High")) => Bounce::Block,
            (_, Some("Mailbox Unavailable" | "Technical Failure")) => Bounce::Soft,
            (Some("blocked"), _) => Bounce::Block,
            _ => Bounce::Hard,
        }
    }
}

/// SendGrid did not even try: mostly because of what the address is listed for.
fn dropped(reason: &str) -> Vec<News> {
    let bounced = |bounce, reason| News::Bounced { bounce, reason };
    let left = || bounced(Bounce::Block, Reason::RecipientRefused);
    match reason {
        "Bounced Address" | "Invalid" => vec![bounced(Bounce::Hard, Reason::UnknownRecipient)],
        "Unsubscribed Address" => vec![left(), News::Unsubscribed],
        "Spam Reporting Address" => vec![left(), News::Complained],
        "Spam Content (if spam checker app enabled)" | "Spam Content" | "Invalid SMTPAPI header" => {
            vec![bounced(Bounce::Block, Reason::MessageRefused)]
        }
        _ => vec![bounced(Bounce::Block, Reason::PolicyRefused)],
    }
}
