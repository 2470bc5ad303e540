//! What Apple's answers mean (developer.apple.com: Handling notification responses from APNs).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{Outcome, Reason};
use crate::provider::Message;
use crate::provider::http::retry_after;
use crate::provider::push::{Verdict, told};

/// A device that got too many notifications is left alone for so long.
const DEVICE_RESTS: Duration = Duration::from_secs(5 * 60);
/// Apple takes a new token of a team every 20 minutes.
const NEW_TOKENS: Duration = Duration::from_secs(20 * 60);

/// Whom a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// The device token is dead.
    Device,
    /// The device token is another app's.
    OtherApp,
    /// The device token is dead, or of the other environment.
    BadToken,
    /// Too much for this device at the moment.
    Pace,
    /// This message, whoever gets it.
    Message,
    /// Every message of the campaign, by what they have in common.
    Campaign,
    Account,
    /// Our token is too old.
    OldToken,
    /// Our tokens change too often.
    NewTokens,
    /// The connection, or Apple's side for the moment.
    Connection,
}

const REASONS: &[(&str, About)] = &[
    ("BadDeviceToken", About::BadToken),
    ("DeviceTokenNotForTopic", About::OtherApp),
    ("Unregistered", About::Device),
    ("ExpiredToken", About::Device),
    ("BadCollapseId", About::Message),
    ("BadExpirationDate", About::Message),
    ("BadMessageId", About::Message),
    ("BadPath", About::Message),
    ("PayloadEmpty", About::Message),
    ("PayloadTooLarge", About::Message),
    ("BadPriority", About::Campaign),
    ("BadTopic", About::Campaign),
    ("DuplicateHeaders", About::Campaign),
    ("InvalidPushType", About::Campaign),
    ("MethodNotAllowed", About::Campaign),
    ("MissingDeviceToken", About::Message),
    ("MissingTopic", About::Campaign),
    ("TopicDisallowed", About::Campaign),
    ("BadCertificate", About::Account),
    ("BadCertificateEnvironment", About::Account),
    ("BadEnvironmentKeyIdInToken", About::Account),
    ("Forbidden", About::Account),
    ("InvalidProviderToken", About::Account),
    ("MissingProviderToken", About::Account),
    ("UnrelatedKeyIdInToken", About::Account),
    ("ExpiredProviderToken", About::OldToken),
    ("TooManyProviderTokenUpdates", About::NewTokens),
    ("TooManyRequests", About::Pace),
    ("IdleTimeout", About::Connection),
    ("InternalServerError", About::Connection),
    ("ServiceUnavailable", About::Connection),
    ("Shutdown", About::Connection),
];

/// An answer, and the refusal in it.
pub(super) struct Answer<'r> {
    response: &'r Response<Bytes>,
    refusal: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    reason: String,
    /// Milliseconds since 1970: since when the token is dead.
    timestamp: Option<i64>,
}

impl<'r> Answer<'r> {
    pub(super) fn read(response: &'r Response<Bytes>) -> Self {
        Answer { response, refusal: serde_json::from_slice(response.body()).ok() }
    }

    pub(super) fn is_bad_token(&self) -> bool {
        self.about() == Some(About::BadToken)
    }

