//! How the service refuses.
//!
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use crate::http::Answer;

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Code(&'static str),
    /// The request itself is wrong, in this field.
    BadRequest {
        field: String,
        description: &'static str,
    },
    /// FCM says it as it says that a token is none.
    TooBig,
}

impl Refusal {
    pub(super) fn answer(&self, retry_after: Option<u64>) -> Answer {
        match self {
            Refusal::Code(code) => error(code, retry_after),
            Refusal::BadRequest { field, description } => bad_request(field, description),
            Refusal::TooBig => {
                let detail = json!({
                    "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
                    "errorCode": "INVALID_ARGUMENT",
                });
                body(400, "INVALID_ARGUMENT", "Message too big", detail)
            }
        }
    }
}

/// FCM's code in its detail, or one of Google's own where it has none. Unknown codes are `INTERNAL`.
pub(super) fn error(code: &str, retry_after: Option<u64>) -> Answer {
    let (status, name, message) = match code {
        "UNREGISTERED" => (404, "NOT_FOUND", "Requested entity was not found."),
        "INVALID_ARGUMENT" => {
            (400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token")
        }
        "SENDER_ID_MISMATCH" => (403, "PERMISSION_DENIED", "SenderId mismatch"),
        "THIRD_PARTY_AUTH_ERROR" => (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
        "QUOTA_EXCEEDED" => (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'FCM messages'."),
        "UNAVAILABLE" => (503, "UNAVAILABLE", "The service is currently unavailable."),
        "UNAUTHENTICATED" => (
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
        ),
        "PERMISSION_DENIED" => {
            (403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied on resource")
        }
        "BAD_REQUEST" => return bad_request("message", "refused by the script"),
        _ => (500, "INTERNAL", "Internal error encountered."),
    };
    let detail = match code {
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => {
            json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "googleapis.com"})
        }
        _ => json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}),
    };
    let answer = body(status, name, message, detail);
    match retry_after {
        Some(seconds) if matches!(status, 429 | 503) => {
            answer.header(RETRY_AFTER, HeaderValue::from(seconds))
        }
        _ => answer,
    }
}

fn bad_request(field: &str, description: &str) -> Answer {
    let violation = json!({"field": field, "description": description});
    let detail =
        json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]});
    body(400, "INVALID_ARGUMENT", &format!("Invalid value at '{field}': {description}"), detail)
}

fn body(status: u16, name: &str, message: &str, detail: Value) -> Answer {
    let body = json!({"error": {"code": status, "message": message, "status": name, "details": [detail]}});
    Answer::json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body)
}

/// No token.
pub(super) fn denied(error: &str, description: &str) -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &json!({"error": error, "error_description": description}))
}
