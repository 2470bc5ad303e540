//! What Aliyun's codes mean. One code stands for the whole call: nothing of it was taken unless it is `OK`.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::config::Codes;
use crate::model::Outcome;
use crate::provider::Message;
use crate::provider::reference::reference;
use crate::provider::sms::beijing::Until;
use crate::provider::sms::calls::Said;
use crate::provider::sms::code::{Means, meaning};
use crate::provider::sms::{told, wordless};

/// The service's codes are on <https://help.aliyun.com/document_detail/101346.html>; the gateway's, which come with
/// another status than 200, are those of every Aliyun API.
const CODES: &[(&str, Means)] = &[
    ("isv.MOBILE_NUMBER_ILLEGAL", Means::Dead),
    ("isv.DOMESTIC_NUMBER_NOT_SUPPORTED", Means::Closed),
    ("isv.MOBILE_COUNT_OVER_LIMIT", Means::OurFault),
    ("isv.TEMPLATE_MISSING_PARAMETERS", Means::Text),
    ("isv.TEMPLATE_PARAMS_ILLEGAL", Means::Text),
    ("isv.INVALID_JSON_PARAM", Means::Text),
    ("isv.PARAM_LENGTH_LIMIT", Means::Text),
    ("isv.PARAM_NOT_SUPPORT_URL", Means::Text),
    ("isv.BLACK_KEY_CONTROL_LIMIT", Means::Text),
    ("isv.INVALID_PARAMETERS", Means::Text),
    ("isv.SMS_TEMPLATE_ILLEGAL", Means::Campaign),
    ("isv.SMS_SIGNATURE_ILLEGAL", Means::Campaign),
    ("isv.SMS_SIGNATURE_SCENE_ILLEGAL", Means::Campaign),
    ("isv.SIGN_STATE_ILLEGAL", Means::Campaign),
    ("isv.SMS_SIGN_ILLEGAL", Means::Campaign),
    ("isv.SMS_CONTENT_ILLEGAL", Means::Campaign),
    ("isv.EXTEND_CODE_ERROR", Means::Campaign),
    ("isv.OUT_OF_SERVICE", Means::Account),
    ("isv.AMOUNT_NOT_ENOUGH", Means::Account),
    ("isv.ACCOUNT_NOT_EXISTS", Means::Account),
    ("isv.ACCOUNT_ABNORMAL", Means::Account),
    ("isv.PRODUCT_UN_SUBSCRIPT", Means::Account),
    ("isv.PRODUCT_UNSUBSCRIBE", Means::Account),
    ("isp.RAM_PERMISSION_DENY", Means::Account),
    ("isv.DENY_IP_RANGE", Means::Account),
    ("isv.DAY_LIMIT_CONTROL", Means::Slower(Until::NextDay)),
    ("isv.MONTH_LIMIT_CONTROL", Means::Slower(Until::NextMonth)),
    ("isp.SYSTEM_ERROR", Means::Trouble),
    ("Throttling*", Means::Slower(Until::Seconds(1))),
    ("InvalidTimeStamp.Expired", Means::Clock),
    ("InvalidAccessKeyId*", Means::Account),
    ("SignatureDoesNotMatch", Means::Account),
    ("IncompleteSignature", Means::Account),
    ("Forbidden*", Means::Account),
    ("InvalidAction*", Means::Account),
    // The next attempt has another nonce.
    ("SignatureNonceUsed", Means::Trouble),
    ("ServiceUnavailable*", Means::Trouble),
    ("InternalError*", Means::Trouble),
];

/// Too many messages to this number: the words say within what.
const TOO_MANY: &str = "isv.BUSINESS_LIMIT_CONTROL";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    biz_id: String,
}

pub(super) fn said(codes: &Codes, messages: &[&Message], response: &Response<Bytes>, now: Timestamp) -> Said {
    let Ok(Answer { code, message, biz_id }) = serde_json::from_slice(response.body()) else {
        return Said::All(wordless(response, now));
    };
    if code != "OK" {
        let too_many = code == TOO_MANY && codes.get(&code).is_none();
        let means = if too_many { later(&message) } else { meaning(codes, CODES, &code) };
        return Said::All(means.outcome(told(&code, &message), now));
    }
    let call = reference(&biz_id);
    let accepted = |message: &&Message| {
        let named = |call| match messages.len() {
            1 => call,
            _ => of_number(&biz_id, &message.to),
        };
        Outcome::Accepted { provider_ref: call.clone().map(named) }
    };
    Said::Each(messages.iter().map(accepted).collect())
}

/// A call's id stands for all of its messages: with the number it names one, and the number cannot be read from it.
pub(super) fn of_number(biz_id: &str, number: &str) -> String {
    let hash = Sha256::digest(format!("{biz_id}\n{number}"));
    format!("{}:{}", reference(biz_id).unwrap_or_default(), hex::encode(&hash[..8]))
}