    /// `wrong_place`: so many tokens are bad that the account seems to send to the wrong environment.
    pub(super) fn verdict(&self, message: &Message, wrong_place: bool, now: Timestamp) -> Verdict {
        let status = self.response.status().as_u16();
        if status == 200 {
            let id = self.response.headers().get("apns-id").and_then(|id| id.to_str().ok());
            return Verdict::Settled(Outcome::Accepted { provider_ref: id.map(|id| told(id, message)) });
        }
        let after = retry_after(self.response.headers(), now);
        let detail = self.detail(message);
        let rejected = |reason, detail| Outcome::Rejected { reason, detail };
        let Some(about) = self.about() else {
            return Verdict::Settled(without_reason(status, after, detail));
        };
        Verdict::Settled(match about {
            About::BadToken if wrong_place => rejected(
                Reason::RecipientRefused,
                format!("{detail}; more than a fifth of the tokens are bad: check environment"),
            ),
            About::Device | About::BadToken => rejected(Reason::UnknownRecipient, detail),
            About::OtherApp => rejected(Reason::RecipientRefused, detail),
            About::Pace => Outcome::Deferred { after: after.unwrap_or(DEVICE_RESTS), detail },
            About::Message => rejected(Reason::MessageRefused, detail),
            About::Campaign => Outcome::CampaignRefused { detail },
            About::Account => Outcome::AccountRefused { detail },
            About::NewTokens => Outcome::Throttled { after: Some(NEW_TOKENS), detail },
            About::OldToken => return Verdict::Refresh(format!("{detail}; check this machine's clock")),
            About::Connection => {
                return Verdict::Leave(Outcome::Retry { reason: Reason::TemporaryFailure, after, detail });
            }
        })
    }

    /// `None` without a reason: the answer is not Apple's, or broken off.
    fn about(&self) -> Option<About> {
        let reason = self.refusal.as_ref()?.reason.as_str();
        let known = REASONS.iter().find(|(known, _)| *known == reason).map(|(_, about)| *about);
        Some(known.unwrap_or(match self.response.status().as_u16() {
            403 => About::Account,
            410 => About::Device,
            429 => About::Pace,
            500.. => About::Connection,
            // New reasons are held against the message, so that they stop no other.
            _ => About::Message,
        }))
    }

    fn detail(&self, message: &Message) -> String {
        let status = self.response.status().as_u16();
        let Some(refusal) = &self.refusal else { return format!("HTTP {status} without a reason") };
        let since = refusal.timestamp.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
        told(&format!("HTTP {status} {}{since}", refusal.reason), message)
    }
}

