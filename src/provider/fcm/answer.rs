//! What Google's answers mean (firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::model::{Outcome, Reason};
use crate::provider::Message;
use crate::provider::http::retry_after;
use crate::provider::push::{Verdict, told};

/// The detail that is FCM's own, and the one that says which quota is used up.
const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
/// How long to wait for quota where Google does not say.
const QUOTA: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Sent {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Value>,
}

impl Refusal {
    fn detail(&self, kind: &str) -> Option<&Value> {
        self.details.iter().find(|detail| detail["@type"] == kind)
    }

    /// FCM's own code; `None`: the request did not get as far.
    fn code(&self) -> Option<&str> {
        self.detail(FCM_ERROR)?["errorCode"].as_str()
    }

    /// Whether the quota that is used up is one device's.
    fn is_of_device(&self) -> bool {
        let violations = self.detail(QUOTA_FAILURE).map(Value::to_string).unwrap_or_default();
        [self.message.as_str(), &violations].iter().any(|text| text.to_ascii_lowercase().contains("device"))
    }
}

pub(super) fn verdict(message: &Message, response: &Response<Bytes>, now: Timestamp) -> Verdict {
    let status = response.status().as_u16();
    if response.status().is_success() {
        let sent: Option<Sent> = serde_json::from_slice(response.body()).ok();
        let provider_ref = sent.and_then(|sent| sent.name).map(|name| told(&name, message));
        return Verdict::Settled(Outcome::Accepted { provider_ref });
    }
    let after = retry_after(response.headers(), now);
    match serde_json::from_slice::<Envelope>(response.body()) {
        Ok(Envelope { error }) => judged(message, status, &error, after),
        Err(_) => Verdict::Settled(without_error(status, after)),
    }
}

fn judged(message: &Message, status: u16, refusal: &Refusal, after: Option<Duration>) -> Verdict {
    let code = refusal.code();
    let words = format!("HTTP {status} {}: {}", code.unwrap_or(&refusal.status), refusal.message);
    let detail = told(&words, message);
    let rejected = |reason, detail| Outcome::Rejected { reason, detail };
    Verdict::Settled(match (status, code.unwrap_or(&refusal.status)) {
        (_, "UNREGISTERED") => rejected(Reason::UnknownRecipient, detail),
        (_, "INVALID_ARGUMENT") if code.is_some() && refusal.message.contains("registration token") => {
            rejected(Reason::UnknownRecipient, detail)
        }
        (_, "INVALID_ARGUMENT") => rejected(Reason::MessageRefused, detail),
        (_, "SENDER_ID_MISMATCH") => rejected(
            Reason::RecipientRefused,
            format!("{detail}; the token is another Firebase project's: check project and app"),
        ),
        (_, "THIRD_PARTY_AUTH_ERROR") => Outcome::AccountRefused {
            detail: format!("{detail}; check the APNs key that is uploaded to the Firebase project"),
        },
        (401, _) => {
            return Verdict::Refresh(format!(
                "{detail}; check key, and that the project has this service account"
            ));
        }
        (403, _) => Outcome::AccountRefused { detail },
        (429, _) if refusal.is_of_device() => Outcome::Deferred { after: after.unwrap_or(QUOTA), detail },
        (429, _) => Outcome::Throttled { after: Some(after.unwrap_or(QUOTA)), detail },
        (500.., _) => Outcome::Retry { reason: Reason::TemporaryFailure, after, detail },
        // A token that is gone has the code UNREGISTERED.
        (404, _) => Outcome::AccountRefused { detail: format!("{detail}; check project and base_url") },
        _ => rejected(Reason::MessageRefused, detail),
    })
}

