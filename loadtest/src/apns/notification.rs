//! What a request says, and what Apple finds wrong with it.
//!
//! <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::Value;

use crate::http::Request;

/// Bytes of a payload; of a call's.
const MOST: usize = 4096;
const MOST_OF_VOIP: usize = 5120;
const HEADERS: [&str; 7] = [
    "authorization",
    "apns-id",
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
    "apns-collapse-id",
];
const PUSH_TYPES: [&str; 12] = [
    "alert",
    "background",
    "location",
    "voip",
    "complication",
    "fileprovider",
    "mdm",
    "liveactivity",
    "pushtotalk",
    "widgets",
    "controls",
    "contacts",
];

/// A notification that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The device's token in hex.
    pub device: String,
    pub id: String,
    pub topic: String,
    pub push_type: String,
    /// Empty where absent.
    pub collapse_id: String,
    /// Seconds since 1970; 0 is once, now.
    pub expiration: Option<i64>,
    pub payload: Value,
}

/// The device of the path.
pub(super) fn device(request: &Request) -> Result<String, &'static str> {
    let device = request.target.strip_prefix("/3/device/").ok_or("BadPath")?;
    if request.method != Method::POST {
        return Err("MethodNotAllowed");
    }
    match device {
        "" => Err("MissingDeviceToken"),
        // Apple tells that a token's length may change: today's are 64 digits, and at most 200.
        _ if !(64..=200).contains(&device.len()) => Err("BadDeviceToken"),
        _ if !device.bytes().all(|c| c.is_ascii_hexdigit()) => Err("BadDeviceToken"),
        _ => Ok(device.to_ascii_lowercase()),
    }
}

pub(super) fn read(
    request: &Request,
    device: String,
    topics: &BTreeSet<String>,
) -> Result<Notification, &'static str> {
    if HEADERS.iter().any(|name| request.headers.get_all(*name).iter().count() > 1) {
        return Err("DuplicateHeaders");
    }
    let text = |name: &str| request.header(name).map(str::to_owned);
    let topic = text("apns-topic").ok_or("MissingTopic")?;
    let push_type = text("apns-push-type").unwrap_or_else(|| "alert".to_owned());
    if !PUSH_TYPES.contains(&push_type.as_str()) {
        return Err("InvalidPushType");
    }
    // Topics of other types than alerts are the app's with an ending, such as `.voip`.
    if !topics
        .iter()
        .any(|own| topic.strip_prefix(own).is_some_and(|end| end.is_empty() || end.starts_with('.')))
    {
        return Err("TopicDisallowed");
    }
    if !matches!(request.header("apns-priority"), None | Some("10" | "5" | "1")) {
        return Err("BadPriority");
    }
    let expiration = text("apns-expiration").map(|at| at.parse::<i64>().map_err(|_| "BadExpirationDate"));
    let expiration = expiration.transpose()?;
    let id = text("apns-id");
    if id.as_deref().is_some_and(|id| !is_uuid(id)) {
        return Err("BadMessageId");
    }
    let collapse_id = text("apns-collapse-id").unwrap_or_default();
    if collapse_id.len() > 64 {
        return Err("BadCollapseId");
    }
    if request.body.len() > if push_type == "voip" { MOST_OF_VOIP } else { MOST } {
        return Err("PayloadTooLarge");
    }
    let payload =
        serde_json::from_slice(&request.body).ok().filter(Value::is_object).ok_or("PayloadEmpty")?;
    Ok(Notification {
        device,
        id: id.unwrap_or_default(),
        topic,
        push_type,
        collapse_id,
        expiration,
        payload,
    })
}

/// 8-4-4-4-12 hex digits.
fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-')
}
