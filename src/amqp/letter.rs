//! What a dead letter carries beside the job's own body: why it died, where it came from, and a name to
//! call it by.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::publish::json;

/// Why the job is dead, with the JSON path.
pub const ERROR_HEADER: &str = "x-campaignd-error";
/// The queue that it came from and that a retry goes to.
pub const QUEUE_HEADER: &str = "x-campaignd-queue";

/// Headers share one frame of at least 128 KiB, and a path holds keys of the sender's own choosing.
const MAX_ERROR_CHARS: usize = 2000;

/// One dead letter as `dead list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// The message id; where the broker dead-lettered a message that had none, `sha256:` and twelve digits
    /// of its body's hash. Never the position: that changes under concurrent hands.
    pub id: String,
    /// `None` where neither we nor the broker noted it: it cannot be retried.
    pub queue: Option<String>,
    pub error: String,
    /// The job's `type` and `id`, where the body has them.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub job: Option<String>,
    pub bytes: usize,
}

impl Letter {
    pub(crate) fn read(delivery: &Delivery) -> Self {
        let header = |name: &str| text(delivery.properties.headers().as_ref()?.inner().get(name)?);
        let id = match delivery.properties.message_id() {
            Some(id) if !id.as_str().is_empty() => id.to_string(),
            _ => format!("sha256:{}", hex::encode(&Sha256::digest(&delivery.data)[..6])),
        };
        let job: Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
        let word = |name: &str| job.get(name).and_then(Value::as_str).map(str::to_owned);
        Letter {
            id,
            queue: header(QUEUE_HEADER).or_else(|| header("x-first-death-queue")),
            error: header(ERROR_HEADER).unwrap_or_else(|| match header("x-first-death-reason").as_deref() {
                Some("delivery_limit") => {
                    "delivered too often without an answer: the daemon was lost each time while it held this job"
                        .to_owned()
                }
                Some(reason) => format!("dead-lettered by RabbitMQ: {reason}"),
                None => "not known: put here by someone else".to_owned(),
            }),
            kind: word("type"),
            job: word("id"),
            bytes: delivery.data.len(),
        }
    }
}

/// Properties of the letter for a job from `queue`. Names a job that its sender did not name. Of the
/// sender's own properties only those pass that the broker does not act on: an expiry would lose the
/// letter, a user id or `CC` that is not ours to repeat would be refused for ever.
pub(crate) fn properties(original: &BasicProperties, queue: &str, error: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
    headers.insert(ERROR_HEADER.into(), AMQPValue::LongString(error.into()));
    headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(queue.into()));
    carried(original).with_headers(headers)
}

/// What survives of a message's properties on its way to the dead letters and back.
pub(crate) fn carried(original: &BasicProperties) -> BasicProperties {
    let named = original.message_id().clone().filter(|id| !id.as_str().is_empty());
    let id = named.unwrap_or_else(|| ShortString::from(Uuid::now_v7().to_string()));
    let mut properties = json().with_message_id(id);
    if let Some(content_type) = original.content_type() {
        properties = properties.with_content_type(content_type.clone());
    }
    if let Some(encoding) = original.content_encoding() {
        properties = properties.with_content_encoding(encoding.clone());
    }
    if let Some(correlation) = original.correlation_id() {
        properties = properties.with_correlation_id(correlation.clone());
    }
    properties
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(properties: BasicProperties, body: &str) -> Delivery {
        let mut delivery = Delivery::mock(1, "".into(), "q".into(), false, body.into());
        delivery.properties = properties;
        delivery
    }

    #[test]
    fn a_letter_says_what_it_is_and_drops_what_the_broker_would_act_on() {
        let mut headers = FieldTable::default();
        headers.insert("CC".into(), AMQPValue::LongString("elsewhere".into()));
        let original = BasicProperties::default()
            .with_headers(headers)
            .with_expiration("1000".into())
            .with_user_id("someone".into())
            .with_content_type("text/plain".into());
        let properties = properties(&original, "campaignd.jobs", "$.id: missing");
        assert_eq!((properties.expiration(), properties.user_id()), (&None, &None));
        assert!(!properties.headers().as_ref().unwrap().contains_key("CC"));
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");

        let letter = Letter::read(&delivery(properties, r#"{"type": "control", "id": 7}"#));
        assert_eq!(letter.queue.as_deref(), Some("campaignd.jobs"));
        assert_eq!(letter.error, "$.id: missing");
        assert_eq!((letter.kind.as_deref(), letter.job), (Some("control"), None));
        assert!(Uuid::parse_str(&letter.id).is_ok(), "{}", letter.id);
    }

    #[test]
    fn a_letter_of_the_brokers_own_has_a_name_and_a_reason() {
        let mut headers = FieldTable::default();
        headers.insert("x-first-death-queue".into(), AMQPValue::LongString("campaignd.jobs".into()));
        headers.insert("x-first-death-reason".into(), AMQPValue::LongString("delivery_limit".into()));
        let letter = Letter::read(&delivery(BasicProperties::default().with_headers(headers), "\u{0}"));
        assert_eq!(
            (letter.id.as_str(), letter.queue.as_deref()),
            ("sha256:6e340b9cffb3", Some("campaignd.jobs"))
        );
        assert!(letter.error.contains("delivered too often"));
    }

    #[test]
    fn an_error_of_any_length_fits_its_frame() {
        let properties = properties(&BasicProperties::default(), "q", &"鱼".repeat(1_000_000));
        let letter = Letter::read(&delivery(properties, "{}"));
        assert_eq!(letter.error.chars().count(), MAX_ERROR_CHARS);
    }
}