/// An answer that is not FCM's: of something between us, which may have passed the request on.
fn without_error(status: u16, after: Option<Duration>) -> Outcome {
    let detail = format!("HTTP {status} without an error of FCM's");
    match status {
        413 => Outcome::Rejected { reason: Reason::MessageRefused, detail },
        429 => Outcome::Throttled { after: Some(after.unwrap_or(QUOTA)), detail },
        500.. => Outcome::Unknown { reason: Reason::NoAnswer, detail },
        _ => Outcome::AccountRefused { detail: format!("{detail}; check base_url") },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::fcm::tests::message;

    const TOKEN: &str = "device-token";

    fn response(status: u16, body: impl ToString) -> Response<Bytes> {
        Response::builder().status(status).body(body.to_string().into()).unwrap()
    }

    fn refusal(status: u16, word: &str, text: &str, code: Option<&str>) -> Response<Bytes> {
        let details = match code {
            Some(code) => json!([{"@type": FCM_ERROR, "errorCode": code}]),
            None => json!([{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": []}]),
        };
        let error = json!({"code": status, "status": word, "message": text, "details": details});
        response(status, json!({"error": error}))
    }

    fn of(response: &Response<Bytes>) -> Verdict {
        verdict(&message(7, TOKEN), response, Timestamp::UNIX_EPOCH)
    }

    fn settled(response: &Response<Bytes>) -> (&'static str, Option<Reason>) {
        match of(response) {
            Verdict::Settled(outcome) => (outcome.as_str(), outcome.reason()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_documented_error_has_its_outcome() {
        let rejected = |reason| ("rejected", Some(reason));
        let account = ("account_refused", Some(Reason::AccountRefused));
        let retry = ("retry", Some(Reason::TemporaryFailure));
        let bad_token = "The registration token is not a valid FCM registration token";
        for (status, word, text, code, wanted) in [
            (404, "NOT_FOUND", "gone", Some("UNREGISTERED"), rejected(Reason::UnknownRecipient)),
            (
                400,
                "INVALID_ARGUMENT",
                bad_token,
                Some("INVALID_ARGUMENT"),
                rejected(Reason::UnknownRecipient),
            ),
            (400, "INVALID_ARGUMENT", "too big", Some("INVALID_ARGUMENT"), rejected(Reason::MessageRefused)),
            (400, "INVALID_ARGUMENT", bad_token, None, rejected(Reason::MessageRefused)),
            (403, "PERMISSION_DENIED", "", Some("SENDER_ID_MISMATCH"), rejected(Reason::RecipientRefused)),
            (401, "UNAUTHENTICATED", "", Some("THIRD_PARTY_AUTH_ERROR"), account),
            (403, "PERMISSION_DENIED", "", None, account),
            (404, "NOT_FOUND", "no project", None, account),
            (429, "RESOURCE_EXHAUSTED", "", Some("QUOTA_EXCEEDED"), ("throttled", Some(Reason::Throttled))),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "Device message rate exceeded",
                Some("QUOTA_EXCEEDED"),
                ("deferred", Some(Reason::Throttled)),
            ),
            (500, "INTERNAL", "", Some("INTERNAL"), retry),
            (500, "INTERNAL", "", None, retry),
            (503, "UNAVAILABLE", "", Some("UNAVAILABLE"), retry),
        ] {
            let response = refusal(status, word, text, code);
            assert_eq!(settled(&response), wanted, "{status} {word} {text} {code:?}");
        }
    }

    #[test]
    fn the_capture_of_the_official_clients_error_is_a_dead_token() {
        let body = r#"{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}"#;
        assert_eq!(settled(&response(404, body)), ("rejected", Some(Reason::UnknownRecipient)));
    }

    #[test]
    fn an_access_token_that_is_no_longer_taken_is_replaced() {
        assert!(matches!(of(&refusal(401, "UNAUTHENTICATED", "", None)), Verdict::Refresh(_)));
    }

    #[test]
    fn waits_are_googles_where_it_says_how_long() {
        let mut quota = refusal(429, "RESOURCE_EXHAUSTED", "", Some("QUOTA_EXCEEDED"));
        let mut away = refusal(503, "UNAVAILABLE", "", Some("UNAVAILABLE"));
        let wait = |response: &Response<Bytes>| match of(response) {
            Verdict::Settled(Outcome::Throttled { after, .. } | Outcome::Retry { after, .. }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(&quota), wait(&away)), (Some(QUOTA), None));
        for response in [&mut quota, &mut away] {
            response.headers_mut().insert("retry-after", "7".parse().unwrap());
            assert_eq!(wait(response), Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn the_quota_that_is_used_up_may_be_a_devices() {
        let details = json!([{"@type": QUOTA_FAILURE, "violations": [{"subject": "device:1"}]}]);
        let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "", "details": details});
        assert_eq!(settled(&response(429, json!({"error": error}))), ("deferred", Some(Reason::Throttled)));
    }

    #[test]
    fn what_was_taken_has_googles_name() {
        let taken = |body: &str| match of(&response(200, body)) {
            Verdict::Settled(Outcome::Accepted { provider_ref }) => provider_ref,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            taken(r#"{"name": "projects/p/messages/0:1"}"#).as_deref(),
            Some("projects/p/messages/0:1")
        );
        assert_eq!(taken(""), None);
    }

    #[test]
    fn answers_of_others_than_google_are_told_apart() {
        for (status, wanted) in [
            (404, ("account_refused", Some(Reason::AccountRefused))),
            (413, ("rejected", Some(Reason::MessageRefused))),
            (429, ("throttled", Some(Reason::Throttled))),
            (502, ("unknown", Some(Reason::NoAnswer))),
        ] {
            assert_eq!(settled(&response(status, "<html>")), wanted, "{status}");
        }
    }

    #[test]
    fn details_name_no_device() {
        let response = refusal(400, "INVALID_ARGUMENT", &format!("bad {TOKEN}"), None);
        let Verdict::Settled(outcome) = of(&response) else { panic!() };
        assert_eq!(outcome.detail(), Some("HTTP 400 INVALID_ARGUMENT: bad ***"));
    }
}
