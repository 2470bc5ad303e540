//! What Twilio answers to a message.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::code::refusal;
use crate::config::Codes;
use crate::model::Outcome;
use crate::provider::http::retry_after;
use crate::provider::reference::reference;
use crate::provider::sms::code::Means;
use crate::provider::sms::{told, wordless};

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Message { sid: String },
    Refusal { code: u32, message: String },
}

/// The outcome, and whether the recipient is on Twilio's list of people who opted out.
pub(super) fn judged(codes: &Codes, response: &Response<Bytes>, now: Timestamp) -> (Outcome, bool) {
    let (code, message) = match serde_json::from_slice(response.body()) {
        Ok(Answer::Message { sid }) if response.status().is_success() => {
            return (Outcome::Accepted { provider_ref: reference(&sid) }, false);
        }
        Ok(Answer::Refusal { code, message }) => (code, message),
        Ok(Answer::Message { .. }) | Err(_) => return (wordless(response, now), false),
    };
    let means = match refusal(codes, code) {
        // Whatever Twilio says with it, a 5xx does not say how far the request came.
        _ if response.status().is_server_error() => Means::Doubt,
        means => means,
    };
    let outcome = means.outcome(told(&code.to_string(), &message), now);
    let outcome = match (outcome, retry_after(response.headers(), now)) {
        (Outcome::Throttled { detail, .. }, Some(after)) => Outcome::Throttled { after: Some(after), detail },
        (outcome, _) => outcome,
    };
    (outcome, means == Means::OptedOut)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::Reason;

    fn of(status: u16, body: impl ToString) -> (Outcome, bool) {
        let response = Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap();
        judged(&Codes::default(), &response, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_code_is_classified() {
        let text = Some(Reason::MessageRefused);
        for (codes, status, label, reason) in [
            ("20429", 429, "throttled", Some(Reason::Throttled)),
            ("21611", 429, "throttled", Some(Reason::Throttled)),
            ("30001 30003 30008", 400, "retry", Some(Reason::TemporaryFailure)),
            ("21211 21614 30005 30006", 400, "rejected", Some(Reason::UnknownRecipient)),
            ("21612 21610 30004 21408 21608", 400, "rejected", Some(Reason::RecipientRefused)),
            ("30007 21602 21617", 400, "rejected", text),
            ("20003", 401, "account_refused", Some(Reason::AccountRefused)),
            (
                "30002 30034 20404 21212 21603 21606 21609 21703 21705",
                400,
                "account_refused",
                Some(Reason::AccountRefused),
            ),
            ("99999", 400, "campaign_refused", text),
            ("20500 20503 30001", 500, "unknown", Some(Reason::NoAnswer)),
        ] {
            for code in codes.split(' ') {
                let number: u32 = code.parse().unwrap();
                let body = json!({"code": number, "message": "to +15558675310: no", "status": status});
                let (outcome, opted_out) = of(status, body);
                assert_eq!((outcome.as_str(), outcome.reason()), (label, reason), "{code}");
                assert_eq!(opted_out, code == "21610");
                let detail = outcome.detail().unwrap();
                assert!(detail.contains(code) && !detail.contains("5558675310"), "{detail}");
            }
        }
    }

    #[test]
    fn answers_that_are_not_twilios_are_the_gateways() {
        for (status, body, wanted) in [
            (201, r#"{"sid": "SM1", "status": "queued"}"#, "accepted"),
            (201, "created", "unknown"),
            (500, "", "unknown"),
            (503, r#"{"sid": "SM1"}"#, "unknown"),
            (403, "<html>", "account_refused"),
            (429, "", "throttled"),
        ] {
            assert_eq!(of(status, body).0.as_str(), wanted, "{status} {body}");
        }
        let busy = Response::builder().status(429).header("retry-after", "7");
        let busy = busy.body(Bytes::from_static(br#"{"code": 20429, "message": "x"}"#)).unwrap();
        let Outcome::Throttled { after, .. } = judged(&Codes::default(), &busy, Timestamp::UNIX_EPOCH).0
        else {
            panic!()
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }
}
