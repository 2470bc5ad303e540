//! What Tencent Cloud's codes mean: of each number, or of the whole call.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use crate::config::Codes;
use crate::model::{Outcome, Reason};
use crate::provider::Message;
use crate::provider::reference::reference;
use crate::provider::sms::beijing::Until;
use crate::provider::sms::calls::Said;
use crate::provider::sms::code::{Means, meaning};
use crate::provider::sms::{told, wordless};

const DAY: Until = Until::Seconds(86_400);

/// <https://cloud.tencent.com/document/api/382/52075>
const CODES: &[(&str, Means)] = &[
    ("InvalidParameterValue.IncorrectPhoneNumber", Means::Dead),
    ("FailedOperation.PhoneNumberInBlacklist", Means::OptedOut),
    ("FailedOperation.PhoneNumberParseFail", Means::Dead),
    ("UnsupportedOperation.UnsupportedRegion", Means::Closed),
    ("LimitExceeded.PhoneNumberThirtySecondLimit", Means::Later(Until::Seconds(30))),
    ("LimitExceeded.PhoneNumberOneHourLimit", Means::Later(Until::Seconds(3_600))),
    ("LimitExceeded.PhoneNumberDailyLimit", Means::Later(DAY)),
    ("LimitExceeded.PhoneNumberSameContentDailyLimit", Means::Later(DAY)),
    // The rule is the customer's own, set in the console, and the answer does not name it.
    ("LimitExceeded.DeliveryFrequencyLimit", Means::Later(Until::Seconds(3_600))),
    ("RequestLimitExceeded*", Means::Slower(Until::Seconds(1))),
    ("LimitExceeded.GlobalSmsSendingRateLimit", Means::Slower(Until::Seconds(1))),
    ("LimitExceeded.App*DailyLimit", Means::Slower(Until::NextDay)),
    ("LimitExceeded.DailyLimit", Means::Slower(Until::NextDay)),
    // Marketing waits; the account's other messages do not.
    ("FailedOperation.MarketingSendTimeConstraint", Means::Later(Until::Morning)),
    ("FailedOperation.Template*", Means::Campaign),
    ("FailedOperation.Signature*", Means::Campaign),
    ("FailedOperation.MissingTemplateToModify", Means::Campaign),
    ("UnsupportedOperation.*TemplateTo*", Means::Campaign),
    ("FailedOperation.ContainSensitiveWord", Means::Text),
    ("InvalidParameterValue.TemplateParameter*", Means::Text),
    ("InvalidParameterValue.ContentLengthLimit", Means::Text),
    ("InvalidParameterValue.ProhibitedUseUrlInTemplateParameter", Means::Text),
    ("FailedOperation.InsufficientBalanceInSmsPackage", Means::Account),
    ("UnauthorizedOperation.*", Means::Account),
    ("AuthFailure.SignatureExpire", Means::Clock),
    ("AuthFailure.*", Means::Account),
    ("LimitExceeded.PhoneNumberCountLimit", Means::OurFault),
    ("UnsupportedOperation.ContainDomesticAndInternationalPhoneNumber", Means::OurFault),
    // They name what came after the number was accepted: it may have been sent.
    ("InternalError.Timeout", Means::Doubt),
    ("InternalError.SendAndRecvFail", Means::Doubt),
    ("InternalError.OtherError", Means::Doubt),
    ("InternalError.UnknownError", Means::Doubt),
    ("InternalError*", Means::Doubt),
];

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Response")]
    response: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    error: Option<Refusal>,
    #[serde(default)]
    send_status_set: Vec<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    serial_no: String,
    phone_number: String,
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer says of a call, and who of its recipients is on the provider's list of people who opted out.
pub(super) struct Judged<'m> {
    pub(super) said: Said,
    pub(super) opted_out: Vec<&'m Message>,
}

impl From<Said> for Judged<'_> {
    fn from(said: Said) -> Self {
        Judged { said, opted_out: Vec::new() }
    }
}

