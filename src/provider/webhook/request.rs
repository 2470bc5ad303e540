//! What the receiver is sent: a chunk of messages as JSON, under an id that a repeat of the same chunk has again.

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::content;
use crate::model::{Channel, Content, DeliveryKey, Purpose};
use crate::provider::Message;

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    messages: Vec<Posted<'a>>,
}

#[derive(Serialize)]
struct Posted<'a> {
    #[serde(serialize_with = "shown")]
    id: DeliveryKey,
    attempt: u16,
    channel: Channel,
    campaign: &'a str,
    purpose: Purpose,
    to: &'a str,
    unsubscribe_url: Option<&'a str>,
    content: &'a Content,
}

fn shown<S: serde::Serializer>(key: &DeliveryKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// # Errors
/// When a message is none that this format holds: a mail that is already composed.
pub(super) fn body(messages: &[Message], now: Timestamp) -> serde_json::Result<Bytes> {
    let posted = messages.iter().map(|message| {
        let content = content(message).ok_or_else(|| {
            serde::ser::Error::custom("it is already composed as mail, and a webhook takes content")
        })?;
        Ok(Posted {
            id: message.delivery,
            attempt: message.attempt,
            channel: content.channel(),
            campaign: &message.campaign,
            purpose: message.purpose,
            to: &message.to,
            unsubscribe_url: message.unsubscribe.as_deref(),
            content,
        })
    });
    let messages = posted.collect::<serde_json::Result<_>>()?;
    let envelope = Envelope { r#type: "messages", timestamp: now, data: Data { messages } };
    serde_json::to_vec(&envelope).map(Bytes::from)
}

/// The same for the same messages in the same order at the same attempts, and for nothing else.
pub(super) fn id(messages: &[Message]) -> String {
    let mut members = String::with_capacity(messages.len() * 24);
    for message in messages {
        // Writing to a text cannot fail.
        let _infallible = writeln!(members, "{} {}", message.delivery, message.attempt);
    }
    let hash = Sha256::digest(&members);
    format!("msg_{}", hex::encode(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::content::{PushContent, SmsContent};
    use crate::provider::webhook::tests::message;

    #[test]
    fn a_request_carries_what_the_page_says() {
        let push = PushContent { title: "Hi".to_owned(), body: "there".to_owned(), url: None };
        let mut second = message(2, "token", Content::Push(push));
        second.unsubscribe = None;
        let sms = SmsContent { text: Some("Sale".to_owned()), ..SmsContent::default() };
        let messages = [message(1, "+8613800138000", Content::Sms(sms)), second];
        let now = "2026-04-01T01:00:00Z".parse().unwrap();
        let body: Value = serde_json::from_slice(&body(&messages, now).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"type": "messages", "timestamp": "2026-04-01T01:00:00Z", "data": {"messages": [
                {"id": "12-1-0", "attempt": 1, "channel": "sms", "campaign": "spring", "purpose": "marketing",
                 "to": "+8613800138000", "unsubscribe_url": "https://shop.example/u/1",
                 "content": {"channel": "sms", "text": "Sale", "aliyun": null, "tencent": null}},
                {"id": "12-2-0", "attempt": 1, "channel": "push", "campaign": "spring", "purpose": "marketing",
                 "to": "token", "unsubscribe_url": null,
                 "content": {"channel": "push", "title": "Hi", "body": "there", "url": null}},
            ]}})
        );
    }

    #[test]
    fn an_id_stands_for_messages_and_attempts() {
        let sms = || Content::Sms(SmsContent::default());
        let messages = || [message(1, "a", sms()), message(2, "b", sms())];
        let again = id(&messages());
        assert_eq!(id(&messages()), again);
        assert!(again.len() == 36 && again.starts_with("msg_"));
        assert_ne!(id(&messages()[..1]), again);
        let mut later = messages();
        later[1].attempt = 2;
        assert_ne!(id(&later), again);
    }
}
