//! The messages as programs read them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::{Channel, Content};
use crate::provider::sandbox::{Kept, Letter};

/// `GET /sandbox/messages`, in the order of arrival.
#[derive(Debug, Serialize)]
pub(super) struct Messages {
    messages: Vec<Message>,
    /// The `after` that goes on from here.
    next: u64,
}

#[derive(Debug, Serialize)]
struct Message {
    id: u64,
    at: Timestamp,
    channel: Channel,
    /// The account that took it.
    provider: String,
    to: String,
    campaign: String,
    /// The delivery's key, as `12-345-0`.
    delivery: String,
    attempt: u16,
    content: Value,
    unsubscribe_url: Option<String>,
    outcome: &'static str,
    /// What is heard of it, sooner or later.
    receipts: Vec<&'static str>,
}

impl Messages {
    pub(super) fn new(kept: &[Kept], after: u64) -> Self {
        let next = kept.last().map_or(after, |last| last.id);
        Messages { messages: kept.iter().map(|kept| message(kept.id, &kept.letter)).collect(), next }
    }
}

fn message(id: u64, letter: &Letter) -> Message {
    Message {
        id,
        at: letter.at,
        channel: letter.channel,
        provider: letter.account.to_string(),
        to: letter.to.clone(),
        campaign: letter.campaign.to_string(),
        delivery: letter.delivery.to_string(),
        attempt: letter.attempt,
        content: content(&letter.content),
        unsubscribe_url: letter.unsubscribe.clone(),
        outcome: outcome(letter),
        receipts: letter.later.iter().flat_map(|later| later.words()).collect(),
    }
}

/// `accepted`, or `no_answer` where it arrived and its sender does not know.
pub(super) fn outcome(letter: &Letter) -> &'static str {
    if letter.answered { "accepted" } else { "no_answer" }
}

fn content(content: &Content) -> Value {
    match content {
        Content::Email(email) => json!({
            "subject": email.subject,
            "from": email.from,
            "reply_to": email.reply_to,
            "html": email.html,
            "text": email.text,
        }),
        Content::Sms(sms) => {
            let aliyun = sms.aliyun.as_ref().map(|template| {
                json!({
                    "sign_name": template.sign_name,
                    "template_code": template.template_code,
                    "params": template.params,
                })
            });
            let tencent = sms.tencent.as_ref().map(|template| {
                json!({
                    "sign_name": template.sign_name,
                    "template_id": template.template_id,
                    "params": template.params,
                })
            });
            json!({"text": sms.text, "aliyun": aliyun, "tencent": tencent})
        }
        Content::Wechat(card) => {
            let data: Map<String, Value> = card
                .data
                .iter()
                .map(|(name, field)| (name.clone(), json!({"value": field.value, "color": field.color})))
                .collect();
            json!({"template_id": card.template_id, "url": card.url, "data": data})
        }
        Content::Push(push) => json!({"title": push.title, "body": push.body, "url": push.url}),
    }
}