/// The messages of a call go to different numbers.
pub(super) fn judged<'m>(
    codes: &Codes,
    messages: &[&'m Message],
    response: &Response<Bytes>,
    now: Timestamp,
) -> Judged<'m> {
    let Ok(Envelope { response: answer }) = serde_json::from_slice(response.body()) else {
        return Said::All(wordless(response, now)).into();
    };
    if let Some(Refusal { code, message }) = answer.error {
        return Said::All(meaning(codes, CODES, &code).outcome(told(&code, &message), now)).into();
    }
    let mut opted_out = Vec::new();
    let outcomes = messages.iter().map(|message| {
        let Some(status) = answer.send_status_set.iter().find(|status| status.phone_number == message.to)
        else {
            let detail = "the answer does not name this number".to_owned();
            return Outcome::Unknown { reason: Reason::NoAnswer, detail };
        };
        if status.code.eq_ignore_ascii_case("ok") {
            return Outcome::Accepted { provider_ref: reference(&status.serial_no) };
        }
        let means = meaning(codes, CODES, &status.code);
        if means == Means::OptedOut {
            opted_out.push(*message);
        }
        means.outcome(told(&status.code, &status.message), now)
    });
    let said = Said::Each(outcomes.collect());
    Judged { said, opted_out }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::provider::sms::sample::{messages, verdicts};

    /// In the middle of the night in Beijing.
    const NOW: &str = "2026-11-21T15:00:00Z";

    fn of_one(code: &str) -> (Outcome, bool) {
        let set = json!([{"SerialNo": "", "PhoneNumber": "+8613800000001", "Fee": 0, "SessionContext": "",
            "Code": code, "Message": "+8613800000001 says no", "IsoCode": "CN"}]);
        let body = json!({"Response": {"SendStatusSet": set, "RequestId": "1"}}).to_string();
        let messages = messages(1);
        let judged = judged(
            &Codes::default(),
            &[&messages[0]],
            &Response::new(Bytes::from(body)),
            NOW.parse().unwrap(),
        );
        let Said::Each(outcomes) = judged.said else { panic!() };
        (outcomes[0].clone(), !judged.opted_out.is_empty())
    }

    #[test]
    fn every_code_is_classified() {
        let text = Some(Reason::MessageRefused);
        for (codes, label, reason) in [
            (
                "InvalidParameterValue.IncorrectPhoneNumber FailedOperation.PhoneNumberParseFail",
                "rejected",
                Some(Reason::UnknownRecipient),
            ),
            (
                "FailedOperation.PhoneNumberInBlacklist UnsupportedOperation.UnsupportedRegion",
                "rejected",
                Some(Reason::RecipientRefused),
            ),
            (
                "LimitExceeded.PhoneNumberThirtySecondLimit LimitExceeded.PhoneNumberOneHourLimit \
                 LimitExceeded.PhoneNumberDailyLimit LimitExceeded.PhoneNumberSameContentDailyLimit \
                 LimitExceeded.DeliveryFrequencyLimit FailedOperation.MarketingSendTimeConstraint",
                "deferred",
                Some(Reason::Throttled),
            ),
            (
                "RequestLimitExceeded RequestLimitExceeded.IPLimitExceeded LimitExceeded.AppCountryOrRegionDailyLimit \
                 LimitExceeded.AppMainlandChinaDailyLimit LimitExceeded.AppGlobalDailyLimit LimitExceeded.DailyLimit \
                 LimitExceeded.GlobalSmsSendingRateLimit",
                "throttled",
                Some(Reason::Throttled),
            ),
            (
                "FailedOperation.TemplateIncorrectOrUnapproved FailedOperation.TemplateUnapprovedOrNotExist \
                 FailedOperation.TemplateParamSetNotMatchApprovedTemplate FailedOperation.SignatureIncorrectOrUnapproved \
                 FailedOperation.MissingTemplateToModify \
                 UnsupportedOperation.ChineseMainlandTemplateToGlobalPhone \
                 UnsupportedOperation.GlobalTemplateToChineseMainlandPhone FailedOperation.Unheard",
                "campaign_refused",
                text,
            ),
            (
                "FailedOperation.ContainSensitiveWord InvalidParameterValue.TemplateParameterFormatError \
                 InvalidParameterValue.TemplateParameterLengthLimit InvalidParameterValue.ContentLengthLimit \
                 InvalidParameterValue.ProhibitedUseUrlInTemplateParameter LimitExceeded.PhoneNumberCountLimit \
                 UnsupportedOperation.ContainDomesticAndInternationalPhoneNumber",
                "rejected",
                text,
            ),
            (
                "FailedOperation.InsufficientBalanceInSmsPackage UnauthorizedOperation.SmsSdkAppIdVerifyFail \
                 UnauthorizedOperation.RequestIpNotInWhitelist AuthFailure.SecretIdNotFound \
                 AuthFailure.SignatureFailure AuthFailure.SignatureExpire",
                "account_refused",
                Some(Reason::AccountRefused),
            ),
            (
                "InternalError.Timeout InternalError.SendAndRecvFail InternalError.OtherError \
                 InternalError.UnknownError InternalError",
                "unknown",
                Some(Reason::NoAnswer),
            ),
        ] {
            for code in codes.split(' ') {
                let (outcome, opted_out) = of_one(code);
                assert_eq!((outcome.as_str(), outcome.reason()), (label, reason), "{code}");
                assert_eq!(opted_out, code.ends_with("Blacklist"), "{code}");
                let detail = outcome.detail().unwrap();
                assert!(detail.contains(code) && !detail.contains("13800000001"), "{detail}");
            }
        }
    }

    #[test]
    fn waits_are_those_of_the_limit() {
        let after = |code: &str| match of_one(code).0 {
            Outcome::Deferred { after, .. } | Outcome::Throttled { after: Some(after), .. } => after,
            other => panic!("{other:?}"),
        };
        for (code, seconds) in [
            ("LimitExceeded.PhoneNumberThirtySecondLimit", 30),
            ("LimitExceeded.PhoneNumberOneHourLimit", 3_600),
            ("LimitExceeded.PhoneNumberDailyLimit", 86_400),
            ("LimitExceeded.DailyLimit", 3_600),
            ("RequestLimitExceeded", 1),
            ("FailedOperation.MarketingSendTimeConstraint", 9 * 3_600),
        ] {
            assert_eq!(after(code), Duration::from_secs(seconds), "{code}");
        }
        assert!(of_one("AuthFailure.SignatureExpire").0.detail().unwrap().contains("clock"));
    }

    #[test]
    fn statuses_are_found_by_number_in_any_order() {
        let messages = messages(3);
        let set = json!([
            {"PhoneNumber": "+8613800000003", "Code": "FailedOperation.PhoneNumberInBlacklist", "Message": ""},
            {"PhoneNumber": "+8613800000001", "Code": "Ok", "Message": "send success", "SerialNo": "5000:1"},
        ]);
        let body = json!({"Response": {"SendStatusSet": set, "RequestId": "1"}}).to_string();
        let all: Vec<_> = messages.iter().collect();
        let answer = judged(&Codes::default(), &all, &Response::new(Bytes::from(body)), NOW.parse().unwrap());
        let Said::Each(outcomes) = answer.said else { panic!() };
        assert_eq!(outcomes[0], Outcome::Accepted { provider_ref: Some("5000:1".to_owned()) });
        let wanted = [("unknown", Some(Reason::NoAnswer)), ("rejected", Some(Reason::RecipientRefused))];
        assert_eq!(verdicts(&outcomes[1..]), wanted);
        assert_eq!(answer.opted_out.len(), 1);
        assert_eq!(answer.opted_out[0].to, "+8613800000003");
    }

    #[test]
    fn a_call_is_refused_as_a_whole() {
        let messages = messages(2);
        let all: Vec<_> = messages.iter().collect();
        let error = json!({"Response": {"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "x"}}});
        for (status, body, wanted) in [
            (200, error.to_string(), "account_refused"),
            (502, String::new(), "unknown"),
            (200, "<html>".to_owned(), "unknown"),
        ] {
            let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
            let Said::All(outcome) = judged(&Codes::default(), &all, &response, NOW.parse().unwrap()).said
            else {
                panic!()
            };
            assert_eq!(outcome.as_str(), wanted);
        }
    }
}
