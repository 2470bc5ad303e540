//! Mailgun's webhooks, signed by HMAC-SHA256 over a timestamp and a token.
//! <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::token::UsedTokens;
use super::told::Told;
use super::{is_fresh, json, label, posted, refusal, verdict};
use crate::config::Secret;
use crate::model::Reason;
use crate::model::receipt::{Bounce, News};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// Tokens that are remembered, of some 70 bytes.
const TOKENS: usize = 50_000;

pub(super) struct MailgunHook {
    name: String,
    signing_key: Secret,
    used: UsedTokens,
}

impl fmt::Debug for MailgunHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailgunHook").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Call {
    signature: Signature,
    #[serde(rename = "event-data")]
    event: Event,
}

#[derive(Deserialize)]
struct Signature {
    timestamp: String,
    token: String,
    signature: String,
}

/// <https://documentation.mailgun.com/docs/mailgun/user-manual/events/events>
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Event {
    id: String,
    event: String,
    /// Seconds with a fraction.
    timestamp: Option<f64>,
    recipient: Option<String>,
    severity: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    delivery_status: DeliveryStatus,
    #[serde(default)]
    user_variables: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct DeliveryStatus {
    code: Option<u16>,
    enhanced_code: Option<String>,
    message: Option<String>,
    description: Option<String>,
}

impl MailgunHook {
    pub(super) fn new(name: &str, signing_key: &Secret) -> Self {
        let (name, signing_key) = (name.to_owned(), signing_key.clone());
        MailgunHook { name, signing_key, used: UsedTokens::new(TOKENS) }
    }

    /// 406 is what tells Mailgun not to come again. The signature does not cover the body: a token vouches for one.
    fn verify(&self, signature: &Signature, body: &[u8], now: Timestamp) -> Result<(), HookRefusal> {
        let not_acceptable = |detail: &str| Err(refusal(StatusCode::NOT_ACCEPTABLE, detail));
        // HMAC takes keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.signing_key.reveal().as_bytes()) else {
            return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "signing_key cannot be used"));
        };
        mac.update(signature.timestamp.as_bytes());
        mac.update(signature.token.as_bytes());
        if mac.verify_slice(&hex::decode(&signature.signature).unwrap_or_default()).is_err() {
            return not_acceptable("the signature is not made with signing_key; copy it from Mailgun again");
        }
        if !signature.timestamp.parse().is_ok_and(|second| is_fresh(second, now)) {
            return not_acceptable("the call is older than a day, or our clock is wrong");
        }
        if !self.used.vouches(&signature.token, body) {
            return not_acceptable("the token was used before, for another event");
        }
        Ok(())
    }

    pub(super) fn receive_at(
        &self,
        request: &HookRequest,
        now: Timestamp,
    ) -> Result<HookAnswer, HookRefusal> {
        posted(request)?;
        let Call { signature, event } = json(&request.body)?;
        self.verify(&signature, &request.body, now)?;
        Ok(HookAnswer { receipts: event.told().receipts(&self.name, now), ..HookAnswer::default() })
    }
}

impl Hook for MailgunHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}

impl Event {
    fn told(&self) -> Told<'_> {
        let label = self.user_variables.get(label::NAME).and_then(Value::as_str);
        Told {
            id: &self.id,
            delivery: label.and_then(|key| key.parse().ok()),
            address: self.recipient.as_deref(),
            at: self.timestamp.and_then(instant),
            news: self.news(),
            detail: self.delivery_status.words().or(self.reason.as_deref()),
        }
    }

    fn news(&self) -> Vec<News> {
        match self.event.as_str() {
            "accepted" => vec![News::Accepted],
            "delivered" => vec![News::Delivered],
            "rejected" => vec![News::Bounced { bounce: Bounce::Block, reason: Reason::MessageRefused }],
            "complained" => vec![News::Complained],
            "unsubscribed" => vec![News::Unsubscribed],
            "failed" => self.failed(),
            _ => Vec::new(),
        }
    }

    /// A temporary failure is with Mailgun, which goes on trying; the last of them is `old`.
    fn failed(&self) -> Vec<News> {
        let reason = self.reason.as_deref();
        let permanent = self.severity.as_deref() == Some("permanent");
        let left = || News::Bounced { bounce: Bounce::Block, reason: Reason::RecipientRefused };
        let service = match reason {
            Some("old") => Bounce::Soft,
            _ if !permanent => return vec![News::Accepted],
            Some("suppress-unsubscribe") => return vec![left(), News::Unsubscribed],
            Some("suppress-complaint") => return vec![left(), News::Complained],
            Some("suppress-bounce") => Bounce::Hard,
            Some("espblock") => Bounce::Block,
            _ if self.delivery_status.code.is_some_and(|code| code / 100 == 5) => Bounce::Hard,
            _ => Bounce::Soft,
        };
        let status = &self.delivery_status;
        vec![verdict::bounced(service, status.enhanced_code.as_deref(), &status.reply())]
    }
}

impl DeliveryStatus {
    fn words(&self) -> Option<&str> {
        [&self.message, &self.description]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|text| !text.is_empty())
    }

    /// The reply as the server gave it, its code in front.
    fn reply(&self) -> String {
        let words = self.words().unwrap_or_default();
        match self.code {
            Some(code) if !words.starts_with(&code.to_string()) => format!("{code} {words}"),
            _ => words.to_owned(),
        }
    }
}

fn instant(seconds: f64) -> Option<Timestamp> {
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}
