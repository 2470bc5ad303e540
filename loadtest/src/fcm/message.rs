//! What a body of `messages:send` says, and what FCM finds wrong with it.
//!
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>

use serde_json::{Map, Value};

use super::answers::Refusal;

/// Bytes of notification and data together, and of those to a topic.
const MOST: usize = 4096;
const MOST_TO_TOPIC: usize = 2048;
const FIELDS: [&str; 11] = [
    "name",
    "token",
    "fid",
    "topic",
    "condition",
    "notification",
    "data",
    "android",
    "apns",
    "webpush",
    "fcm_options",
];
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The registration token, installation, topic or condition.
    pub to: String,
    pub validate_only: bool,
    /// `message`, whole.
    pub body: Value,
    /// `projects/p/messages/0:1`
    pub name: String,
}

impl Message {
    /// What the recipient gets.
    pub(super) fn text(&self) -> String {
        [&self.body["notification"], &self.body["data"]].map(Value::to_string).join("\n")
    }
}

fn bad_request(field: &str, description: &'static str) -> Refusal {
    Refusal::BadRequest { field: field.to_owned(), description }
}

pub(super) fn read(raw: &[u8]) -> Result<Message, Refusal> {
    let body: Value = serde_json::from_slice(raw).map_err(|_| bad_request("", "not valid JSON"))?;
    let message = body["message"].as_object().ok_or_else(|| bad_request("message", "required"))?;
    let unknown = message.keys().find(|key| !FIELDS.contains(&snake(key).as_str()));
    if let Some(key) = unknown {
        return Err(bad_request(&format!("message.{key}"), "Cannot find field."));
    }
    let targets: Vec<_> = TARGETS.iter().filter_map(|name| Some((*name, message.get(*name)?))).collect();
    let [(target, Value::String(to))] = targets[..] else {
        return Err(bad_request(
            "message",
            "exactly one of token, fid, topic or condition must be specified",
        ));
    };
    fields(message)?;
    let size =
        ["notification", "data"].iter().filter_map(|name| message.get(*name)).map(weight).sum::<usize>();
    if size > if target == "topic" { MOST_TO_TOPIC } else { MOST } {
        return Err(Refusal::TooBig);
    }
    Ok(Message {
        to: to.clone(),
        validate_only: body["validate_only"] == true || body["validateOnly"] == true,
        body: Value::Object(message.clone()),
        name: String::new(),
    })
}

/// Names come in either style, as everywhere in JSON for protocol buffers.
fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, c| {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

fn fields(message: &Map<String, Value>) -> Result<(), Refusal> {
    let texts = |value: Option<&Value>| match value {
        None => true,
        Some(value) => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
    };
    if !texts(message.get("data")) {
        return Err(bad_request("message.data", "values are strings"));
    }
    let reserved = |key: &String| key == "from" || key.starts_with("google.") || key.starts_with("gcm.");
    let data = message.get("data").and_then(Value::as_object);
    if let Some(key) = data.and_then(|data| data.keys().find(|key| reserved(key))) {
        return Err(bad_request(&format!("message.data[{key}]"), "reserved"));
    }
    if !texts(message.get("apns").and_then(|apns| apns.get("headers"))) {
        return Err(bad_request("message.apns.headers", "values are strings"));
    }
    let Some(android) = message.get("android") else { return Ok(()) };
    let seconds = |ttl: &str| ttl.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok());
    let ttl = &android["ttl"];
    if !ttl.is_null() && !ttl.as_str().is_some_and(seconds) {
        return Err(bad_request(
            "message.android.ttl",
            "Illegal duration format; duration must end with 's'",
        ));
    }
    let priority = android["priority"].as_str().map(str::to_ascii_lowercase);
    if !matches!(priority.as_deref(), None | Some("high" | "normal")) {
        return Err(bad_request("message.android.priority", "not an AndroidMessagePriority"));
    }
    Ok(())
}

/// Names and texts in bytes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        other => other.to_string().len(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_has_one_target_and_fields_that_fcm_knows() {
        let read = |message: Value| read(json!({"message": message}).to_string().as_bytes());
        let size = |length: usize| json!({"token": "t", "notification": {"body": "x".repeat(length - 4)}});
        for good in [
            json!({"token": "t", "data": {"a": "b"}, "android": {"ttl": "3600s", "priority": "HIGH"}}),
            json!({"fid": "f", "fcmOptions": {"analyticsLabel": "c"}}),
            size(4096),
        ] {
            assert!(read(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!({}),
            json!({"token": "t", "topic": "all"}),
            json!({"token": 1}),
            json!({"token": "t", "to": "t"}),
            json!({"token": "t", "data": {"a": 1}}),
            json!({"token": "t", "data": {"google.a": ""}}),
            json!({"token": "t", "android": {"ttl": 3600}}),
            json!({"token": "t", "android": {"priority": 10}, "apns": {"headers": {"apns-priority": 10}}}),
            size(4097),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