fn later(words: &str) -> Means {
    Means::Later(match words {
        words if words.contains("分钟") || words.contains("minute") => Until::NextMinute,
        words if words.contains("小时") || words.contains("hour") => Until::NextHour,
        _ => Until::Seconds(86_400),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::Reason;
    use crate::provider::sms::sample::messages;

    fn of(status: u16, code: &str, words: &str) -> Outcome {
        let body = json!({"Code": code, "Message": words, "RequestId": "1"}).to_string();
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        let messages = messages(1);
        match said(
            &Codes::default(),
            &messages.iter().collect::<Vec<_>>(),
            &response,
            "2026-11-21T02:00:30Z".parse().unwrap(),
        ) {
            Said::All(outcome) => outcome,
            Said::Each(_) => panic!(),
        }
    }

    #[test]
    fn every_code_is_classified() {
        let (recipient, text) = (Some(Reason::RecipientRefused), Some(Reason::MessageRefused));
        let throttled = Some(Reason::Throttled);
        for (codes, label, reason) in [
            ("isv.MOBILE_NUMBER_ILLEGAL", "rejected", Some(Reason::UnknownRecipient)),
            ("isv.DOMESTIC_NUMBER_NOT_SUPPORTED", "rejected", recipient),
            (
                "isv.MOBILE_COUNT_OVER_LIMIT isv.TEMPLATE_MISSING_PARAMETERS isv.TEMPLATE_PARAMS_ILLEGAL \
                 isv.INVALID_JSON_PARAM isv.PARAM_LENGTH_LIMIT isv.PARAM_NOT_SUPPORT_URL \
                 isv.BLACK_KEY_CONTROL_LIMIT isv.INVALID_PARAMETERS",
                "rejected",
                text,
            ),
            (
                "isv.SMS_TEMPLATE_ILLEGAL isv.SMS_SIGNATURE_ILLEGAL isv.SMS_SIGNATURE_SCENE_ILLEGAL \
                 isv.SIGN_STATE_ILLEGAL isv.SMS_SIGN_ILLEGAL isv.SMS_CONTENT_ILLEGAL isv.EXTEND_CODE_ERROR \
                 isv.NEW_CODE",
                "campaign_refused",
                text,
            ),
            (
                "isv.OUT_OF_SERVICE isv.AMOUNT_NOT_ENOUGH isv.ACCOUNT_NOT_EXISTS isv.ACCOUNT_ABNORMAL \
                 isv.PRODUCT_UN_SUBSCRIPT isv.PRODUCT_UNSUBSCRIBE isp.RAM_PERMISSION_DENY isv.DENY_IP_RANGE \
                 InvalidAccessKeyId.NotFound SignatureDoesNotMatch Forbidden.RAM InvalidTimeStamp.Expired \
                 InvalidAction.NotFound IncompleteSignature",
                "account_refused",
                Some(Reason::AccountRefused),
            ),
            (
                "isv.DAY_LIMIT_CONTROL isv.MONTH_LIMIT_CONTROL Throttling.User Throttling",
                "throttled",
                throttled,
            ),
            ("isv.BUSINESS_LIMIT_CONTROL", "deferred", throttled),
            (
                "isp.SYSTEM_ERROR SignatureNonceUsed ServiceUnavailable InternalError",
                "retry",
                Some(Reason::TemporaryFailure),
            ),
        ] {
            for code in codes.split(' ') {
                for status in [200, 400, 503] {
                    let outcome = of(status, code, "13800000001 says no");
                    assert_eq!((outcome.as_str(), outcome.reason()), (label, reason), "{code}");
                    let detail = outcome.detail().unwrap();
                    assert!(detail.contains(code) && !detail.contains("13800000001"), "{detail}");
                }
            }
        }
    }

    #[test]
    fn limits_say_how_long() {
        let limited = |words| match of(200, TOO_MANY, words) {
            Outcome::Deferred { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(limited("触发分钟级流控Permits:1"), Duration::from_secs(30));
        assert_eq!(limited("触发小时级流控Permits:5"), Duration::from_secs(3_570));
        assert_eq!(limited("触发天级流控Permits:10"), Duration::from_secs(86_400));
        let after = |code| match of(200, code, "") {
            Outcome::Throttled { after, .. } => after.unwrap().as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(after("isv.DAY_LIMIT_CONTROL"), 14 * 3_600 - 30);
        assert_eq!(after("isv.MONTH_LIMIT_CONTROL"), 9 * 86_400 + 14 * 3_600 - 30);
        assert_eq!(after("Throttling.User"), 1);
    }

    #[test]
    fn references_are_of_one_message_and_show_no_number() {
        let response = |body: &'static str| Response::new(Bytes::from_static(body.as_bytes()));
        let messages = messages(2);
        let both: Vec<_> = messages.iter().collect();
        let taken = response(r#"{"Code":"OK","Message":"OK","BizId":"607^0","RequestId":"1"}"#);
        let now = Timestamp::UNIX_EPOCH;
        let Said::Each(outcomes) = said(&Codes::default(), &both, &taken, now) else { panic!() };
        let references: Vec<_> = outcomes.iter().map(|outcome| outcome.detail().unwrap()).collect();
        assert_eq!(references[0], of_number("607^0", "+8613800000001"));
        assert!(references[0].starts_with("607^0:") && !references[0].contains("1380000"));
        assert_ne!(references[0], references[1]);
        let one = Outcome::Accepted { provider_ref: Some("607^0".to_owned()) };
        assert_eq!(said(&Codes::default(), &both[..1], &taken, now), Said::Each(vec![one]));
        let silent = said(&Codes::default(), &both, &response("<html>"), now);
        assert!(matches!(silent, Said::All(Outcome::Unknown { .. })));
    }
}
