//! The events of SES, as configuration sets publish them, and its older notifications of bounces and complaints.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::told::Told;
use super::super::{label, verdict};
use crate::model::receipt::{Bounce, News};
use crate::model::{DeliveryKey, Reason, Receipt};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// Events and notifications name it differently.
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: Mail,
    #[serde(default)]
    bounce: BounceDetails,
    #[serde(default)]
    complaint: Complaint,
    #[serde(default)]
    delivery: Delivery,
    #[serde(default)]
    reject: Reject,
    #[serde(default)]
    subscription: Subscription,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    /// Given by SES.
    message_id: String,
    timestamp: Option<Timestamp>,
    #[serde(default)]
    destination: Vec<String>,
    /// Only in events of configuration sets.
    #[serde(default)]
    tags: HashMap<String, Vec<String>>,
    /// Only where the identity's notifications include the original headers.
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BounceDetails {
    bounce_type: String,
    bounce_sub_type: String,
    bounced_recipients: Vec<Recipient>,
    timestamp: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Complaint {
    complained_recipients: Vec<Recipient>,
    complaint_feedback_type: Option<String>,
    timestamp: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Recipient {
    email_address: String,
    status: Option<String>,
    diagnostic_code: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Delivery {
    recipients: Vec<String>,
    smtp_response: Option<String>,
    timestamp: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reject {
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subscription {
    timestamp: Option<Timestamp>,
    new_topic_preferences: Preferences,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preferences {
    unsubscribe_all: bool,
}

/// What a signed notification is worth. SES also sends plain text, to say that a topic is set up.
pub(super) fn receipts(provider: &str, domain: &str, message: &str, now: Timestamp) -> Vec<Receipt> {
    if !message.trim_start().starts_with('{') {
        return Vec::new();
    }
    let event: Event = match serde_json::from_str(message) {
        Ok(event) => event,
        Err(_) => {
            tracing::warn!(provider, "an event of SES is not as documented");
            return Vec::new();
        }
    };
    let delivery = event.mail.delivery(domain);
    let told = |one: Said<'_>| {
        // A message has one event of a kind for a recipient.
        let id = format!("{} {}", event.mail.message_id, one.address);
        let told = Told {
            id: &id,
            delivery,
            address: Some(one.address),
            at: one.at.or(event.mail.timestamp),
            news: one.news,
            detail: one.detail,
        };
        told.receipts(provider, now)
    };
    event.said().into_iter().flat_map(told).collect()
}

/// What the event says of one recipient.
struct Said<'a> {
    address: &'a str,
    at: Option<Timestamp>,
    news: Vec<News>,
    detail: Option<&'a str>,
}

impl Mail {
    fn delivery(&self, domain: &str) -> Option<DeliveryKey> {
        let tag = self.tags.get(label::NAME).and_then(|values| values.first());
        let message_id = || self.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Message-ID"));
        tag.and_then(|key| key.parse().ok())
            .or_else(|| message_id().and_then(|header| label::named(&header.value, domain)))
    }
}

impl Event {
    fn said(&self) -> Vec<Said<'_>> {
        match self.event_type.as_str() {
            "Bounce" => {
                let recipients = self.bounce.bounced_recipients.iter();
                recipients.map(|recipient| self.bounce.said(recipient)).collect()
            }
            // The recipient took it out of the spam folder.
            "Complaint" if self.complaint.complaint_feedback_type.as_deref() == Some("not-spam") => {
                Vec::new()
            }
            "Complaint" => {
                let addresses = self.complaint.complained_recipients.iter().map(|one| &one.email_address);
                let detail = self.complaint.complaint_feedback_type.as_deref();
                of_all(addresses, self.complaint.timestamp, &News::Complained, detail)
            }
            "Delivery" => {
                let detail = self.delivery.smtp_response.as_deref();
                of_all(&self.delivery.recipients, self.delivery.timestamp, &News::Delivered, detail)
            }
            // A delayed message is with SES, which goes on trying.
            "Send" | "DeliveryDelay" => of_all(&self.mail.destination, None, &News::Accepted, None),
            // SES took it and then found a virus.
            "Reject" => {
                let refused = News::Bounced { bounce: Bounce::Block, reason: Reason::MessageRefused };
                of_all(&self.mail.destination, None, &refused, self.reject.reason.as_deref())
            }
            "Subscription" if self.subscription.new_topic_preferences.unsubscribe_all => {
                of_all(&self.mail.destination, self.subscription.timestamp, &News::Unsubscribed, None)
            }
            _ => Vec::new(),
        }
    }
}

fn of_all<'a>(
    addresses: impl IntoIterator<Item = &'a String>,
    at: Option<Timestamp>,
    news: &News,
    detail: Option<&'a str>,
) -> Vec<Said<'a>> {
    addresses.into_iter().map(|address| Said { address, at, news: vec![news.clone()], detail }).collect()
}

impl BounceDetails {
    fn said<'a>(&'a self, recipient: &'a Recipient) -> Said<'a> {
        let words = recipient.diagnostic_code.as_deref().unwrap_or_default();
        let status = recipient.status.as_deref();
        let blocked = |reason| News::Bounced { bounce: Bounce::Block, reason };
        let news = match (self.bounce_type.as_str(), self.bounce_sub_type.as_str()) {
            ("Transient", "MailboxFull") => {
                News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull }
            }
            ("Transient", "MessageTooLarge" | "ContentRejected" | "AttachmentRejected") => {
                blocked(Reason::MessageRefused)
            }
            ("Permanent", _) => verdict::bounced(Bounce::Hard, status, words),
            _ => verdict::bounced(Bounce::Soft, status, words),
        };
        let detail = Some(words).filter(|words| !words.is_empty()).or(status);
        Said { address: &recipient.email_address, at: self.timestamp, news: vec![news], detail }
    }
}
