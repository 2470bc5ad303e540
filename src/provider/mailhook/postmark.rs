//! Postmark's webhooks. They are not signed: who knows the password, or the secret end of the path, is believed.
//! <https://postmarkapp.com/developer/webhooks/webhooks-overview>

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::told::Told;
use super::{json, label, posted, refusal, verdict};
use crate::config::Secret;
use crate::model::receipt::{Bounce, News};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

pub(super) struct PostmarkHook {
    name: String,
    /// The value of `Authorization`.
    login: Option<String>,
    path: Option<Secret>,
}

impl fmt::Debug for PostmarkHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostmarkHook").field("name", &self.name).finish_non_exhaustive()
    }
}

/// <https://postmarkapp.com/developer/webhooks/bounce-webhook> and the pages beside it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    record_type: String,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
    /// Of a bounce or complaint.
    #[serde(rename = "ID")]
    id: Option<u64>,
    /// Of a bounce.
    #[serde(rename = "Type")]
    kind: Option<String>,
    /// Of a bounce or complaint.
    email: Option<String>,
    /// Of a delivery or a change.
    recipient: Option<String>,
    bounced_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    /// What the receiving server said.
    #[serde(default)]
    details: Option<String>,
    suppress_sending: Option<bool>,
    suppression_reason: Option<String>,
    #[serde(default)]
    metadata: Value,
}

/// What a type of bounce means; one that is missing here says nothing against the address.
/// <https://postmarkapp.com/developer/api/bounce-api#bounce-types>
const TYPES: &[(&str, Meaning)] = &[
    ("HardBounce", Meaning::Bounced(Bounce::Hard)),
    ("BadEmailAddress", Meaning::Bounced(Bounce::Hard)),
    ("SoftBounce", Meaning::Bounced(Bounce::Soft)),
    ("DnsError", Meaning::Bounced(Bounce::Soft)),
    ("Unknown", Meaning::Bounced(Bounce::Soft)),
    ("ChallengeVerification", Meaning::Bounced(Bounce::Soft)),
    ("SpamNotification", Meaning::Bounced(Bounce::Block)),
    ("VirusNotification", Meaning::Bounced(Bounce::Block)),
    ("Blocked", Meaning::Bounced(Bounce::Block)),
    ("DMARCPolicy", Meaning::Bounced(Bounce::Block)),
    ("ManuallyDeactivated", Meaning::Bounced(Bounce::Block)),
    ("Unconfirmed", Meaning::Bounced(Bounce::Block)),
    ("SMTPApiError", Meaning::Bounced(Bounce::Block)),
    ("TemplateRenderingFailed", Meaning::Bounced(Bounce::Block)),
    ("SpamComplaint", Meaning::Complained),
    ("Unsubscribe", Meaning::Unsubscribed),
    // Postmark goes on trying.
    ("Transient", Meaning::Nothing),
    // The recipient's machine wrote back: the message arrived.
    ("AutoResponder", Meaning::Nothing),
    ("AddressChange", Meaning::Nothing),
    ("Subscribe", Meaning::Nothing),
    ("OpenRelayTest", Meaning::Nothing),
    ("InboundError", Meaning::Nothing),
];

#[derive(Debug, Clone, Copy)]
enum Meaning {
    Bounced(Bounce),
    Complained,
    Unsubscribed,
    Nothing,
}

impl PostmarkHook {
    pub(super) fn new(name: &str, login: Option<&(String, Secret)>, path: Option<&Secret>) -> Self {
        let login = login.map(|(user, password)| {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
        });
        PostmarkHook { name: name.to_owned(), login, path: path.cloned() }
    }

    /// Every secret that is configured must be right. Compares in constant time.
    fn verify(&self, request: &HookRequest) -> Result<(), HookRefusal> {
        let same = |given: &[u8], wanted: &str| verify_slices_are_equal(given, wanted.as_bytes()).is_ok();
        let given = request.headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        if self.login.as_ref().is_some_and(|login| !same(given, login)) {
            return Err(refusal(
                StatusCode::UNAUTHORIZED,
                "not username and password: give them in Postmark's settings of the webhook",
            ));
        }
        if self.path.as_ref().is_some_and(|path| !same(request.tail.as_bytes(), path.reveal())) {
            return Err(refusal(StatusCode::NOT_FOUND, "the path does not end in secret"));
        }
        Ok(())
    }

    pub(super) fn receive_at(
        &self,
        request: &HookRequest,
        now: Timestamp,
    ) -> Result<HookAnswer, HookRefusal> {
        posted(request)?;
        self.verify(request)?;
        let event: Event = json(&request.body)?;
        let receipts = event.told(&event.key()).receipts(&self.name, now);
        Ok(HookAnswer { receipts, ..HookAnswer::default() })
    }
}

impl Hook for PostmarkHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}

impl Event {
    /// Deliveries and changes have no id of their own.
    fn key(&self) -> String {
        let message = self.message_id.as_deref().unwrap_or_default();
        match self.id {
            Some(id) => id.to_string(),
            None => {
                let changed = self.changed_at.map(|at| at.to_string()).unwrap_or_default();
                format!("{message} {} {changed}", self.recipient.as_deref().unwrap_or_default())
            }
        }
    }

    fn told<'a>(&'a self, key: &'a str) -> Told<'a> {
        let label = self.metadata.get(label::POSTMARK_NAME).and_then(Value::as_str);
        Told {
            id: key,
            delivery: label.and_then(|key| key.parse().ok()),
            address: self.email.as_deref().or(self.recipient.as_deref()),
            at: self.bounced_at.or(self.delivered_at).or(self.changed_at),
            news: self.news().into_iter().collect(),
            detail: self.details.as_deref(),
        }
    }

    fn news(&self) -> Option<News> {
        match self.record_type.as_str() {
            "Delivery" => Some(News::Delivered),
            "SpamComplaint" => Some(News::Complained),
            "Bounce" => self.bounce(),
            // Bounces are told by their own webhook.
            "SubscriptionChange" if self.suppress_sending == Some(true) => {
                match self.suppression_reason.as_deref() {
                    Some("SpamComplaint") => Some(News::Complained),
                    Some("ManualSuppression") => Some(News::Unsubscribed),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn bounce(&self) -> Option<News> {
        let kind = self.kind.as_deref().unwrap_or_default();
        let known = TYPES.iter().find(|(name, _)| *name == kind).map(|(_, meaning)| *meaning);
        let words = self.details.as_deref().unwrap_or_default();
        match known.unwrap_or(Meaning::Bounced(Bounce::Soft)) {
            Meaning::Bounced(bounce) => Some(verdict::bounced(bounce, None, words)),
            Meaning::Complained => Some(News::Complained),
            Meaning::Unsubscribed => Some(News::Unsubscribed),
            Meaning::Nothing => None,
        }
    }
}
