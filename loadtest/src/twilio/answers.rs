//! The service's answers.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Message;
use crate::clock::utc;
use crate::http::Answer;

/// An error code of the service, with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u32,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: u32, message: &str) -> Self {
        Refusal { code, message: message.to_owned() }
    }
}

/// <https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>
pub(super) fn refused(refusal: &Refusal) -> Answer {
    let Refusal { code, message } = refusal;
    let status = match code {
        20003 => StatusCode::UNAUTHORIZED,
        20004 => StatusCode::METHOD_NOT_ALLOWED,
        20404 => StatusCode::NOT_FOUND,
        20429 => StatusCode::TOO_MANY_REQUESTS,
        20500 => StatusCode::INTERNAL_SERVER_ERROR,
        20503 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status.as_u16(),
    });
    Answer::json(status, &body)
}

/// One message: just created, or as it ended.
pub(super) fn message(message: &Message, account_sid: &str, created: bool) -> Answer {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Answer::json(status, &resource(message, account_sid, created))
}

pub(super) fn list(messages: &[Message], account_sid: &str) -> Answer {
    let uri = format!("/2010-04-01/Accounts/{account_sid}/Messages.json");
    let page: Vec<_> =
        messages.iter().take(1000).map(|message| resource(message, account_sid, false)).collect();
    let body = json!({
        "messages": page,
        "page": 0,
        "page_size": 1000,
        "start": 0,
        "end": page.len().saturating_sub(1),
        "uri": uri,
        "first_page_uri": uri,
        "next_page_uri": null,
        "previous_page_uri": null,
    });
    Answer::json(StatusCode::OK, &body)
}

/// <https://www.twilio.com/docs/messaging/api/message-resource>
fn resource(message: &Message, account_sid: &str, created: bool) -> Value {
    let service = &message.messaging_service_sid;
    let date = utc(message.sent_at, "%a, %d %b %Y %T +0000");
    let error = message.error_code.as_deref().filter(|_| !created).and_then(|code| code.parse::<u32>().ok());
    let status = match (created, service.is_empty(), &message.error_code) {
        (true, true, _) => "queued",
        (true, false, _) => "accepted",
        (false, _, None) => "delivered",
        (false, _, Some(_)) => "undelivered",
    };
    let uri = format!("/2010-04-01/Accounts/{account_sid}/Messages/{}.json", message.sid);
    json!({
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": date,
        "date_sent": if created { Value::Null } else { date.as_str().into() },
        "date_updated": date,
        "direction": "outbound-api",
        "error_code": error,
        "error_message": null,
        "from": if message.from.is_empty() { Value::Null } else { message.from.as_str().into() },
        "messaging_service_sid": if service.is_empty() { Value::Null } else { service.as_str().into() },
        "num_media": "0",
        "num_segments": message.segments.to_string(),
        "price": null,
        "price_unit": "USD",
        "sid": message.sid,
        "status": status,
        "subresource_uris": {"media": uri.replace(".json", "/Media.json")},
        "to": message.to,
        "uri": uri,
    })
}