fn without_reason(status: u16, after: Option<Duration>, detail: String) -> Outcome {
    match status {
        413 => Outcome::Rejected { reason: Reason::MessageRefused, detail },
        429 => Outcome::Throttled { after, detail },
        // Something between us and Apple, which may have passed the request on.
        500.. => Outcome::Unknown { reason: Reason::NoAnswer, detail },
        _ => Outcome::AccountRefused { detail: format!("{detail}: not an answer of APNs; check base_url") },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::apns::tests::message;

    const TOKEN: &str = "aaaaaaaa";

    fn verdict_of(response: &Response<Bytes>, wrong_place: bool) -> Verdict {
        Answer::read(response).verdict(&message(7, TOKEN), wrong_place, Timestamp::UNIX_EPOCH)
    }

    fn response(status: u16, body: impl ToString) -> Response<Bytes> {
        Response::builder().status(status).body(body.to_string().into()).unwrap()
    }

    fn verdict(status: u16, reason: &str) -> Verdict {
        verdict_of(&response(status, json!({"reason": reason})), false)
    }

    fn settled(verdict: Verdict) -> (&'static str, Option<Reason>) {
        match verdict {
            Verdict::Settled(outcome) => (outcome.as_str(), outcome.reason()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_documented_reason_has_its_outcome() {
        let rejected = |reason| ("rejected", Some(reason));
        let campaign = ("campaign_refused", Some(Reason::MessageRefused));
        let account = ("account_refused", Some(Reason::AccountRefused));
        for (status, reason, wanted) in [
            (400, "BadDeviceToken", rejected(Reason::UnknownRecipient)),
            (400, "DeviceTokenNotForTopic", rejected(Reason::RecipientRefused)),
            (410, "Unregistered", rejected(Reason::UnknownRecipient)),
            (410, "ExpiredToken", rejected(Reason::UnknownRecipient)),
            (400, "BadTopic", campaign),
            (400, "MissingTopic", campaign),
            (400, "TopicDisallowed", campaign),
            (400, "BadPriority", campaign),
            (400, "InvalidPushType", campaign),
            (400, "DuplicateHeaders", campaign),
            (405, "MethodNotAllowed", campaign),
            (400, "BadExpirationDate", rejected(Reason::MessageRefused)),
            (400, "BadCollapseId", rejected(Reason::MessageRefused)),
            (400, "BadMessageId", rejected(Reason::MessageRefused)),
            (400, "PayloadEmpty", rejected(Reason::MessageRefused)),
            (400, "MissingDeviceToken", rejected(Reason::MessageRefused)),
            (404, "BadPath", rejected(Reason::MessageRefused)),
            (413, "PayloadTooLarge", rejected(Reason::MessageRefused)),
            (400, "SomethingNew", rejected(Reason::MessageRefused)),
            (403, "InvalidProviderToken", account),
            (403, "MissingProviderToken", account),
            (403, "BadCertificate", account),
            (403, "BadCertificateEnvironment", account),
            (403, "Forbidden", account),
            (403, "UnrelatedKeyIdInToken", account),
            (403, "BadEnvironmentKeyIdInToken", account),
            (403, "SomethingNew", account),
            (429, "TooManyRequests", ("deferred", Some(Reason::Throttled))),
            (429, "TooManyProviderTokenUpdates", ("throttled", Some(Reason::Throttled))),
        ] {
            assert_eq!(settled(verdict(status, reason)), wanted, "{status} {reason}");
        }
    }

    #[test]
    fn a_connection_that_apple_is_tired_of_is_left() {
        for (status, reason) in [
            (400, "IdleTimeout"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
            (503, "Shutdown"),
            (503, "SomethingNew"),
        ] {
            let Verdict::Leave(outcome) = verdict(status, reason) else { panic!("{reason}") };
            assert_eq!((outcome.as_str(), outcome.reason()), ("retry", Some(Reason::TemporaryFailure)));
        }
    }

    #[test]
    fn an_old_token_is_replaced_and_too_many_new_ones_are_not() {
        assert!(matches!(verdict(403, "ExpiredProviderToken"), Verdict::Refresh(_)));
        let Verdict::Settled(Outcome::Throttled { after, .. }) = verdict(429, "TooManyProviderTokenUpdates")
        else {
            panic!()
        };
        assert_eq!(after, Some(Duration::from_secs(1_200)));
    }

    #[test]
    fn what_was_taken_has_apples_id() {
        let response = Response::builder().header("apns-id", "an-id").body(Bytes::new()).unwrap();
        let wanted = Outcome::Accepted { provider_ref: Some("an-id".to_owned()) };
        assert_eq!(verdict_of(&response, false), Verdict::Settled(wanted));
    }

    #[test]
    fn a_dead_token_says_since_when() {
        let body = json!({"reason": "Unregistered", "timestamp": 1_795_219_200_000_i64});
        let Verdict::Settled(outcome) = verdict_of(&response(410, body), false) else { panic!() };
        assert_eq!(outcome.detail(), Some("HTTP 410 Unregistered since 2026-11-21T00:00:00Z"));
    }

    #[test]
    fn in_the_wrong_environment_no_token_is_called_dead() {
        let response = response(400, json!({"reason": "BadDeviceToken"}));
        let wrong = settled(verdict_of(&response, true));
        assert_eq!(wrong, ("rejected", Some(Reason::RecipientRefused)));
    }

    #[test]
    fn answers_of_others_than_apple_are_told_apart() {
        for (status, body, wanted) in [
            (404, "<html>", ("account_refused", Some(Reason::AccountRefused))),
            (301, "", ("account_refused", Some(Reason::AccountRefused))),
            (413, "", ("rejected", Some(Reason::MessageRefused))),
            (429, "", ("throttled", Some(Reason::Throttled))),
            (502, "", ("unknown", Some(Reason::NoAnswer))),
            (500, "", ("unknown", Some(Reason::NoAnswer))),
        ] {
            assert_eq!(settled(verdict_of(&response(status, body), false)), wanted, "{status}");
        }
    }

    #[test]
    fn details_name_no_device() {
        let Verdict::Settled(outcome) = verdict(400, &format!("Bad {TOKEN} token")) else { panic!() };
        assert_eq!(outcome.detail(), Some("HTTP 400 Bad *** token"));
    }
}
